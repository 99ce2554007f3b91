"""Claims: what sharing asks of the store for a call or a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Task, states
from celery.exceptions import TaskRevokedError
from celery.utils import uuid

from .. import events
from ..calls import Call, Run
from ..installation import Installation
from ..options import Option, seconds
from ..results import backend
from ..stores import Claim, Result
from .duplicates import REFUSING
from .leases import LateLease, Lease

__all__ = [
    "HERD_AVOIDANCE_TIMEOUT",
    "Claims",
    "Share",
    "has_earlier_result",
    "has_ended",
    "seconds_until",
    "was_violent",
]

#: How the worker's main process ends a run whose body may still go on.
_VIOLENT = (TaskRevokedError, Terminated, TimeLimitExceeded, WorkerLostError)

AnyLease = TypeVar("AnyLease", bound=Lease)


def _parse_timeout(value: Any) -> float | None:
    if value is None:
        return None
    timeout = float(seconds(value))
    if timeout < 0:
        raise ValueError("negative")
    return timeout or None


HERD_AVOIDANCE_TIMEOUT = Option(
    "herd_avoidance_timeout",
    default=None,
    accepts="the seconds for which identical calls may join one run, such as 60; set it above the longest "
    "run that you expect. 0 or None for no herd avoidance",
    parse=_parse_timeout,
)


@dataclass(eq=False, repr=False)
class Share:
    """What sharing keeps of one run.

    :ivar lease: the lease of its claim; ``None`` for a run that does not claim.
    :ivar fresh: whether only a run that began after the call answers it.
    :ivar next_due: seconds until the message is due that the run published under its own id, such as a retry;
        ``None`` without one.
    :ivar is_replaced: whether other tasks go on with the run's id and its claim.
    :ivar proof: the text by which their messages show that this run was replaced.
    """

    lease: Lease | None = None
    fresh: bool = False
    next_due: float | None = None
    is_replaced: bool = False
    proof: str = ""


class Claims:
    """The claims of one app's calls and runs."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def request(self, call: Call, *, lapsed: Claim | None = None) -> Result | Claim | None:
        """Return what answers *call*, or its own claim.

        ``None`` means that it is published without one. A task without herd avoidance never claims.

        :raises StoreError: if the store has to answer, and does not.
        """
        store, required = self._installation.store, call.plain and self._installation.settings.store_required
        if not call.policy.avoids_herds or _is_silent(call.task, call.ignore_result):
            return self._look_up(call, required) if call.plain else None
        if call.id is None and not call.claims_early and not call.policy.hands_out_stale:
            entry = self._look_up(call, required)
            if not isinstance(entry, Claim):
                return entry  # Something else chooses the id, so there is none to claim with.
        joins = call.on_duplicate not in REFUSING
        if call.fresh and not joins:
            claim = store.entry(call.key, scopes=call.scopes).claim
            if claim is not None and not claim.is_same_hold(lapsed):
                return claim  # This call is a duplicate, and must not displace what is queued.
        call.id = call.id or uuid()
        entry = store.lookup_or_claim(
            call.key,
            call.id,
            self._seconds(call),
            expires=call.expires,
            goes_out=not call.plain,
            lapsed=lapsed,
            scopes=call.scopes,
            fresh=call.fresh,
            rerun=call.on_duplicate == "rerun",
            joins=joins,
            required=required,
        )
        if entry is not None:
            call.stamp["called"] = entry.at
            call.claimed = entry.grants(call.id)
        return entry

    def claim(
        self, run: Run, key: str, share: Share, *, lapsed: Claim | None = None
    ) -> Result | Claim | None:
        """Return a result that answers *run*, another delivery's claim, or its own; ``None`` to run without
        one.

        :raises StoreError: if the store has to answer, and does not.
        """
        store, required = self._installation.store, self._installation.settings.store_required
        lease = share.lease
        if lease is None:
            entry = store.lookup(key, scopes=run.scopes, required=required)
            return entry if isinstance(entry, Result) and not share.fresh else None
        assert run.delivery is not None
        ask = partial(
            store.claim,
            key,
            run.id,
            run.delivery,
            lease.seconds,
            waited_for=run.stamp.get("waiting_for"),
            lapsed=lapsed,
            scopes=run.scopes,
            fresh=share.fresh,
            required=required,
        )
        entry = ask(called=run.stamp.get("called"))
        if isinstance(entry, Result) and entry.owner == run.stamp.get("after"):
            # A run that lost its claim may seem to have begun later than it did.
            return ask(called=None)
        return entry

    def lease_for(self, run: Run, key: str) -> Lease | None:
        """Return the lease that *run* will have, or ``None`` if it does not claim."""
        return self._lease(Lease, run, key, run.policy.join_timeout) if _claims(run) else None

    def late_lease_for(self, run: Run, key: str) -> LateLease:
        """Return a lease for *run*, which does not claim, for the moment in which its result is stored."""
        lease = self._installation.settings.lease
        return self._lease(LateLease, run, key, lease)

    def release(
        self, task: Task[Any, Any], key: str, owner: str, delivery: str | None, *, requeue: float = 0.0
    ) -> None:
        """Give up a claim. If the store is away now, it is given up later; in time it lapses by itself."""
        store, lease = self._installation.store, self._installation.settings.lease
        if store.release(key, owner, delivery, requeue=requeue):
            if not requeue:
                events.emit(events.claim_released, task, key=key, task_id=owner)
        elif store.is_down:
            store.release_later(key, owner, delivery, lease)

    def _look_up(self, call: Call, required: bool) -> Result | Claim | None:
        # Without a claim, a fresh call could only meet runs that began before it.
        if call.fresh:
            return None
        return self._installation.store.lookup(call.key, scopes=call.scopes, required=required)

    def _lease(self, kind: type[AnyLease], run: Run, key: str, longest: float) -> AnyLease:
        assert run.delivery is not None
        store, seconds = self._installation.store, self._installation.settings.lease
        return kind(store, key, run.id, run.delivery, seconds=seconds, longest=longest)

    def _seconds(self, call: Call) -> float:
        return min(self._installation.settings.lease, call.policy.join_timeout)


def _claims(run: Run) -> bool:
    """Return whether *run* claims its key when it begins."""
    ignores = run.request is not None and bool(run.request.ignore_result)
    # Nobody else could read the result of an eager run by the id that they would be given.
    is_readable = run.stands_in or not run.is_eager
    return run.policy.avoids_herds and is_readable and not _is_silent(run.task, ignores)


def _is_silent(task: Task[Any, Any], ignore_result: bool) -> bool:
    """Return whether this one run leaves no result where others would look, so it cannot stand for them."""
    return ignore_result and not task.ignore_result


def has_ended(
    claim: Claim,
    meta: backend.Meta | None,
    *,
    success_counts_after: float | None,
    failure_counts_after: float = 0.0,
) -> bool:
    """Return whether the owner of a claim has nothing more to give, as far as the result backend knows.

    Only an ending after the claim was made counts: a task id can run again. If a host's clock is behind the
    store's, an ending may go unnoticed until the lease lapses.

    The violent end of a run does not count: see :func:`was_violent`.

    :param meta: what the result backend knows of the owner.
    :param success_counts_after: seconds after which a success is an ending. Celery shows a success to
        everybody before the process can store it, so it may be worth waiting for; ``None`` for never.
    :param failure_counts_after: the same for a failure that is going to be stored; 0 for any other.
    """
    ended = backend.ended_at(meta)
    if meta is None or ended is None or ended <= claim.since or was_violent(claim, meta):
        return False
    if meta["status"] == states.SUCCESS:
        return success_counts_after is not None and time.time() - ended >= success_counts_after
    is_stored = meta["status"] == states.FAILURE and failure_counts_after > 0
    return not is_stored or time.time() - ended >= failure_counts_after


def was_violent(claim: Claim, meta: backend.Meta | None) -> bool:
    """Return whether a worker's main process has stored the end of the owner, while the body may go on.

    Celery stores the end of a time limit or a termination before the process is dead. It stores that a task
    was revoked as long as it knows of no run, and the run continues. And the end of a process that was lost
    can be stored when another delivery of the same id has begun.

    :param meta: what the result backend knows of the owner.
    """
    if meta is None or not claim.is_running:
        return False
    return meta["status"] == states.REVOKED or isinstance(meta["result"], _VIOLENT)


def has_earlier_result(claim: Claim, meta: backend.Meta | None) -> bool:
    """Return whether the result backend has an outcome of the owner from before the claim was made.

    A task id runs again after a broker has delivered its message twice, or if a user chose it twice. Until
    that run ends, the id shows the outcome of the one before.

    :param meta: what the result backend knows of the owner.
    """
    ended = backend.ended_at(meta)
    return ended is not None and ended <= claim.since


def seconds_until(eta: str | None) -> float:
    """Return how many seconds *eta*, as ISO text, lies ahead; 0 for ``None`` and for the past."""
    due = backend.timestamp(eta)
    return 0.0 if due is None else max(due - time.time(), 0.0)
