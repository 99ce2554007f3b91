"""Leases: the claims of runs that go on in this process are renewed, so that a machine that vanishes soon
frees its own.

One thread of the process renews the claims of all its runs, and no other thread waits for it. A process that
is stopped for longer than a lease can lose its claims. What it computes is then dropped if another run was
faster.

(C. Gray and D. Cheriton, *Leases: an efficient fault-tolerant mechanism for distributed file cache
consistency*, 1989.)
"""

from __future__ import annotations

import threading
import time

from ..stores.guard import GuardedStore
from ..support.timers import Timer, Timers, store_timers

__all__ = ["RENEWALS", "LateLease", "Lease", "timers"]

#: How often a lease is renewed in its time: it survives a renewal that fails, and one that is late.
RENEWALS = 3

#: The thread that renews.
timers: Timers = store_timers


class Lease:
    """The running claim of one delivery, for as long as its run goes on.

    It is renewed whether or not the store knew of it when the run began. So a run that began while the store
    was away gets its claim as soon as the store is back.

    :ivar seconds: how long a claim lasts that nobody renews.
    :param longest: seconds after which the claim is not renewed any more.
    """

    def __init__(
        self,
        store: GuardedStore,
        key: str,
        owner: str,
        delivery: str,
        *,
        seconds: float,
        longest: float,
    ) -> None:
        self.seconds: float = min(seconds, longest)
        self._store, self._key, self._owner, self._delivery = store, key, owner, delivery
        self._began = time.monotonic()
        self._ends = self._began + longest
        # So that nothing is renewed once the run has ended.
        self._renewing = threading.Lock()
        self._ended = False
        self._timer: Timer | None = None

    @property
    def ran_for(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def begin(self) -> None:
        """Renew the claim from now on."""
        now = time.monotonic()
        if now + self.seconds < self._ends:
            self._timer = timers.call_at(now + self.seconds / RENEWALS, self._renew)

    def end(self) -> None:
        """Renew the claim no more. Waits for a renewal that is under way."""
        with self._renewing:
            self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _renew(self) -> None:
        with self._renewing:
            left = self._ends - time.monotonic()
            if self._ended or left <= 0:
                return
            renewed = self._store.renew(
                self._key, self._owner, self._delivery, min(self.seconds, left), ran_for=self.ran_for
            )
        # If the store answers and refuses, another delivery runs.
        if renewed or self._store.is_down:
            self.begin()


class LateLease(Lease):
    """The claim of a run that others cannot join, for the moment in which its result is stored.

    Without it, the result could not replace one that still answers new callers.
    """

    def begin(self) -> None:
        """Do nothing: the run goes on without a claim."""

    def end(self) -> None:
        """Claim the key, as of when the run began, unless another delivery runs or is newer."""
        self._store.renew(self._key, self._owner, self._delivery, self.seconds, ran_for=self.ran_for)
