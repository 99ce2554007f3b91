"""A circuit breaker: what fails is left alone for a while, and then one caller tries it.

So a dead server costs one timeout, and not one for each call. (M. Nygard, *Release It!*, 2007.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["RETRY_AFTER", "Breaker"]

#: Seconds for which what failed is left alone.
RETRY_AFTER = 5.0


class Breaker:
    """Closed while all is well, open during an outage.

    :ivar error: with which it failed last.

    >>> breaker = Breaker()
    >>> breaker.lets_through(), breaker.failed(), breaker.lets_through()
    (True, True, False)
    >>> breaker.answered(), breaker.lets_through()
    (True, True)
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.error: Exception | None = None
        self._clock = clock
        # Held during an outage. Never waited for, so a child may be forked at any time.
        self._outage = threading.Lock()
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is an outage."""
        return self._outage.locked()

    def lets_through(self) -> bool:
        """Whether the caller may try: everybody while all is well, otherwise one in :data:`RETRY_AFTER`."""
        if not self._outage.locked():
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_AFTER
        return True

    def failed(self, error: Exception | None = None) -> bool:
        """It failed; whether that is news."""
        self.error = error
        self._retry_at = self._clock() + RETRY_AFTER
        return self._outage.acquire(blocking=False)

    def answered(self) -> bool:
        """It answered; whether that is news."""
        try:
            self._outage.release()
        except RuntimeError:  # There was no outage, or another thread was first.
            return False
        return True

    def retry(self) -> None:
        """Let the next caller try already."""
        self._retry_at = self._clock()
