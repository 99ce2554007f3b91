"""Counting: what happens to the calls and runs of each task, for :func:`.stats`."""

from __future__ import annotations

import time
from typing import Any

from celery.result import AsyncResult

from ..calls import Call, Raised, Run, Served, calling_run
from ..installation import Installation
from ..middleware import Middleware

__all__ = ["Counting"]

_ANSWERS = {"result": "hits", "run": "joins"}


class _Began(float):
    """When the body of a run began, by ``time.monotonic()``."""


class Counting(Middleware):
    """Counts, in the memory of this process, what *installation* hands over to the store."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def after_answer(self, call: Call, result: AsyncResult[Any]) -> None:
        """Count a call that was answered."""
        answer = _ANSWERS.get(call.answered_by or "")
        self._add(call, **({"calls": 1, answer: 1} if answer else {"calls": 1}))

    def before_publish(self, call: Call) -> None:
        """Count a call that is published, unless it was answered as well, or is a run that is sent again."""
        if call.answered_by is None and (call.plain or not _is_sent_again(call)):
            self._add(call, calls=1)
            if "called" not in call.stamp:  # Otherwise the store has answered.
                self._count_failure(call)

    def publish_failed(self, call: Call) -> None:
        """Count a call that was refused because the store did not answer."""
        if not call.made:
            self._count_failure(call)

    def before_run(self, run: Run) -> None:
        """Count a run that is served, waits, or goes unshared."""
        decision = run.decision
        if decision is None or isinstance(decision, Raised):
            if run.key is not None:
                self._count_failure(run)
            return
        from .waiting import Wait  # Few runs end here, and a process that only calls tasks has none.

        if isinstance(decision, Served):
            self._add(run, served=1)
        elif isinstance(decision, Wait):
            self._add(run, waits=1)

    def before_body(self, run: Run) -> None:
        """Take the time."""
        if run.policy.shares or run.policy.observes:
            run.keep(_Began(time.monotonic()))

    def after_body(self, run: Run) -> None:
        """Count the run, and how long its body took."""
        began = run.drop(_Began)
        if began is None:
            return
        took = time.monotonic() - began
        if run.policy.shares:
            self._add(run, runs=1, run_seconds=took)
            return
        from .observation import Observed  # Only a run that is observed needs it.

        observed = run.part(Observed)
        if observed is not None and observed.is_avoided:
            self._add(run, observed_saved_seconds=took)
        elif observed is not None:
            self._add(run, observed_runs=1, observed_run_seconds=took)

    def _add(self, subject: Call | Run, **amounts: float) -> None:
        self._installation.counters.add(subject.task.name, **amounts)

    def _count_failure(self, subject: Call | Run) -> None:
        if self._installation.store.is_down:
            self._add(subject, store_failures=1)


def _is_sent_again(call: Call) -> bool:
    run = calling_run(call.task)
    return run is not None and run.id == call.id
