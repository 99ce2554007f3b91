"""Sharing on the worker: identical calls have one run, and its result answers later ones.

A run is *served* the stored result, or *waits* for another delivery, or runs. In the end its result is
stored, or its claim is released. :mod:`.answers` is the caller's side.
``docs/explanation/architecture.md`` describes both.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import states

from .. import celery_internals, events
from ..calls import Raised, Run, Served, key_of
from ..errors import StoreError
from ..installation import Installation
from ..middleware import Middleware
from ..progress.history import History
from ..results import backend
from ..stores import Claim, Result
from ..support.processes import when_ended
from ..support.rare_warnings import rare_warnings
from ..support.shown import shown
from .answers import announce, read_result
from .claims import Claims, Share, has_ended
from .duplicates import refusal, reruns
from .results import Results
from .waiting import Wait, in_place, seconds_left

__all__ = ["Sharing"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds after an owner's success for which its result is expected in the store.
ON_ITS_WAY = 2.0


class Sharing(Middleware):
    """Cached results and herd avoidance for runs, through the store of *installation*."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._claims = Claims(installation)
        self._results = Results(installation, self._claims)
        self._history = History(installation)

    def before_run(self, run: Run) -> None:
        """Decide whether a run is served, waits or runs."""
        run.policy.keys.remember_defaults(run.task)
        key = key_of(run)
        scopes = None if key is None else run.policy.scopes_of(run.task, run.args, run.kwargs)
        run.scopes = scopes or ()
        run.key = key = None if scopes is None else key
        self._release_stamped(run, key)
        if key is None:
            return
        self._warn_of_other_store(run)
        share = Share(self._claims.lease_for(run, key), bool(run.stamp.get("fresh")))
        run.keep(share)
        try:
            self._decide(run, key, share, self._claims.claim(run, key, share))
        except StoreError as error:
            run.decision = Raised(error)

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Store the result of a run, or release its claim."""
        share, key = run.part(Share), run.key
        if share is None or key is None or run.decision is not None:
            return
        if share.lease is not None:
            share.lease.end()
        if share.next_due is None and self._results.store(run, key, share, state, value):
            return
        if share.lease is not None and not share.is_replaced:
            lease = self._installation.settings.lease
            requeue = lease if share.next_due is not None and share.next_due <= lease else 0.0
            self._claims.release(run.task, key, run.id, run.delivery, requeue=requeue)

    def run_lost(self, run: Run) -> None:
        """Release the claim of a run that ended in another way, once its body has ended.

        Celery reports a time limit and a termination before the process is dead.
        """
        key = key_of(run)
        self._release_stamped(run, key)
        if key is not None:
            when_ended(run.pid, partial(self._claims.release, run.task, key, run.id, run.delivery))

    def _decide(self, run: Run, key: str, share: Share, entry: Result | Claim | None) -> None:
        if isinstance(entry, Result):
            value, readable = read_result(self._installation, run, entry)
            if readable:
                is_failure = entry.state in states.EXCEPTION_STATES
                run.decision = Served(error=value) if is_failure else Served(value)
                events.emit(events.run_served, run.task, key=key, task_id=run.id, owner=entry.owner)
                logger.debug(
                    "%s[%s]: served the result of %s", run.task.name, shown(run.id), shown(entry.owner)
                )
                return
            entry = self._claims.claim(run, key, share)
        if isinstance(entry, Claim) and entry.delivery != run.delivery:
            self._decide_beside(run, key, share, entry)
        elif share.lease is not None:
            share.lease.begin()
            announce(run, entry)
        elif share.fresh and run.policy.caches:
            share.lease = self._claims.late_lease_for(run, key)

    def _decide_beside(self, run: Run, key: str, share: Share, claim: Claim) -> None:
        """Decide for a delivery while another one has the claim."""
        meta = backend.meta_of(run.task, claim.owner)
        # It is likely that its result is about to be stored.
        failure_counts_after = min(run.policy.failure_ttl((meta or {}).get("result")), ON_ITS_WAY)
        if has_ended(claim, meta, success_counts_after=ON_ITS_WAY, failure_counts_after=failure_counts_after):
            self._decide(run, key, share, self._claims.claim(run, key, share, lapsed=claim))
        elif run.is_eager or celery_internals.is_fanout(run.task.app, _exchange_of(run)):
            share.lease = None  # It cannot wait, so it runs without a claim.
        elif reruns(run, claim) and not share.fresh:
            share.fresh = True  # From now on, since a stored result would have answered it.
            self._decide(run, key, share, self._claims.claim(run, key, share))
        else:
            left = seconds_left(run.task.name, claim, meta, self._history)
            run.decision = refusal(run, claim, self._installation.store, left)
            if run.decision is None:
                is_for_result = _is_answered_by(run, share, claim)
                wait = Wait(key, claim, is_for_result, meta, left, run.stamp.get("expected"))
                self._wait(run, key, share, wait)
            elif claim.next is not None and claim.next.owner == run.id:
                self._claims.release(run.task, key, run.id, None)

    def _wait(self, run: Run, key: str, share: Share, wait: Wait) -> None:
        """Let a delivery wait for another one: where it is, if that is nearly over and then ends."""

        def is_over(entry: Result | Claim | None) -> bool:
            return not (isinstance(entry, Claim) and entry.is_same_hold(wait.claim))

        entry: Result | Claim | None = wait.claim
        if wait.is_nearly_over:
            entry = in_place(lambda: self._claims.claim(run, key, share), is_over)
        if is_over(entry):
            self._decide(run, key, share, entry)
        else:
            run.decision = wait

    def _warn_of_other_store(self, run: Run) -> None:
        store, theirs = self._installation.store, run.stamp.get("store")
        # A store that does not answer has no identity, and has been reported.
        if theirs is not None and store.identity not in (None, theirs):
            rare_warnings.warn(
                logger,
                "another store",
                "%s[%s]: its caller shares through another store (%s) than this worker (%s, %s), so neither "
                "finds what the other knows; give both the same jobtastic_store",
                run.task.name,
                run.id,
                shown(theirs),
                store.identity,
                store.url,
            )

    def _release_stamped(self, run: Run, key: str | None) -> None:
        """Release the queued claim of a caller that made another key than this worker."""
        stamped = run.stamp.get("key")
        if stamped is None or stamped == key or not run.policy.shares:
            return
        if run.policy.keys.makes(run.task, stamped):
            self._claims.release(run.task, stamped, run.id, None)
        rare_warnings.warn(
            logger,
            "another key",
            "%s[%s]: the stamp of its message names the key %s, and this worker makes %s, which counts. If a "
            "caller made the other one, give both the same code, and a key_context that returns the same for "
            "both",
            run.task.name,
            shown(run.id),
            shown(stamped),
            key,
        )


def _exchange_of(run: Run) -> str | None:
    info = getattr(run.request, "delivery_info", None) or {}
    exchange: str | None = info.get("exchange")
    return exchange


def _is_answered_by(run: Run, share: Share, claim: Claim) -> bool:
    """Return whether the result of the run under *claim* will answer *run*."""
    if claim.owner == run.stamp.get("after"):
        return False
    is_earlier_call = run.stamp.get("called", claim.at) < claim.since
    return is_earlier_call or not (share.fresh or claim.forgotten is not None)
