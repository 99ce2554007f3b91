"""One thread of each process, for what has to happen later: what is due is called, one after the other.

The thread is made when the first is asked for, and again in a child that was forked; at the end of the
process it just ends.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["call_at"]

logger = logging.getLogger(__name__)


class _Background:
    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (when, next(self._numbers), function))
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="jobtastic", daemon=True)
                with _no_signals():
                    thread.start()
                self._thread = thread
            elif self._due[0][2] is function:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            function = self._wait()
            try:
                function()
            except Exception:
                logger.exception("%r failed in the background", function)
            # Not kept alive until the next one is due.
            del function

    def _wait(self) -> Callable[[], None]:
        with self._changed:
            while True:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))


@contextmanager
def _no_signals() -> Iterator[None]:
    """What starts here takes no signals: they are for the main thread, when that does not block them.

    A pool's process blocks SIGTERM while it holds the lock of its queue. Taken by another thread, it would
    end the process in the midst of that, and no process of the pool could answer any more.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# One for each process: what a child inherits has no thread, and its lock may be held by nobody.
_backgrounds: dict[int, _Background] = {}


def call_at(when: float, function: Callable[[], None]) -> None:
    """Call *function* in the background thread when ``time.monotonic()`` is *when*, or soon after.

    What it raises is logged. It should not take long, since others wait for it.
    """
    pid = os.getpid()
    background = _backgrounds.get(pid)
    if background is None:
        background = _backgrounds.setdefault(pid, _Background())
    background.call_at(when, function)
