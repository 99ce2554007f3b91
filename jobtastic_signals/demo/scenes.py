"""The scenes: each makes some calls, measures, and says whether what was promised happened.

Runs are counted by the bodies of the tasks themselves; times are those of a caller.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import chord
from celery.exceptions import TimeoutError as StillWaiting
from celery.exceptions import WorkerLostError
from celery.result import AsyncResult

from .outcomes import Check, Outcome, Scene, TookTooLongError, distinct, duration, number
from .stage import Stage
from .tasks import bind_together, report
from .worker import wait_for

__all__ = ["SCENES", "rehearse"]

#: Seconds for which a caller waits for a result, or the demo for a run to begin.
PATIENCE = 20.0


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
)
