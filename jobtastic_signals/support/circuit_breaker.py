"""A circuit breaker: a failing server is left alone for a while, and then one caller tries it.

So a dead server costs one timeout instead of one for each call. (M. Nygard, *Release It!*, 2007.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["RETRY_AFTER", "CircuitBreaker"]

#: The default number of seconds for which a failing server is left alone.
RETRY_AFTER = 5.0


class CircuitBreaker:
    """Closed while all is well, open during an outage.

    :ivar is_open: whether there is an outage.
    :ivar error: the latest failure.
    :param retry_after: seconds for which a failing server is left alone.

    >>> breaker = CircuitBreaker()
    >>> breaker.lets_through(), breaker.failed(), breaker.lets_through()
    (True, True, False)
    >>> breaker.answered(), breaker.lets_through()
    (True, True)
    """

    def __init__(
        self, *, retry_after: float = RETRY_AFTER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_open: bool = False
        self.error: Exception | None = None
        self._retry_after, self._clock = retry_after, clock
        # Held during an outage. Never waited for, so a child may be forked at any time.
        self._outage = threading.Lock()
        self._retry_at = 0.0
        self._suspected_at: float | None = None

    def lets_through(self) -> bool:
        """Return whether the caller may try: everybody while all is well, otherwise one per pause."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._retry_after
        return True

    def failed(self, error: Exception | None = None) -> bool:
        """Record a failure. Return whether an outage begins with it."""
        self.error = error
        self._retry_at = self._clock() + self._retry_after
        if not self._outage.acquire(blocking=False):
            return False
        self.is_open = True
        return True

    def suspect(self, began: float) -> bool:
        """Record a request that got no answer, though the server seems to be well.

        Return whether another one was recorded before this one began, and none was answered since. Requests
        that go on at the same time may all suffer from one and the same pause.

        :param began: when the request began, by the clock.
        """
        is_repeated = self._suspected_at is not None and self._suspected_at <= began
        if self._suspected_at is None:
            self._suspected_at = self._clock()
        return is_repeated

    def answered(self) -> bool:
        """Record an answer. Return whether an outage ends with it."""
        self._suspected_at = None
        if not self.is_open:
            return False
        self.is_open = False
        try:
            self._outage.release()
        except RuntimeError:  # There was no outage, or another thread was first.
            return False
        return True

    def retry(self) -> None:
        """Let the next caller try at once."""
        self._retry_at = self._clock()
