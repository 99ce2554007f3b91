"""Sharing: identical calls have one run, and its result serves later ones.

On the client, a plain call *latches*: it is answered by the stored result or by the run in progress. A
call that is published *claims* its key. On the worker, a run is *served* the stored result, or *waits*
by being sent again while another id has the claim, or runs, and *settles* or *releases* in the end.
``docs/architecture.md`` tells the whole of it.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.result import AsyncResult
from celery.utils import uuid
from celery.utils.time import maybe_iso8601

from .. import backends, events, outcomes
from ..calls import Call, Run, Served, current_run
from ..errors import StoreError
from ..leases import Lease
from ..options import Option, boolean_free_number
from ..stores import Claim, Result
from ..waiting import send_again
from .base import Middleware

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
        self._get_settings, self._get_store = get_settings, get_store
        self._strangers: set[str] = set()

    @property
    def _store(self) -> GuardedStore:
        return self._get_store()

    @property
    def _is_required(self) -> bool:
        return self._get_settings().store_required

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        entry = self._ask(call)
        if isinstance(entry, Result):
            return self._latch_result(call, entry)
        if isinstance(entry, Claim) and entry.owner == call.id:
            events.emit(events.cache_missed, call.task, key=call.key)
            self._claimed(call, entry)
            return None
        if isinstance(entry, Claim) and _avoids_herds(call) and not _is_of_this_run(call, entry):
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
        if _avoids_herds(call) and not call.claimed and not _silent(call.task, call.ignore_result):
            self._claim_for(call, run)

    def publish_failed(self, call: Call) -> None:
        # Also where the store did not answer: it may have claimed, and been too late to say so.
        if call.id is not None:
            self._release(call.task, call.key, call.id)

    def before_run(self, run: Run) -> None:
        run.policy.keys.remember_defaults(run.task)
        run.key = _key_of(run)
        if run.key is None:
            return
        self._warn_of_other_store(run)
        try:
            entry = self._decide(run, run.key)
        except StoreError as error:
            run.verdict = error
            return
        if isinstance(entry, Result):
            self._serve(run, run.key, entry)
        elif isinstance(entry, Claim) and entry.owner == run.id:
            self._tell_claimed(run.task, run.key, entry)
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
            self._release(run.task, run.key, run.id)

    def run_lost(self, run: Run) -> None:
        key = _key_of(run)
        if key is not None:
            self._release(run.task, key, run.id)

    def _ask(self, call: Call) -> Result | Claim | None:
        """What answers *call*, or its own claim, since it is going to be published."""
        if not (_avoids_herds(call) and call.claims_early):
            return self._store.lookup(call.key, required=self._is_required)
        call.id = uuid()
        timeout = call.policy["herd_avoidance_timeout"]
        return self._store.ask(call.key, call.id, timeout, required=self._is_required)

    def _claimed(self, call: Call, claim: Claim) -> None:
        call.claimed = True
        self._tell_claimed(call.task, call.key, claim)

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
        if _has_ended(call, meta):
            # It ended, and its release was lost or is still to come: the next run need not wait for that.
            call.stale = claim.owner
            return None
        events.emit(events.herd_joined, call.task, key=call.key, task_id=claim.owner)
        return backends.loaded(call.task, claim.owner, meta)

    def _claim_for(self, call: Call, run: Run | None) -> None:
        assert call.id is not None
        lease = _seconds_until(call.eta) + call.policy["herd_avoidance_timeout"]
        kin = run.id if run is not None else None
        entry = self._admit(call, call.key, call.id, lease, call.stamp.get("waiting_for"), call.stale, kin)
        if not isinstance(entry, Claim):
            return
        if entry.owner == call.id:
            call.stamp.pop("waiting_for", None)
            self._claimed(call, entry)
        elif entry.owner == kin:
            # A task that calls itself goes on after this run, and not on its result.
            call.stamp["after"] = kin
        elif entry.owner != call.stamp.get("after"):
            call.stamp["waiting_for"] = entry.owner

    def _decide(self, run: Run, key: str) -> Result | Claim | None:
        timeout = run.policy["herd_avoidance_timeout"]
        ignores = run.request is not None and bool(run.request.ignore_result)
        # An eager run does not claim: nobody else could read its result by the id that they would be given.
        if timeout is None or (run.is_eager and not run.stands_in) or _silent(run.task, ignores):
            entry = self._store.lookup(key, required=self._is_required)
            return entry if isinstance(entry, Result) else None
        lease = Lease(self._store, key, run.id, seconds=self._get_settings().lease, longest=timeout)
        decided = self._admit(run, key, run.id, lease.seconds, run.stamp.get("waiting_for"))
        if isinstance(decided, Claim) and decided.owner == run.id:
            run.lease = lease
            lease.begin()
        elif isinstance(decided, Claim) and run.is_eager:
            return None  # It cannot wait.
        return decided

    def _admit(
        self,
        subject: Call | Run,
        key: str,
        owner: str,
        lease: float,
        waited_for: str | None,
        stale: str | None = None,
        kin: str | None = None,
    ) -> Result | Claim | None:
        """Ask the store, and once more past a claim whose owner is known to have ended."""
        # A call is published all the same: what a receiver raises keeps nobody from that.
        admit = partial(
            self._store.admit, key, owner, lease, required=isinstance(subject, Run) and self._is_required
        )
        entry = admit(waited_for=waited_for, stale=stale)
        if not isinstance(entry, Claim) or entry.owner in (owner, kin):
            return entry
        meta = backends.meta_of(subject.task, entry.owner)
        if not _has_ended(subject, meta, waited=entry.owner == waited_for):
            return entry
        return admit(stale=entry.owner)

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
            self._release(run.task, key, run.id)
            return
        ttl = None if duration == 0 else max(duration, 0.0)
        if self._store.settle(key, run.id, payload, ttl, handover=timeout or 0.0):
            if duration >= 0 and _is_wanted(run):
                outcomes.note(self._store, run.id, key, ttl)
            events.emit(events.result_stored, run.task, key=key, task_id=run.id, size=len(payload))

    def _release(self, task: Task, key: str, owner: str) -> None:
        if self._store.release(key, owner):
            events.emit(events.claim_released, task, key=key, task_id=owner)

    def _tell_claimed(self, task: Task, key: str, claim: Claim) -> None:
        if claim.previous is not None:
            events.emit(events.claim_taken_over, task, key=key, task_id=claim.owner, previous=claim.previous)
        events.emit(events.run_claimed, task, key=key, task_id=claim.owner)

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


def _avoids_herds(call: Call) -> bool:
    return call.policy["herd_avoidance_timeout"] is not None


def _silent(task: Task, ignore_result: bool) -> bool:
    """Whether this one run leaves no result where others would look for it, so it cannot stand for them."""
    return ignore_result and not task.ignore_result


def _is_wanted(run: Run) -> bool:
    return run.request is not None and not backends.ignores_result(run.task, run.request)


def _has_ended(subject: Call | Run, meta: backends.Meta | None, waited: bool = False) -> bool:
    """Whether a claim's owner, of which *meta* is known, has nothing more to give.

    Celery lets everybody see a success before the run's end is told to us. What is about to be stored is
    worth waiting for: for a task that caches, and for those who *waited* for this owner.
    """
    if meta is None or meta["status"] not in states.READY_STATES:
        return False
    return not (meta["status"] == states.SUCCESS and (waited or subject.policy["cache_duration"] >= 0))


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


def _seconds_until(eta: str | None) -> float:
    if eta is None:
        return 0.0
    due = maybe_iso8601(eta)
    left: datetime.timedelta = due - datetime.datetime.now(due.tzinfo)
    return max(left.total_seconds(), 0.0)
