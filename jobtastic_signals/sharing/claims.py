"""Claims: what sharing asks of the store for a call or a run."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from celery import Task, states
from celery.utils import uuid
from celery.utils.time import maybe_iso8601

from .. import events
from ..calls import Call, Run
from ..results import backend as backends
from ..stores import Claim, Result
from .leases import Lease

if TYPE_CHECKING:
    from ..settings import Settings
    from ..stores.guard import GuardedStore

__all__ = ["Claims", "avoids_herds", "has_ended"]


class Claims:
    """The claims of one app's calls and runs."""

    def __init__(self, get_settings: Callable[[], Settings], get_store: Callable[[], GuardedStore]) -> None:
        self._get_settings, self._get_store = get_settings, get_store

    @property
    def _store(self) -> GuardedStore:
        return self._get_store()

    @property
    def _is_required(self) -> bool:
        return self._get_settings().store_required

    def ask(self, call: Call) -> Result | Claim | None:
        """What answers *call*, or its own claim, since it is going to be published."""
        if not (avoids_herds(call) and call.claims_early):
            return self._store.lookup(call.key, required=self._is_required)
        call.id = uuid()
        timeout = call.policy["herd_avoidance_timeout"]
        return self._store.ask(call.key, call.id, timeout, required=self._is_required)

    def claim(self, call: Call, run: Run | None) -> None:
        """Claim the key of a call that is published, or learn whom it has to wait for.

        :param run: that of the task that calls, if it is one.
        """
        if not avoids_herds(call) or call.claimed or _silent(call.task, call.ignore_result):
            return
        assert call.id is not None
        lease = _seconds_until(call.eta) + call.policy["herd_avoidance_timeout"]
        kin = run.id if run is not None else None
        entry = self._admit(call, call.key, call.id, lease, call.stamp.get("waiting_for"), call.stale, kin)
        if not isinstance(entry, Claim):
            return
        if entry.owner == call.id:
            call.stamp.pop("waiting_for", None)
            self.granted(call, entry)
        elif entry.owner == kin:
            # A task that calls itself goes on after this run, and not on its result.
            call.stamp["after"] = kin
        elif entry.owner != call.stamp.get("after"):
            call.stamp["waiting_for"] = entry.owner

    def decide(self, run: Run, key: str) -> Result | Claim | None:
        """What is there for *run*: a result, another's claim, its own, or nothing at all."""
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

    def granted(self, call: Call, claim: Claim) -> None:
        """*call* has the *claim*."""
        call.claimed = True
        self.tell(call.task, call.key, claim)

    def release(self, task: Task, key: str, owner: str) -> None:
        if self._store.release(key, owner):
            events.emit(events.claim_released, task, key=key, task_id=owner)

    def tell(self, task: Task, key: str, claim: Claim) -> None:
        """Tell of a *claim* that was granted."""
        if claim.previous is not None:
            events.emit(events.claim_taken_over, task, key=key, task_id=claim.owner, previous=claim.previous)
        events.emit(events.run_claimed, task, key=key, task_id=claim.owner)

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
        if not has_ended(subject, meta, waited=entry.owner == waited_for):
            return entry
        return admit(stale=entry.owner)


def avoids_herds(call: Call) -> bool:
    return call.policy["herd_avoidance_timeout"] is not None


def _silent(task: Task, ignore_result: bool) -> bool:
    """Whether this one run leaves no result where others would look for it, so it cannot stand for them."""
    return ignore_result and not task.ignore_result


def has_ended(subject: Call | Run, meta: backends.Meta | None, waited: bool = False) -> bool:
    """Whether a claim's owner, of which *meta* is known, has nothing more to give.

    Celery lets everybody see a success before the run's end is told to us. What is about to be stored is
    worth waiting for: for a task that caches, and for those who *waited* for this owner.
    """
    if meta is None or meta["status"] not in states.READY_STATES:
        return False
    return not (meta["status"] == states.SUCCESS and (waited or subject.policy["cache_duration"] >= 0))


def _seconds_until(eta: str | None) -> float:
    if eta is None:
        return 0.0
    due = maybe_iso8601(eta)
    left: datetime.timedelta = due - datetime.datetime.now(due.tzinfo)
    return max(left.total_seconds(), 0.0)
