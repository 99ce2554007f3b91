"""Counters: numbers that each process adds up in memory, and hands over in the background.

An increment costs a lock and two dictionaries. Somebody else adds up what the processes hand over.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import util

from .timers import Timers

__all__ = ["HANDED_OVER_AFTER", "Counters", "flush_all"]

#: Seconds after which an increment is handed over.
HANDED_OVER_AFTER = 3.0

_live: weakref.WeakSet[Counters] = weakref.WeakSet()


class Counters:
    """Sums that this process has not handed over yet: some under each name.

    A process hands over when it ends, unless it is killed or ends by ``os._exit``.

    :param write: adds numbers to the sums of all processes under a name, and returns whether it did. If it
        did not, they are handed over later.
    :param timers: the thread that calls *write*.
    """

    def __init__(self, write: Callable[[str, Mapping[str, float]], bool], timers: Timers) -> None:
        self._write, self._timers = write, timers
        # One for each process. What a child inherits is handed over by its parent, and the lock may be held.
        self._held: dict[int, _Held] = {}
        _live.add(self)

    def add(self, name: str, /, **amounts: float) -> None:
        """Add *amounts* to the sums under *name*."""
        pid = os.getpid()
        held = self._held.get(pid)
        if held is None:
            held = self._held.setdefault(pid, _Held())
        with held.lock:
            sums = held.sums.setdefault(name, {})
            for field, amount in amounts.items():
                sums[field] = sums.get(field, 0.0) + amount
        if not held.is_due:
            held.is_due = True
            self._timers.call_at(time.monotonic() + HANDED_OVER_AFTER, partial(_flush, weakref.ref(self)))

    def flush(self) -> None:
        """Hand over what there is. Does nothing if there is nothing."""
        held = self._held.get(os.getpid())
        if held is None:
            return
        held.is_due = False
        with held.lock:
            taken, held.sums = held.sums, {}
        try:
            for name in list(taken):
                if self._write(name, taken[name]):
                    del taken[name]
        finally:
            for name, amounts in taken.items():
                self.add(name, **amounts)

    def drop(self) -> None:
        """Forget what there is. Nobody is to get it."""
        self._held.pop(os.getpid(), None)


class _Held:
    """What one process holds."""

    def __init__(self) -> None:
        # The garbage collector may add to the sums while this thread does.
        self.lock = threading.RLock()
        self.sums: dict[str, dict[str, float]] = {}
        self.is_due = False
        # Unlike atexit, this is also called in children of multiprocessing. It is for this process alone.
        util.Finalize(None, flush_all, exitpriority=0)


def flush_all() -> None:
    """Hand over what this process holds, because it is about to end."""
    for counters in list(_live):
        counters.flush()


def _flush(reference: weakref.ref[Counters]) -> None:
    counters = reference()
    if counters is not None:
        counters.flush()
