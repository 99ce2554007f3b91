"""Waiting without blaming others for time that this process lost.

A process that starts imports modules for seconds. A process with a small CPU limit, or on a busy machine,
stands still most of the time. Neither says anything about the server that a thread talks to.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

__all__ = ["Patience"]

#: Seconds between two looks at the clock. More than twice as many count as twice as many.
TICK = 0.02


class Patience:
    """The time for which a caller has waited for the work of another thread.

    Time does not count

    - if the caller got no processor. Then it looks at the clock too late.
    - if the other thread used a processor, or was ready to. Only Linux says so.

    :ivar spent: the seconds that count.

    >>> future = Future()
    >>> patience = Patience()
    >>> patience.wait(future, 0.05), patience.spent >= 0.05
    (False, True)
    """

    def __init__(self) -> None:
        self.spent: float = 0.0
        #: The native id of the thread that does the work, once it does.
        self.thread: int | None = None

    def wait(self, future: Future[Any], seconds: float) -> bool:
        """Wait until *future* is done, for so many more seconds that count. Return whether it is."""
        until = self.spent + seconds
        looked, busy = time.monotonic(), None
        while self.spent < until:
            left = until - self.spent
            if wait([future], min(left, TICK)).done:
                return True
            now, busy_now = time.monotonic(), _busy(self.thread)
            # Never below 0: the number of a thread that has ended is 0.
            worked = max(busy_now - busy, 0.0) if busy is not None else 0.0
            self.spent += max(min(now - looked, 2 * TICK) - worked, 0.0)
            looked, busy = now, busy_now
        return future.done()


def _busy(thread: int | None) -> float:
    """Return the seconds for which a thread of this process used a processor, or was ready to."""
    try:
        running, ready, _ = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(running) + int(ready)) / 1e9
