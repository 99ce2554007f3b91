"""The scenes: each makes some calls, measures, and checks the promises.

The bodies of the tasks count the runs. All times are those of a caller.
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
from jobtastic_signals.settings import SETTINGS

from .memory_tasks import MEGABYTES, THRESHOLD, leaky, tidy
from .outage import MONTH, attempt, report_without_broker
from .outcomes import Check, Outcome, Scene, TookTooLongError, distinct, duration, number
from .stage import Stage, wants_plugin
from .tasks import bind_together, report
from .worker import wait_for

__all__ = ["SCENES", "rehearse"]

#: The default of the setting, in seconds.
BROKER_DEADLINE: float = next(each.default for each in SETTINGS if each.name == "jobtastic_broker_deadline")

#: Seconds for which a caller waits for a result, or the demo for a run to begin.
PATIENCE = 20.0

#: How often each task of the scene about memory runs. One of the two processes gets at least five of ten
#: runs. The fourth run that grows is reported. So one run may fill memory that was free before, and go
#: unnoticed.
RUNS = 10

#: Seconds after an answer within which the worker has evaluated the run.
TO_EVALUATE = 1.0


def rehearse() -> float:
    """Make a first report, which opens connections and files. Return the seconds that it took."""
    start = time.monotonic()
    answer_of(report.delay("January"))
    return time.monotonic() - start


def double_click(stage: Stage) -> Outcome:
    """Make two identical calls, one right after the other."""
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
    """Make the call of the first scene once more."""
    before = len(stage.runs("May"))
    start = time.monotonic()
    again = report.delay("May")
    at_once = again.ready()
    answer = answer_of(again)
    seconds = time.monotonic() - start
    runs = len(stage.runs("May")) - before
    source = "from the cache" if at_once else "from the worker"
    checks = (
        Check(f"the call cost {number(runs)}", runs == 0),
        Check(f"{distinct([answer])} came {source}, after {duration(seconds)}", at_once),
    )
    return Outcome(1, runs, seconds, checks)


def equal_members(stage: Stage) -> Outcome:
    """Run a chord whose header contains the same call three times."""
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
    """Kill the process of a run with two callers, and then call once more."""
    with stage.holding_up():
        waiting = [report.delay("December"), report.delay("December")]
        kill_first_run(stage, "December")
        start = time.monotonic()
    answers = [answer_of(result) for result in waiting]
    after = time.monotonic() - start
    lost = len(stage.runs("December"))

    start = time.monotonic()
    answer = answer_of(report.delay("December"))
    seconds = time.monotonic() - start
    runs = len(stage.runs("December"))
    checks = (
        Check(f"2 callers had {number(lost)} together when its process was killed", lost == 1),
        Check(
            f"{duration(after)} later both got the error {distinct(answers)}",
            all(isinstance(each, WorkerLostError) for each in answers),
        ),
        Check(
            f"the third cost {number(runs - lost)} and got {distinct([answer])} after {duration(seconds)}",
            runs - lost == 1 and answer == "the December report",
        ),
    )
    return Outcome(3, runs, seconds, checks)


def dead_broker(stage: Stage) -> Outcome:
    """Make four calls that may fail, and one that may run here. Plain Celery has no such functions."""
    fail, eager = (delay_or_fail, delay_or_eager) if wants_plugin() else (Task.delay, Task.delay)
    with report_without_broker() as brokerless:
        first, *more = [attempt(fail, brokerless) for _ in range(4)]
        last = attempt(eager, brokerless)
    seen, what_others_see = None, "there is no id to read it by"
    if first.result is not None:
        seen = report.AsyncResult(first.result.id).result
        what_others_see = f"whoever reads it by its id gets {distinct([seen])}"
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
    """Run a task that keeps memory and one that frees it, in turn."""
    start = time.monotonic()
    for result in [task.delay() for _ in range(RUNS) for task in (leaky, tidy)]:
        answer_of(result)
    seconds = time.monotonic() - start
    wait_for(lambda: bool(warnings(stage, leaky)), TO_EVALUATE)
    kept, freed = len(stage.runs("leaky")), len(stage.runs("tidy"))
    right, wrong = distinct(warnings(stage, leaky)[:1]), distinct(warnings(stage, tidy)[:1])
    checks = (
        Check(f"{number(kept)} of leaky: the worker's log has {right or 'no warning'}", right != ""),
        Check(f"{number(freed)} of tidy: the log has {wrong or 'no warning'}", wrong == ""),
    )
    return Outcome(2 * RUNS, kept + freed, seconds, checks)


def warnings(stage: Stage, task: Task[Any, Any]) -> list[str]:
    """Return the worker's warnings that *task* leaks, without their time."""
    lines = [line.partition("] ")[2] for line in stage.log.read_text(errors="replace").splitlines()]
    return [line for line in lines if line.startswith(f"{task.name}[") and "memleak_detected" in line]


def kill_first_run(stage: Stage, month: str) -> None:
    """Kill the process of the run for *month*, as soon as there is one."""
    if not wait_for(lambda: bool(stage.runs(month)), PATIENCE):
        raise TookTooLongError(f"no worker began to make the {month} report within {PATIENCE:.0f} s")
    os.kill(stage.runs(month)[0].pid, signal.SIGKILL)


def answer_of(result: AsyncResult[Any]) -> Any:
    """Wait for the result. Return its value or its exception."""
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
        "Somebody else asks for the May report, which is finished by now.",
        "Plain Celery makes it again.",
        asked_again,
    ),
    Scene(
        "Equal jobs in a batch",
        "Three reports are made in parallel. When all are finished, a last task binds them together. (Celery "
        "calls such a batch a chord.) This time all three are the same report.",
        "Plain Celery makes it three times. A lock that drops double calls makes it worse: the last task "
        "waits for the dropped ones, and never starts.",
        equal_members,
    ),
    Scene(
        "A killed process",
        "Two callers wait for the December report. The demo kills the process that makes it with SIGKILL, "
        "like Linux does when memory runs out, so the process cannot report its end. As soon as Celery "
        "has noticed (worker_lost_wait, 10 s by default, is 0.5 s here), a third caller asks for the same "
        "report.",
        "Plain Celery makes it for each caller, so the third is not affected. With a simple lock against "
        "double calls, the third waits for a dead process until the lock expires: 300 seconds here.",
        killed,
    ),
    Scene(
        "A dead broker",
        "The broker, which carries calls to the workers, is down: here it is a port where no server "
        f"listens. Four calls ask for the {MONTH} report with delay_or_fail. Each is answered by a failed "
        f"result within {BROKER_DEADLINE:.0f} seconds (jobtastic_broker_deadline). After the first call, "
        "the broker is left alone for a while. A fifth call, with delay_or_eager, makes the report in the "
        "calling process.",
        "Plain Celery retries for a while and raises an exception: after about 0.6 seconds here, and "
        "after 20 if Redis is both broker and result backend. If the broker's host drops packets, it may "
        "hang.",
        dead_broker,
    ),
    Scene(
        "A leak",
        f"Two tasks need about {MEGABYTES} MB in each run. Afterwards tidy frees them, and leaky keeps them. "
        f"Both have the option memleak_threshold={THRESHOLD}, and run {RUNS} times, in turn. The first runs "
        "may make their process larger, because of imports and caches. A leak is reported at the fourth run "
        f"that adds more than {THRESHOLD} MB to one process.",
        "Plain Celery can replace a process that has become too large (worker_max_memory_per_child), but it "
        "cannot say which task caused that.",
        leak,
    ),
)
