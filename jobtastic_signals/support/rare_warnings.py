"""Warnings about what strangers send: one of each kind in a minute.

Anyone who can publish a message or write to a store decides how often such a warning is due. So it must not
fill the log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

__all__ = ["RareWarnings", "rare_warnings"]

#: Seconds between two warnings of one kind.
BETWEEN_WARNINGS = 60.0

#: Kinds of which the last warning is remembered.
_MOST_KINDS = 1000


class RareWarnings:
    """Logs one warning of each kind in a minute.

    >>> warnings = RareWarnings(clock=lambda: 0.0)
    >>> warnings.are_due("a kind"), warnings.are_due("a kind"), warnings.are_due("another")
    (True, False, True)
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        # Never waited for, so a child may be forked at any time.
        self._lock = threading.Lock()

    def are_due(self, kind: str) -> bool:
        """Return whether a warning of *kind* is due. If it is, the next one is due in a minute."""
        now = self._clock()
        if now < self._next.get(kind, now) or not self._lock.acquire(blocking=False):
            return False
        try:
            if now < self._next.get(kind, now):
                return False
            if len(self._next) >= _MOST_KINDS:
                self._next.clear()
            self._next[kind] = now + BETWEEN_WARNINGS
        finally:
            self._lock.release()
        return True

    def warn(self, logger: logging.Logger, kind: str, message: str, *arguments: object) -> None:
        """Log a warning of *kind* if one is due."""
        if self.are_due(kind):
            logger.warning(message, *arguments)

    def forget(self) -> None:
        """Let a warning of every kind be due again."""
        self._next.clear()


#: The warnings of this process.
rare_warnings: RareWarnings = RareWarnings()
