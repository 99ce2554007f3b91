"""Processes of this host: waiting until one of them has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .timers import call_at

if TYPE_CHECKING:
    import psutil

__all__ = ["when_ended"]

#: Seconds between two looks at a process: of the first two, and of any two at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5

#: Seconds after which nobody looks any more.
PATIENCE = 60.0


def when_ended(pid: int | None, function: Callable[[], None]) -> None:
    """Call *function* when the process *pid* has ended: now, or soon after that in a thread.

    It is called now, too, for ``None`` and for this process. It is not called if the process goes on for more
    than a minute.
    """
    if pid is None or pid == os.getpid():
        function()
        return
    import psutil  # Few processes ever need it.

    try:
        process = psutil.Process(pid)
    except psutil.Error:
        function()
        return
    _Watch(process, function, time.monotonic() + PATIENCE).look()


@dataclass(eq=False, repr=False)
class _Watch:
    process: psutil.Process
    function: Callable[[], None]
    until: float
    pause: float = FIRST_PAUSE

    def look(self) -> None:
        if _has_ended(self.process):
            self.function()
        elif time.monotonic() < self.until:
            call_at(time.monotonic() + self.pause, self.look)
            self.pause = min(2 * self.pause, LONGEST_PAUSE)


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process runs no more. Its parent may not have noticed yet."""
    import psutil

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
