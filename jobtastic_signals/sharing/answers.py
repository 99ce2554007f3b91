"""Answers: how a plain call is answered without a message."""

from __future__ import annotations

import logging
from typing import Any

from celery import current_task
from celery.result import AsyncResult

from .. import events
from ..calls import Call, Run, calling_run
from ..installation import Installation
from ..results import backend, payload
from ..stores import Claim, Result
from ..support.time_limits import caught
from .claims import Claims, has_earlier_result, has_ended

__all__ = ["Answers", "announce", "mark", "read_result"]

logger = logging.getLogger(__name__)


class Answers:
    """Answers calls through the store of *installation*."""

    def __init__(self, installation: Installation, claims: Claims) -> None:
        self._installation, self._claims = installation, claims

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Return the result that answers *call*, or ``None``; then it may have a claim of its own."""
        entry = self._claims.request(call)
        result, lapsed = self._answer(call, entry)
        if lapsed is not None:
            entry = self._claims.request(call, lapsed=lapsed)
            result, _ = self._answer(call, entry)
        if result is None:
            mark(call, entry)
            announce(call, entry, is_miss=True)
        return result

    def _answer(
        self, call: Call, entry: Result | Claim | None
    ) -> tuple[AsyncResult[Any] | None, Claim | None]:
        """Return the result that answers *call*, and a claim that stands in its way and counts as lapsed."""
        if isinstance(entry, Result):
            return self._answer_by_result(call, entry), None
        claim = _joinable(call, entry)
        if claim is None:
            return None, None
        meta = backend.meta_of(call.task, claim.owner)
        # A success is as good as a cached result for as long as that would be one.
        if has_ended(claim, meta, success_counts_after=call.policy.result_ttl):
            return None, claim  # Its release was lost, or is still to come.
        if has_earlier_result(claim, meta):
            # The caller would take it for this run's. A queued claim holds nobody back.
            return None, None if claim.is_running else claim
        return self._join(call, claim, meta), None

    def _answer_by_result(self, call: Call, result: Result) -> AsyncResult[Any] | None:
        value, readable = None, True
        if not backend.is_silent(call.task):
            value, readable = read_result(self._installation, call, result)
        if not readable:
            self._claims.request(call)
            return None
        call.answered_by = "result"
        events.emit(events.cache_hit, call.task, key=call.key, task_id=result.owner)
        logger.debug("%s: answered by the stored result of %s", call.task.name, result.owner)
        return backend.result_with(call.task, result.owner, value)

    def _join(self, call: Call, claim: Claim, meta: backend.Meta | None) -> AsyncResult[Any]:
        call.answered_by = "run"
        events.emit(events.herd_joined, call.task, key=call.key, task_id=claim.owner)
        logger.debug("%s: joined %s", call.task.name, claim.owner)
        return backend.loaded(call.task, claim.owner, meta)


def announce(subject: Call | Run, entry: Result | Claim | None, *, is_miss: bool = False) -> None:
    """Send the events of a claim that *subject* was granted, and of a call that nothing answers."""
    if is_miss:
        events.emit(events.cache_missed, subject.task, key=subject.key)
    if not isinstance(entry, Claim) or entry.owner != subject.id:
        return
    about = {"key": subject.key, "task_id": entry.owner}
    if entry.previous is not None:
        events.emit(events.claim_taken_over, subject.task, **about, previous=entry.previous)
    events.emit(events.run_claimed, subject.task, **about)


def mark(call: Call, entry: Result | Claim | None) -> None:
    """Say in the stamp of a call that goes out what the claim of another run means for it."""
    if not isinstance(entry, Claim) or entry.owner == call.id:
        return
    if _is_of_caller(call, entry):
        # A task that calls itself goes on after this run, and not on its result.
        call.stamp["after"] = entry.owner
    elif entry.is_running:
        # The call may be delivered when that run has ended.
        call.stamp["waiting_for"] = entry.owner


def _joinable(call: Call, entry: Result | Claim | None) -> Claim | None:
    """Return *entry* if it is the claim of another run, which does not make this call itself."""
    if not isinstance(entry, Claim) or entry.owner == call.id or not call.policy.avoids_herds:
        return None
    return None if _is_of_caller(call, entry) else entry


def _is_of_caller(call: Call, claim: Claim) -> bool:
    run = calling_run(call.task) if current_task else None  # Outside of a task the proxy is false.
    return run is not None and run.id == claim.owner


def read_result(installation: Installation, subject: Call | Run, result: Result) -> tuple[Any, bool]:
    """Return a stored value, and whether it could be read. What cannot be read is dropped."""
    value, readable = None, False

    def drop(error: Exception) -> None:
        logger.warning(
            "%s: the stored result %s cannot be read with this app's result_accept_content; it is "
            "dropped, and the task runs",
            subject.task.name,
            subject.key,
            exc_info=error,
        )
        installation.store.forget(str(subject.key))

    with caught(drop):
        value, readable = payload.loads(subject.task.app, result.payload), True
    return value, readable
