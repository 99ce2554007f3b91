"""Timers: threads that call functions when they are due, one after the other.

Each process has its own. A thread starts with the first call of :meth:`Timers.call_at`, and anew in a forked
child. It ends with the process.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .threads import start_thread

__all__ = ["Timers", "call_at"]

logger = logging.getLogger(__name__)


class Timers:
    """A thread in each process that calls functions when they are due, in the order of time.

    :param name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # One for each process. The loop that a child inherits has no thread, and its lock may be held for
        # ever.
        self._loops: dict[int, _Loop] = {}

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Call *function* when ``time.monotonic()`` is *when*, or soon after.

        An error is logged. The function should not take long, since others wait for it.
        """
        pid = os.getpid()
        loop = self._loops.get(pid)
        if loop is None:
            loop = self._loops.setdefault(pid, _Loop(self._name))
        loop.call_at(when, function)


class _Loop:
    def __init__(self, name: str) -> None:
        self._name = name
        # A signal handler or the garbage collector may add to it at any point of the program, so no lock of
        # ours protects it.
        self._added: queue.SimpleQueue[tuple[float, int, Callable[[], None]]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        self._added.put((when, next(self._numbers), function))
        if self._thread is None or not self._thread.is_alive():
            with self._starting:
                self._start()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = start_thread(self._name, self._work)

    def _work(self) -> None:
        due: list[tuple[float, int, Callable[[], None]]] = []
        while True:
            wait = due[0][0] - time.monotonic() if due else None
            with suppress(queue.Empty):
                block = wait is None or wait > 0
                timeout = None if wait is None else max(min(wait, threading.TIMEOUT_MAX), 0.0)
                heapq.heappush(due, self._added.get(block, timeout))
            if due and due[0][0] <= time.monotonic():
                _call(heapq.heappop(due)[2])


def _call(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        logger.exception("%r failed in the background", function)


_timers = Timers("jobtastic")

#: The functions of this package share one thread.
call_at = _timers.call_at
