"""Observation: what sharing would do, on an app with ``jobtastic_observe``. Nothing that it does shows.

Calls and runs claim *shadow keys*, which nobody else uses: the keys of calls behind a prefix. What a stamp
would say to the worker is kept in the store, under the task id. All runs go on; those that sharing would have
avoided are counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from celery import states

from ..calls import Call, Run, calling_run, key_of
from ..errors import StoreError
from ..installation import Installation, count
from ..keys.stamps import checked_stamp
from ..middleware import Middleware
from ..results import backend
from ..stores import REMEMBERED_FOR, Claim, Result
from ..stores.names import internal_name
from .answers import mark
from .claims import Claims, Share, has_earlier_result, has_ended, seconds_until
from .leases import Lease
from .middleware import ON_ITS_WAY

__all__ = ["Observed", "ObservedCalls", "ObservedRuns"]

#: What a shadow key begins with. No key of a call does, and no stamp can name one.
SHADOW = "observe:"

#: The field of a note that says that there would have been no message.
AVOIDED = "avoided"


@dataclass(eq=False, repr=False)
class Observed:
    """What is kept of one observed run.

    :ivar key: its shadow key.
    :ivar is_avoided: whether it would not have run.
    :ivar lease: the lease of its claim; ``None`` for a run without one.
    :ivar next_due: seconds until the message is due that the run published under its own id, such as a retry;
        ``None`` without one.
    """

    key: str
    is_avoided: bool = False
    lease: Lease | None = None
    next_due: float | None = None


class ObservedCalls(Middleware):
    """Finds out, through the store of *installation*, what would have answered a call."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._claims = Claims(installation)

    def before_publish(self, call: Call) -> None:
        """Ask the store what sharing would have asked, and note it for the run."""
        run = calling_run(call.task)
        if run is not None and run.id == call.id:
            _send_run_again(call, run)
            return
        shadow = replace(call, key=SHADOW + call.key, stamp={"id": call.id})
        answer = None
        with suppress(StoreError):  # What sharing would have raised.
            answer = self._answer(shadow) if not call.due_later else None
        _count(call, "calls", answer)
        if answer is not None and not shadow.publishes_too:
            shadow.stamp[AVOIDED] = True
        if not call.due_later:
            self._note(shadow)

    def publish_failed(self, call: Call) -> None:
        """Give up the claim of a call without a message."""
        if call.id is not None:
            self._installation.store.release(SHADOW + call.key, call.id, None)

    def _answer(self, call: Call) -> str | None:
        """Return what would have answered *call*: ``"hits"`` or ``"joins"``; ``None`` if it would go out."""
        entry = self._claims.request(call)
        if call.plain and _is_of_another(entry, call) and self._has_lapsed(call, entry):
            entry = self._claims.request(call, lapsed=entry)
        mark(call, entry)
        if not call.plain or "after" in call.stamp:
            return None
        if isinstance(entry, Result):
            call.publishes_too = entry.renewal == call.id
            return "hits"
        if not _is_of_another(entry, call) or not call.policy.avoids_herds:
            return None
        call.publishes_too = entry.next is not None and entry.next.owner == call.id
        return "joins"

    def _has_lapsed(self, call: Call, claim: Claim) -> bool:
        """Return whether the result backend says that *claim* stands for a run that nobody can join."""
        meta = backend.meta_of(call.task, claim.owner)
        ended = has_ended(claim, meta, success_counts_after=call.policy.result_ttl)
        return ended or (has_earlier_result(claim, meta) and not claim.is_running)

    def _note(self, call: Call) -> None:
        """Keep what the stamp of a call would say to the worker."""
        assert call.id is not None
        data = json.dumps(call.stamp).encode()
        self._installation.store.complete(_note_of(call.id), call.id, None, data, ttl=REMEMBERED_FOR)


class ObservedRuns(Middleware):
    """Finds out, through the store of *installation*, which runs sharing would have avoided."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._claims = Claims(installation)

    def before_run(self, run: Run) -> None:
        """Find out whether sharing would have avoided the run; if not, claim its shadow key."""
        if not run.policy.observes or (key := key_of(run, observed=True)) is None:
            return
        observed = Observed(SHADOW + key)
        run.keep(observed)
        note = self._noted(run.id)
        shadow = replace(run, key=observed.key, stamp=note)
        if note.get(AVOIDED):
            observed.is_avoided = True
            return
        with suppress(StoreError):
            self._claim(shadow, observed)

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Do with the shadow key what sharing would have done with the key."""
        observed = run.part(Observed)
        if observed is None:
            return
        if observed.lease is not None:
            observed.lease.end()
        if state in states.READY_STATES:
            self._installation.store.forget(_note_of(run.id))
        if observed.is_avoided:
            return
        if state == states.SUCCESS and observed.next_due is None:
            self._complete(run, observed)
        elif observed.lease is not None:
            lease = self._installation.settings.lease
            requeue = lease if observed.next_due is not None and observed.next_due <= lease else 0.0
            self._installation.store.release(observed.key, run.id, run.delivery, requeue=requeue)

    def run_lost(self, run: Run) -> None:
        """Give up the claim of a run that ended in another way."""
        key = key_of(run, observed=True)
        if key is not None:
            # The process of the run has chosen the token.
            self._installation.store.release(SHADOW + key, run.id, "")

    def _claim(self, run: Run, observed: Observed) -> None:
        share = Share(self._claims.lease_for(run, observed.key))
        entry = self._claims.claim(run, observed.key, share)
        if _is_held(entry, run):
            meta = backend.meta_of(run.task, entry.owner)
            if has_ended(entry, meta, success_counts_after=ON_ITS_WAY):
                entry = self._claims.claim(run, observed.key, share, lapsed=entry)
        if isinstance(entry, Result) or _is_held(entry, run):
            # A task that calls itself would have waited for its own run, and then run.
            observed.is_avoided = entry.owner != run.stamp.get("after")
            if isinstance(entry, Claim):
                _count(run, "waits")
            if observed.is_avoided:
                _count(run, "served")
        elif share.lease is not None:
            observed.lease = share.lease
            share.lease.begin()

    def _complete(self, run: Run, observed: Observed) -> None:
        store, policy, lease = self._installation.store, run.policy, observed.lease
        if not policy.caches and (
            lease is None or store.release(observed.key, run.id, run.delivery, unless_awaited=True)
        ):
            return
        stored = store.complete(
            observed.key,
            run.id,
            run.delivery if lease is not None else None,
            b"",
            ttl=policy.result_ttl,
            kept_for=REMEMBERED_FOR,
            ran_for=lease.ran_for if lease is not None else 0.0,
            stale_for=policy["cache_stale_for"],
        )
        if not stored:
            store.release(observed.key, run.id, run.delivery)

    def _noted(self, task_id: str) -> Mapping[str, Any]:
        entry = self._installation.store.lookup(_note_of(task_id))
        if isinstance(entry, Result):
            with suppress(ValueError):
                return checked_stamp(json.loads(entry.payload), task_id)
        return {}


def _is_of_another(entry: Result | Claim | None, call: Call) -> TypeGuard[Claim]:
    return isinstance(entry, Claim) and entry.owner != call.id


def _is_held(entry: Result | Claim | None, run: Run) -> TypeGuard[Claim]:
    """Return whether another delivery has a running claim."""
    return isinstance(entry, Claim) and entry.delivery != run.delivery


def _send_run_again(call: Call, run: Run) -> None:
    """Remember when the next message of a run is due. With other arguments it comes back to another key."""
    observed = run.part(Observed)
    if observed is not None:
        is_same = observed.key == SHADOW + call.key
        observed.next_due = seconds_until(call.eta) if is_same else math.inf


def _note_of(task_id: str) -> str:
    return internal_name("observed", task_id)


def _count(subject: Call | Run, *fields: str | None) -> None:
    count(subject.task, **{f"observed_{field}": 1 for field in fields if field is not None})
