"""Sharing: identical calls have one run, and its result serves later ones.

On the client, a plain call *latches*: it is answered by the stored result or by the run in progress. A
call that is published *claims* its key. On the worker, a run is *served* the stored result, or *waits*
by being sent again while another id has the claim, or runs, and *settles* or *releases* in the end.
``docs/architecture.md`` tells the whole of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.result import AsyncResult

from .. import events
from ..calls import Call, Run, Served, current_run
from ..errors import StoreError
from ..middleware import Middleware
from ..options import Option, boolean_free_number
from ..results import backend as backends
from ..results import index as outcomes
from ..stores import Claim, Result
from .claims import Claims, avoids_herds, has_ended
from .waiting import send_again

if TYPE_CHECKING:
    from ..settings import Settings
    from ..stores.guard import GuardedStore

__all__ = ["Sharing"]

logger = logging.getLogger(__name__)


def _parse_timeout(value: Any) -> float | None:
    if value is None:
        return None
    if boolean_free_number(value) < 0:
        raise ValueError("negative")
    return float(value) or None


HERD_AVOIDANCE_TIMEOUT = Option(
    "herd_avoidance_timeout",
    default=None,
    accepts="the seconds after its start for which a run is waited for, as 60; 0 or None for no herd "
    "avoidance",
    parse=_parse_timeout,
)

CACHE_DURATION = Option(
    "cache_duration",
    default=-1.0,
    accepts="the seconds for which a result is used again, as 3600; 0 for ever, negative for never",
    parse=boolean_free_number,
)


class Sharing(Middleware):
    """Cached results and herd avoidance, on the store that *get_store* gives."""

    options = (HERD_AVOIDANCE_TIMEOUT, CACHE_DURATION)

    def __init__(self, get_settings: Callable[[], Settings], get_store: Callable[[], GuardedStore]) -> None:
        self._claims = Claims(get_settings, get_store)
        self._get_store = get_store
        self._strangers: set[str] = set()

    @property
    def _store(self) -> GuardedStore:
        return self._get_store()

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        entry = self._claims.ask(call)
        if isinstance(entry, Result):
            return self._latch_result(call, entry)
        if isinstance(entry, Claim) and entry.owner == call.id:
            events.emit(events.cache_missed, call.task, key=call.key)
            self._claims.granted(call, entry)
            return None
        if isinstance(entry, Claim) and avoids_herds(call) and not _is_of_this_run(call, entry):
            return self._latch_claim(call, entry)
        events.emit(events.cache_missed, call.task, key=call.key)
        return None

    def before_publish(self, call: Call) -> None:
        run = current_run(call.task)
        resent = run is not None and run.id == call.id
        if run is not None and resent:
            run.resent_key = call.key
            if run.lease is not None:
                run.lease.end()
        call.stamp.update(key=call.key, store=self._store.identity)
        if run is not None and resent and run.waits:
            call.stamp.update(waits=run.waits, waiting_for=run.waiting_for, after=run.stamp.get("after"))
        self._claims.claim(call, run)

    def publish_failed(self, call: Call) -> None:
        # Also where the store did not answer: it may have claimed, and been too late to say so.
        if call.id is not None:
            self._claims.release(call.task, call.key, call.id)

    def before_run(self, run: Run) -> None:
        run.policy.keys.remember_defaults(run.task)
        run.key = _key_of(run)
        if run.key is None:
            return
        self._warn_of_other_store(run)
        try:
            entry = self._claims.decide(run, run.key)
        except StoreError as error:
            run.verdict = error
            return
        if isinstance(entry, Result):
            self._serve(run, run.key, entry)
        elif isinstance(entry, Claim) and entry.owner == run.id:
            self._claims.tell(run.task, run.key, entry)
        elif isinstance(entry, Claim):
            self._wait(run, run.key, entry.owner)

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        if run.key is None:
            return
        if run.lease is not None:
            run.lease.end()
        if state == states.SUCCESS and run.verdict is None:
            self._succeed(run, run.key, value)
        elif run.claimed and not (state == states.RETRY and run.resent_key == run.key):
            self._claims.release(run.task, run.key, run.id)

    def run_lost(self, run: Run) -> None:
        key = _key_of(run)
        if key is not None:
            self._claims.release(run.task, key, run.id)

    def _latch_result(self, call: Call, result: Result) -> AsyncResult[Any] | None:
        try:
            value = None if backends.is_silent(call.task) else backends.loads(call.task.app, result.payload)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            self._drop_unreadable(call.task, call.key)
            return None
        events.emit(events.cache_hit, call.task, key=call.key, task_id=result.owner)
        return backends.healed(call.task, result.owner, value)

    def _latch_claim(self, call: Call, claim: Claim) -> AsyncResult[Any] | None:
        meta = backends.meta_of(call.task, claim.owner)
        if has_ended(call, meta):
            # It ended, and its release was lost or is still to come: the next run need not wait for that.
            call.stale = claim.owner
            return None
        events.emit(events.herd_joined, call.task, key=call.key, task_id=claim.owner)
        return backends.loaded(call.task, claim.owner, meta)

    def _serve(self, run: Run, key: str, result: Result) -> None:
        try:
            value = backends.loads(run.task.app, result.payload)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            self._drop_unreadable(run.task, key)
            return
        run.verdict = Served(value)
        events.emit(events.run_served, run.task, key=key, task_id=run.id, owner=result.owner)

    def _wait(self, run: Run, key: str, owner: str) -> None:
        run.waiting_for = None if owner == run.stamp.get("after") else owner
        run.waits = run.stamp.get("waits", 0) + 1
        try:
            countdown = send_again(run)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("%s[%s] could not be sent again to wait; it runs now", run.task.name, run.id)
            run.waits = 0
            return
        run.verdict = Ignore(f"sent again, to wait for the identical {owner}")
        events.emit(events.run_waited, run.task, key=key, task_id=run.id, owner=owner, countdown=countdown)

    def _succeed(self, run: Run, key: str, value: Any) -> None:
        duration, timeout = run.policy["cache_duration"], run.policy["herd_avoidance_timeout"]
        if duration < 0 and (not run.claimed or self._store.release(key, run.id, unless_waited=True)):
            return
        try:
            payload = backends.dumps(run.task.app, value)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            logger.warning("%s[%s]: its result cannot be shared: %r", run.task.name, run.id, error)
            self._claims.release(run.task, key, run.id)
            return
        ttl = None if duration == 0 else max(duration, 0.0)
        if self._store.settle(key, run.id, payload, ttl, handover=timeout or 0.0):
            if duration >= 0 and _is_wanted(run):
                outcomes.note(self._store, run.id, key, ttl)
            events.emit(events.result_stored, run.task, key=key, task_id=run.id, size=len(payload))

    def _warn_of_other_store(self, run: Run) -> None:
        theirs = run.stamp.get("store")
        if theirs is None or theirs in self._strangers or theirs == self._store.identity:
            return
        self._strangers.add(theirs)
        logger.warning(
            "%s[%s]: its caller shares through another store (%s) than this worker (%s, %s), so neither "
            "finds what the other knows; give both the same jobtastic_store",
            run.task.name,
            run.id,
            theirs,
            self._store.identity,
            self._store.url,
        )

    def _drop_unreadable(self, task: Task, key: str) -> None:
        logger.warning(
            "%s: the stored result %s cannot be read with this app's result_accept_content; it is "
            "dropped, and the task runs",
            task.name,
            key,
            exc_info=True,
        )
        self._store.forget(key)


def _is_wanted(run: Run) -> bool:
    return run.request is not None and not backends.ignores_result(run.task, run.request)


def _is_of_this_run(call: Call, claim: Claim) -> bool:
    """Whether a task calls itself with its own arguments, as those do that schedule themselves again."""
    run = current_run(call.task)
    return run is not None and run.id == claim.owner


def _key_of(run: Run) -> str | None:
    if not run.policy.shares:
        return None
    stamped = run.stamp.get("key")
    if isinstance(stamped, str):
        return stamped
    return run.policy.key_of(run.task, run.args, run.kwargs)
