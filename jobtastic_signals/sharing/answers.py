"""Sharing on the caller's side: a plain call is answered without a message, or claims its key.

It is answered by a stored result, or *joins* the run of another call. :mod:`.middleware` is the worker's
side.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar

from celery import Task, states
from celery.result import AsyncResult, EagerResult
from celery.utils import uuid

from .. import events
from ..calls import Call, Run, TaskPolicy, calling_run
from ..installation import Installation, count
from ..middleware import Middleware
from ..options import Option
from ..results import backend, payload
from ..stores import Claim, Result
from ..support.rare_warnings import rare_warnings
from ..support.shown import shown, shown_error
from ..support.time_limits import caught
from .caching import (
    CACHE_DURATION,
    CACHE_FAILURES_FOR,
    CACHE_MAX_BYTES,
    CACHE_STALE_FOR,
    CACHE_WHEN,
    check_options,
)
from .claims import HERD_AVOIDANCE_TIMEOUT, Claims, has_earlier_result, has_ended, was_violent
from .duplicates import ON_DUPLICATE_OPTION, REFUSING, duplicate_error
from .origin import Origin, note_origin

__all__ = ["SharedCalls", "announce", "in_beat", "mark", "read_result"]

logger: logging.Logger = logging.getLogger(__name__)

#: Whether this thread is beat's. Its log is where people look for a task that did not run.
in_beat: ContextVar[bool] = ContextVar("jobtastic_in_beat", default=False)


class SharedCalls(Middleware):
    """Answers calls through the store of *installation*, and claims the keys of those that go out."""

    options: ClassVar[tuple[Option, ...]] = (
        HERD_AVOIDANCE_TIMEOUT,
        CACHE_DURATION,
        CACHE_STALE_FOR,
        CACHE_FAILURES_FOR,
        CACHE_WHEN,
        CACHE_MAX_BYTES,
        ON_DUPLICATE_OPTION,
    )

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._claims = Claims(installation)

    def check_options(self, task: type[Task[Any, Any]], policy: TaskPolicy) -> None:
        """Refuse options that contradict each other."""
        check_options(task, policy)

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Answer a plain call by a stored result, or by the run that has the claim."""
        entry = self._claims.request(call)
        result, lapsed = self._answer(call, entry)
        if lapsed is not None:
            entry = self._claims.request(call, lapsed=lapsed)
            result, _ = self._answer(call, entry)
        if call.publishes_too:
            call.fresh = True
        if result is None:
            mark(call, entry)
            announce(call, entry, is_miss=True)
        return result

    def before_publish(self, call: Call) -> None:
        """Claim the key of a message, and say in its stamp what the worker has to know."""
        stamp = call.stamp
        stamp.update(key=call.key, store=self._installation.store.identity)
        if "called" not in stamp:  # Otherwise the store has answered it before there was a message.
            self._claim(call)
        if call.fresh:
            stamp["fresh"] = True
        # The caller of a plain call knows by now that it is no duplicate.
        asked = "join" if call.plain else call.on_duplicate
        if asked != call.policy.on_duplicate:
            stamp["on_duplicate"] = asked
        if call.publishes_too:
            is_renewal = call.answered_by == "result"
            event = events.renewal_published if is_renewal else events.rerun_published
            events.emit(event, call.task, key=call.key, task_id=call.id)

    def publish_failed(self, call: Call) -> None:
        """Release the claim of a call without a message.

        Also where the store did not answer: it may have claimed, and been too late to say so.
        """
        if call.id is not None and not call.due_later:
            self._claims.release(call.task, call.key, call.id, None)
            call.stamp.pop("called", None)

    def _claim(self, call: Call) -> None:
        """Claim the key of a message that is made."""
        run, is_same = calling_run(call.task), False
        if run is not None and run.id == call.id:
            from .resending import resend  # Few calls are made by a run, and so are few of those.

            is_same = resend(call, run)
        if not (call.due_later or is_same):
            entry = self._claims.request(call)
            mark(call, entry)
            announce(call, entry)

    def _answer(
        self, call: Call, entry: Result | Claim | None
    ) -> tuple[AsyncResult[Any] | None, Claim | None]:
        """Return the result that answers *call*, and a claim that stands in its way and counts as lapsed."""
        if isinstance(entry, Result):
            return self._answer_by_result(call, entry), None
        claim = _joinable(call, entry)
        if claim is None:
            return None, None
        meta = backend.meta_of(call.task, claim.owner, call.backend, claim.told)
        is_late = _is_late(call, claim)
        # What is about to be stored is as good as a stored result, for as long as that would be one.
        if has_ended(
            claim,
            meta,
            success_counts_after=0.0 if is_late else call.policy.result_ttl,
            failure_counts_after=0.0 if is_late else call.policy.failure_ttl((meta or {}).get("result")),
        ):
            # Its release was lost, or is still to come. What it stores is no answer to a call after its end.
            call.stamp["after"] = claim.owner
            return None, claim
        if call.on_duplicate in REFUSING and not has_ended(claim, meta, success_counts_after=0.0):
            return self._refuse(call, claim, meta), None
        if is_late and claim.is_running:
            return self._join_next(call, claim.next), None
        if has_earlier_result(claim, meta) or was_violent(claim, meta):
            # The caller would take it for this run's, or for its own. A queued claim holds nobody back.
            return None, None if claim.is_running else claim
        # Whoever is next publishes its call, and so does a call that cannot be next because it expires.
        reruns = call.on_duplicate == "rerun" and claim.is_running
        call.publishes_too = reruns and (claim.next is None or claim.next.owner == call.id)
        return self._join(call, claim, meta), None

    def _answer_by_result(self, call: Call, result: Result) -> AsyncResult[Any] | None:
        value, readable = None, True
        is_silent = backend.is_silent(call.task, call.backend)
        if not is_silent:
            value, readable = read_result(self._installation, call, result)
        if not readable:
            self._claims.request(call)
            return None
        age, is_stale = max(result.at - result.ended, 0.0), result.is_stale(result.at)
        call.answered_by = "result"
        call.publishes_too = is_stale and result.renewal == call.id
        events.emit(
            events.cache_hit, call.task, key=call.key, task_id=result.owner, age=age, is_stale=is_stale
        )
        _log(call, f"is answered by the {'stale' if is_stale else 'stored'} result of", result.owner)
        answer = backend.loaded(call.task, result.owner, None) if is_silent else _kept(call, result, value)
        note_origin(answer, Origin("cached", result.owner, _seat(call), call.key, age, is_stale))
        return answer

    def _join(self, call: Call, claim: Claim, meta: backend.Meta | None) -> AsyncResult[Any]:
        call.answered_by = "run"
        events.emit(events.herd_joined, call.task, key=call.key, task_id=claim.owner)
        _log(call, "joins", claim.owner)
        answer = backend.loaded(call.task, claim.owner, meta)
        note_origin(answer, Origin("joined", claim.owner, _seat(call), call.key))
        return answer

    def _join_next(self, call: Call, following: Claim | None) -> AsyncResult[Any] | None:
        """Join the claim behind the present run, which comes too early for *call*."""
        if following is None or following.owner == call.id:
            return None
        meta = backend.meta_of(call.task, following.owner)
        if has_ended(following, meta, success_counts_after=0.0) or has_earlier_result(following, meta):
            return None
        return self._join(call, following, meta)

    def _refuse(self, call: Call, claim: Claim, meta: backend.Meta | None) -> AsyncResult[Any]:
        """Drop *call*, which is a duplicate, or raise that it is one."""
        call.id = call.id or uuid()
        if call.claimed:
            self._claims.release(call.task, call.key, call.id, None)  # It would have been next.
            call.claimed = False
        if call.on_duplicate == "raise":
            from ..progress.history import History
            from .waiting import seconds_left

            left = seconds_left(call.task.name, claim, meta, History(self._installation))
            raise duplicate_error(call, claim, left)
        call.answered_by = "dropped"
        events.emit(events.call_dropped, call.task, key=call.key, task_id=call.id, owner=claim.owner)
        _log(call, "is dropped, since it is identical to", claim.owner)
        dropped: AsyncResult[Any] = EagerResult(call.id, None, states.IGNORED, name=call.task.name)
        note_origin(dropped, Origin("dropped", claim.owner, call.id, call.key))
        return dropped


def _kept(call: Call, result: Result, value: Any) -> AsyncResult[Any]:
    """Return what the result backend has of a stored *result*, or has again."""
    fields = partial(payload.extended_fields, call.task.app, result.payload)
    return backend.result_with(
        call.task, call.backend, result.owner, value, fields, state=result.state, told=result.told
    )


def _log(call: Call, outcome: str, owner: str) -> None:
    if in_beat.get():
        logger.info("%s was due, and is not sent: the call %s %s", call.task.name, outcome, shown(owner))
    elif logger.isEnabledFor(logging.DEBUG):  # To show an id takes longer than to ask this.
        logger.debug("%s: the call %s %s", call.task.name, outcome, shown(owner))


def announce(subject: Call | Run, entry: Result | Claim | None, *, is_miss: bool = False) -> None:
    """Send the events of a claim that *subject* was granted, and of a call that nothing answers."""
    if is_miss:
        events.emit(events.cache_missed, subject.task, key=subject.key)
    if not isinstance(entry, Claim) or entry.owner != subject.id:
        return
    about = {"key": subject.key, "task_id": entry.owner}
    if entry.previous is not None:
        events.emit(events.claim_taken_over, subject.task, **about, previous=entry.previous)
        count(subject.task, takeovers=1)
    events.emit(events.run_claimed, subject.task, **about)


def mark(call: Call, entry: Result | Claim | None) -> None:
    """Say in the stamp of a call that goes out what the claim of another run means for it."""
    if not isinstance(entry, Claim) or (entry.owner == call.id and entry.delivery is None):
        return
    if _is_of_caller(call, entry):
        # A task that calls itself goes on after this run, and not on its result.
        call.stamp["after"] = entry.owner
    elif entry.is_running and (_is_late(call, entry) or call.on_duplicate == "rerun"):
        # That run does not answer the call.
        call.fresh = True
    elif entry.is_running:
        # The call may be delivered when that run has ended.
        call.stamp["waiting_for"] = entry.owner


def _joinable(call: Call, entry: Result | Claim | None) -> Claim | None:
    """Return *entry* if it is the claim of another run, which does not make this call itself."""
    if not isinstance(entry, Claim) or entry.owner == call.id or not call.policy.avoids_herds:
        return None
    return None if _is_of_caller(call, entry) else entry


def _is_late(call: Call, claim: Claim) -> bool:
    """Return whether *call* comes too late for the run under *claim*: it needs one that begins after it."""
    return call.fresh or claim.forgotten is not None


def _seat(call: Call) -> str:
    """Return the name of the caller among those who share a run."""
    call.id = call.id or uuid()
    return call.id


def _is_of_caller(call: Call, claim: Claim) -> bool:
    run = calling_run(call.task)
    return run is not None and run.id == claim.owner


def read_result(installation: Installation, subject: Call | Run, result: Result) -> tuple[Any, bool]:
    """Return a stored value or exception, and whether it could be read. What cannot be read is dropped."""
    value, readable = None, False

    def drop(error: Exception) -> None:
        rare_warnings.warn(
            logger,
            f"result: {subject.task.name}",
            "%s: the stored result %s cannot be read with this app's result_serializer and "
            "result_accept_content (%s); it is dropped, and the task runs",
            subject.task.name,
            shown(subject.key),
            shown_error(error),
        )
        installation.store.forget(str(subject.key))

    with caught(drop):
        value, readable = payload.outcome(subject.task.app, result.payload, result.state), True
    return value, readable
