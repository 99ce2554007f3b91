"""The scenes: each makes some calls, measures, and says whether what was promised happened.

Runs are counted by the bodies of the tasks themselves; times are those of a caller.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Task, chord
from celery.exceptions import TimeoutError as StillWaiting
from celery.exceptions import WorkerLostError
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from jobtastic_signals import delay_or_eager, delay_or_fail
from jobtastic_signals.settings import BROKER_DEADLINE

from .memory_tasks import MEGABYTES, THRESHOLD, leaky, tidy
from .outage import MONTH, attempt, report_without_broker
from .outcomes import Check, Outcome, Scene, TookTooLongError, distinct, duration, number
from .stage import Stage, wants_plugin
from .tasks import bind_together, report
from .worker import wait_for

__all__ = ["SCENES", "rehearse"]

#: Seconds for which a caller waits for a result, or the demo for a run to begin.
PATIENCE = 20.0

#: How often each task of the scene about memory runs. One of two processes has at least five of ten runs, and
#: the fourth that grows is a leak: so one may go unnoticed, as it filled what was free.
RUNS = 10

#: Seconds after an answer within which the worker has judged the run.
TO_JUDGE = 1.0


def rehearse() -> float:
    """Make a first report, so that connections and files are open when it counts; the seconds it took."""
    start = time.monotonic()
    answer_of(report.delay("January"))
    return time.monotonic() - start


def double_click(stage: Stage) -> Outcome:
    """Two identical calls, one right after the other."""
    start = time.monotonic()
    clicks = [report.delay("May"), report.delay("May")]
    clicked = time.monotonic() - start
    answers = [answer_of(click) for click in clicks]
    seconds = time.monotonic() - start
    runs = len(stage.runs("May"))
    checks = (
        Check(f"2 clicks within {duration(clicked)} cost {number(runs)}", runs == 1),
        Check(f"both got {distinct(answers)} after {duration(seconds)}", answers == ["the May report"] * 2),
    )
    return Outcome(2, runs, seconds, checks)


def asked_again(stage: Stage) -> Outcome:
    """The call of the first scene once more."""
    before = len(stage.runs("May"))
    start = time.monotonic()
    again = report.delay("May")
    at_once = again.ready()
    answer = answer_of(again)
    seconds = time.monotonic() - start
    runs = len(stage.runs("May")) - before
    whence = "from the cache" if at_once else "from the worker"
    checks = (
        Check(f"the call cost {number(runs)}", runs == 0),
        Check(f"{distinct([answer])} came {whence}, after {duration(seconds)}", at_once),
    )
    return Outcome(1, runs, seconds, checks)


def equal_members(stage: Stage) -> Outcome:
    """A chord whose header has the same call three times."""
    start = time.monotonic()
    bound = chord([report.s("July")] * 3)(bind_together.s())
    answer = answer_of(bound)
    seconds = time.monotonic() - start
    runs = len(stage.runs("July"))
    complete = answer == ", ".join(["the July report"] * 3)
    checks = (
        Check(f"3 equal members cost {number(runs)}", runs == 1),
        Check(f"the last task got {distinct([answer])} after {duration(seconds)}", complete),
    )
    return Outcome(3, runs, seconds, checks)


def killed(stage: Stage) -> Outcome:
    """Two callers of one run, whose process is killed; and then a third."""
    with stage.holding_up():
        waiting = [report.delay("December"), report.delay("December")]
        kill_first_run(stage, "December")
        start = time.monotonic()
    told = [answer_of(result) for result in waiting]
    after = time.monotonic() - start
    lost = len(stage.runs("December"))

    start = time.monotonic()
    answer = answer_of(report.delay("December"))
    seconds = time.monotonic() - start
    runs = len(stage.runs("December"))
    checks = (
        Check(f"2 callers had {number(lost)} between them when its process was killed", lost == 1),
        Check(
            f"{duration(after)} later they were told: {distinct(told)}",
            all(isinstance(what, WorkerLostError) for what in told),
        ),
        Check(
            f"the third cost {number(runs - lost)} and got {distinct([answer])} after {duration(seconds)}",
            runs - lost == 1 and answer == "the December report",
        ),
    )
    return Outcome(3, runs, seconds, checks)


def dead_broker(stage: Stage) -> Outcome:
    """Four calls that may fail, and one that may run here. Plain Celery has one way to call for both."""
    fail, eager = (delay_or_fail, delay_or_eager) if wants_plugin() else (Task.delay, Task.delay)
    with report_without_broker() as brokerless:
        first, *more = [attempt(fail, brokerless) for _ in range(4)]
        last = attempt(eager, brokerless)
    seen, what_others_see = None, "there is no id to look it up by"
    if first.result is not None:
        seen = report.AsyncResult(first.result.id).result
        what_others_see = f"who looks it up by its id sees {distinct([seen])}"
    took, words = sum(each.seconds for each in more), dict.fromkeys(each.words for each in more)
    here = [run.pid for run in stage.runs(MONTH)].count(os.getpid())
    checks = (
        Check(
            f"{fail.__name__} {first.words} after {duration(first.seconds)}",
            first.failed and first.seconds < BROKER_DEADLINE,
        ),
        Check(what_others_see, isinstance(seen, OperationalError)),
        Check(
            f"3 more calls, which took {duration(took)} together, {' or '.join(words)}",
            all(each.failed for each in more) and took < BROKER_DEADLINE,
        ),
        Check(
            f"{eager.__name__} {last.words} after {duration(last.seconds)}; the calling process had "
            f"{number(here)}",
            last.words == f'gave "the {MONTH} report"' and here == 1,
        ),
    )
    return Outcome(5, here, first.seconds, checks)


def leak(stage: Stage) -> Outcome:
    """Runs that keep memory and runs that give it back, by turns."""
    start = time.monotonic()
    for result in [task.delay() for _ in range(RUNS) for task in (leaky, tidy)]:
        answer_of(result)
    seconds = time.monotonic() - start
    wait_for(lambda: bool(warnings(stage, leaky)), TO_JUDGE)
    kept, given_back = len(stage.runs("leaky")), len(stage.runs("tidy"))
    founded, unfounded = distinct(warnings(stage, leaky)[:1]), distinct(warnings(stage, tidy)[:1])
    checks = (
        Check(f"{number(kept)} of leaky: the worker's log has {founded or 'no warning'}", founded != ""),
        Check(f"{number(given_back)} of tidy: the log has {unfounded or 'no warning'}", unfounded == ""),
    )
    return Outcome(2 * RUNS, kept + given_back, seconds, checks)


def warnings(stage: Stage, task: Task) -> list[str]:
    """The worker's warnings that *task* leaks, without their time."""
    lines = [line.partition("] ")[2] for line in stage.log.read_text(errors="replace").splitlines()]
    return [line for line in lines if line.startswith(f"{task.name}[") and "memleak_detected" in line]


def kill_first_run(stage: Stage, month: str) -> None:
    """Kill the process that runs for *month*, once it does."""
    if not wait_for(lambda: bool(stage.runs(month)), PATIENCE):
        raise TookTooLongError(f"no worker began to make the {month} report within {PATIENCE:.0f} s")
    os.kill(stage.runs(month)[0].pid, signal.SIGKILL)


def answer_of(result: AsyncResult[Any]) -> Any:
    """What the caller gets in the end: the value, or the exception."""
    try:
        return result.get(timeout=PATIENCE, interval=0.005, propagate=False)
    except StillWaiting:
        raise TookTooLongError(f"a caller has waited {PATIENCE:.0f} s and still has no answer") from None


SCENES = (
    Scene(
        "A double click",
        "Somebody clicks a button twice, so the May report is asked for twice.",
        "Plain Celery makes it twice, and you pay for both.",
        double_click,
    ),
    Scene(
        "The same question later",
        "Somebody else asks for the May report. It is there by now.",
        "Plain Celery makes it again.",
        asked_again,
    ),
    Scene(
        "Equal jobs in a batch",
        "Three reports are made side by side, and when all are there, a last task binds them together. "
        "(Celery calls such a batch a chord.) This time all three are the same report.",
        "Plain Celery makes it three times. A lock that drops double calls makes it worse: the last task "
        "waits for the dropped ones, and never starts.",
        equal_members,
    ),
    Scene(
        "A killed process",
        "Two callers wait for the December report. The demo kills the process that makes it with SIGKILL, as "
        "Linux does when memory runs out, so that it can tell nobody. Once Celery has noticed "
        "(worker_lost_wait, 10 s by default, is 0.5 s here), a third caller asks for the same report.",
        "Plain Celery makes it for each of them, so the third has nothing to wait for. With a simple lock "
        "against double calls, the third waits for a dead process until the lock expires: 300 seconds here.",
        killed,
    ),
    Scene(
        "A dead broker",
        "The broker, which takes calls to the workers, is down: here it is a port where nothing listens. "
        f"Four calls ask for the {MONTH} report with delay_or_fail, which answers all the same: by a failed "
        f"result, within {BROKER_DEADLINE:.0f} seconds (jobtastic_broker_deadline). After the first it "
        "leaves the broker alone for a while. A fifth call, with delay_or_eager, makes the report in the "
        "calling process.",
        "Plain Celery tries for a while and raises an exception: after about 0.6 seconds here, after 20 "
        "where Redis is both broker and result backend. With a host that swallows packets it may hang.",
        dead_broker,
    ),
    Scene(
        "A leak",
        f"Two tasks need some {MEGABYTES} MB in each run. Afterwards tidy gives them back, and leaky keeps "
        f"them. Both have the option memleak_threshold={THRESHOLD}, and are run {RUNS} times, by turns. "
        "First runs may well make their process larger, by imports and caches; a leak is the fourth that "
        f"adds more than {THRESHOLD} MB to one process.",
        "Plain Celery can replace a process that has become too large (worker_max_memory_per_child), but "
        "cannot say which task made it so.",
        leak,
    ),
)
