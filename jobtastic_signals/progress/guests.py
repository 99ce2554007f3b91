"""Other processes that report for a run. Before such a process ends, it writes what it has held back.

Its threads do not outlive it, and it may end right after its first report, while that is being written.
"""

from __future__ import annotations

import multiprocessing.util
import os
from typing import Protocol
from weakref import WeakSet

import billiard.util

__all__ = ["Guest", "remember"]


class Guest(Protocol):
    """The progress of a run that goes on in another process."""

    def finish(self) -> None:
        """Write what is held back, and wait for that."""


_guests: WeakSet[Guest] = WeakSet()
_processes: set[int] = set()


def remember(guest: Guest) -> None:
    """Let *guest* finish before this process ends."""
    _guests.add(guest)
    pid = os.getpid()
    if pid not in _processes:
        _processes.add(pid)
        # Processes of multiprocessing and of Celery's billiard do not call what atexit has.
        multiprocessing.util.Finalize(None, _finish, exitpriority=10)
        billiard.util.Finalize(None, _finish, exitpriority=10)


def _finish() -> None:
    for guest in list(_guests):
        guest.finish()
