"""Forks: a process is forked only while none of its threads is where a child could not go on from."""

from __future__ import annotations

import functools
import os
import threading
from types import TracebackType

__all__ = ["ForkGate", "fork_gate"]

#: Seconds that a fork waits at most for threads that are inside, and they for a fork.
PATIENCE = 5.0


class ForkGate:
    """A context in which a thread lets no other thread fork the process. Threads do not keep each other out.

    Some libraries hold locks that a child inherits, and nobody there can release them. SQLite is one of them:
    a child that is forked while another thread writes would wait for ever, or find the database locked.
    """

    def __init__(self) -> None:
        self._reset()

    def close(self) -> None:
        """Wait until no other thread is inside, and let nobody in."""
        me = threading.get_ident()
        with self._changed:
            self._forking.add(me)
            self._changed.wait_for(lambda: self._inside.keys() <= {me}, PATIENCE)

    def open(self) -> None:
        """Let everybody in again. A signal may have cut :meth:`close` short, such as a soft time limit."""
        with self._changed:
            self._forking.discard(threading.get_ident())
            self._changed.notify_all()

    def _reset(self) -> None:
        # A child has only the thread that forked it.
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}
        self._forking: set[int] = set()

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._changed:
            if me not in self._inside:
                self._changed.wait_for(lambda: self._forking <= {me}, PATIENCE)
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = threading.get_ident()
        with self._changed:
            depth = self._inside.pop(me, 1)
            if depth > 1:
                self._inside[me] = depth - 1
            self._changed.notify_all()


@functools.cache
def fork_gate() -> ForkGate:
    """Return the gate of this process, which every fork passes from the first call on."""
    gate = ForkGate()
    if hasattr(os, "register_at_fork"):  # Windows has no forks.
        os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=gate._reset)
    return gate
