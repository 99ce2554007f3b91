"""Threads for what has to happen later: what is due is called, one after the other.

Each process has its own. A thread is made when something is first asked for, and again in a child that was
forked; at the end of the process it just ends.
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

__all__ = ["Background", "call_at"]

logger = logging.getLogger(__name__)


class Background:
    """A thread of each process that calls what is due, in the order of time.

    :param name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # One for each process: what a child inherits has no thread, and its lock may be held by nobody.
        self._loops: dict[int, _Loop] = {}

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Call *function* when ``time.monotonic()`` is *when*, or soon after.

        What it raises is logged. It should not take long, since others wait for it.
        """
        pid = os.getpid()
        loop = self._loops.get(pid)
        if loop is None:
            loop = self._loops.setdefault(pid, _Loop(self._name))
        loop.call_at(when, function)


class _Loop:
    def __init__(self, name: str) -> None:
        self._name = name
        # Filled by whoever asks, which may be a receiver of signals or the garbage collector in the midst of
        # anything: so without a lock of ours.
        self._asked: queue.SimpleQueue[tuple[float, int, Callable[[], None]]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        self._asked.put((when, next(self._numbers), function))
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
                heapq.heappush(due, self._asked.get(block, timeout))
            if due and due[0][0] <= time.monotonic():
                _call(heapq.heappop(due)[2])


def _call(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        logger.exception("%r failed in the background", function)


_background = Background("jobtastic")

#: What is written and told later has one thread.
call_at = _background.call_at
