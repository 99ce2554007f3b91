"""Forks: a process is forked only while none of its threads is where a child could not go on from."""

from __future__ import annotations

import functools
import os
import threading
import time
from contextlib import suppress

__all__ = ["ForkGate", "fork_gate"]

#: Seconds that a fork waits at most for threads that are inside.
PATIENCE = 5.0


class ForkGate:
    """Gives each thread a lock. While a thread holds its own, it is *inside*, and no other thread forks.

    Some libraries hold locks that a child inherits, and nobody there can release them. SQLite is one of them:
    a child that is forked while another thread writes would wait for ever, or find the database locked.

    Threads do not keep each other out: whoever forks takes the locks of all others. Python enters and leaves
    a lock in one step, so a signal, such as a soft time limit, never leaves a thread inside.

    >>> gate = ForkGate()
    >>> with gate.lock():
    ...     pass  # Here another thread that forks waits.
    """

    def __init__(self) -> None:
        self._reset()

    def lock(self) -> threading.RLock:
        """Return the lock of this thread."""
        lock = self._locks.get(threading.get_ident())
        if lock is None:
            with self._adding:
                lock = self._locks.setdefault(threading.get_ident(), threading.RLock())
        return lock

    def close(self) -> None:
        """Wait until no other thread is inside, and let nobody in."""
        ends = time.monotonic() + PATIENCE
        self._adding.acquire(timeout=PATIENCE)  # First: a thread without a lock waits for this.
        for lock in self._others():
            lock.acquire(timeout=max(ends - time.monotonic(), 0.0))

    def open(self) -> None:
        """Let everybody in again. A signal may have cut :meth:`close` short, so that it took only some."""
        for lock in (*self._others(), self._adding):
            with suppress(RuntimeError):  # This thread does not have it.
                lock.release()

    def _others(self) -> list[threading.RLock]:
        own = self._locks.get(threading.get_ident())
        return [lock for lock in self._locks.copy().values() if lock is not own]

    def _reset(self) -> None:
        # A child has only the thread that forked it.
        self._adding = threading.RLock()
        self._locks: dict[int, threading.RLock] = {}


@functools.cache
def fork_gate() -> ForkGate:
    """Return the gate of this process, which every fork passes from the first call on."""
    gate = ForkGate()
    if hasattr(os, "register_at_fork"):  # Windows has no forks.
        os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=gate._reset)
        # Once more, since a time limit can strike before the first has begun.
        os.register_at_fork(after_in_parent=gate.open)
    return gate
