"""Claims of runs that go on here are renewed, so that a machine that vanishes soon frees what it had.

A claim lasts for a short lease, and not for the whole time that others would wait for a run. One thread of
the process renews the claims of all its runs, and no other thread waits for it. A process that is too busy
to renew, or is stopped for longer than a lease, can lose its claims, and what it computes is dropped if
another one was faster.

(C. Gray and D. Cheriton, *Leases: an efficient fault-tolerant mechanism for distributed file cache
consistency*, 1989.)
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ..support.timers import Background

if TYPE_CHECKING:
    from ..stores.guard import GuardedStore

__all__ = ["Lease"]

#: How often a lease is renewed in its time: it survives a renewal that fails, and one that is late.
RENEWALS = 3

_background = Background("jobtastic-leases")


class Lease:
    """The claim of *owner* on *key*, for as long as its run goes on, and for *longest* seconds at most.

    :ivar seconds: what to claim the key for.
    :param seconds: for how long a claim lasts that nobody renews.
    """

    def __init__(self, store: GuardedStore, key: str, owner: str, *, seconds: float, longest: float) -> None:
        self.seconds = min(seconds, longest)
        self._store, self._key, self._owner = store, key, owner
        self._ends = time.monotonic() + longest
        # So that nothing is renewed once the run has ended, or has been published again with another lease.
        self._renewing = threading.Lock()
        self._ended = False

    def begin(self) -> None:
        """The key is claimed; renew it from now on."""
        if time.monotonic() + self.seconds < self._ends:
            _background.call_at(time.monotonic() + self.seconds / RENEWALS, self._renew)

    def end(self) -> None:
        """Renew it no more; a renewal under way is waited for."""
        with self._renewing:
            self._ended = True

    def _renew(self) -> None:
        with self._renewing:
            left = self._ends - time.monotonic()
            if self._ended or left <= 0:
                return
            renewed = self._store.extend(self._key, self._owner, min(self.seconds, left))
        # Where the store has it no more it was lost to another owner.
        if renewed or self._store.is_down:
            self.begin()
