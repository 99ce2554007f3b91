"""Timers: threads that call functions when they are due, one after the other.

Each process has its own. A thread starts with the first call of :meth:`Timers.call_at`, and anew in a forked
child. It ends with the process.

A timer that is cancelled before it is due costs next to nothing. The thread is not woken for what is due
after its next look, so many short runs can each have a timer.
"""

from __future__ import annotations

import heapq
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .safe_text import safe_repr
from .threads import start_thread

__all__ = ["Timer", "Timers", "call_at", "store_timers"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds after which the thread looks at the clock again, in case somebody has stopped it for a test.
LONGEST_SLEEP = 5.0


class Timer:
    """A function that is due at a time of ``time.monotonic()``.

    :ivar when: that time.
    """

    __slots__ = ("_function", "when")

    def __init__(self, when: float, function: Callable[[], None]) -> None:
        self.when: float = when
        self._function: Callable[[], None] | None = function

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing will be called."""
        return self._function is None

    def cancel(self) -> None:
        """Call nothing, unless it is being called already. Let go of the function."""
        self._function = None

    def call(self) -> None:
        """Call the function, and log what it raises."""
        function = self._function
        try:
            if function is not None:
                function()
        except Exception:
            logger.exception("%s failed in the background", safe_repr(function))


class Timers:
    """A thread in each process that calls functions when they are due, in the order of time.

    :param name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # One for each process. The loop that a child inherits has no thread, and its lock may be held for
        # ever.
        self._loops: dict[int, _Loop] = {}

    def call_at(self, when: float, function: Callable[[], None]) -> Timer:
        """Call *function* when ``time.monotonic()`` is *when*, or soon after, unless the timer is cancelled.

        An error is logged. The function should not take long, since others wait for it.
        """
        pid = os.getpid()
        loop = self._loops.get(pid)
        if loop is None:
            loop = self._loops.setdefault(pid, _Loop(self._name))
        timer = Timer(when, function)
        loop.add(timer)
        return timer


class _Loop:
    def __init__(self, name: str) -> None:
        self._name = name
        # A signal handler or the garbage collector may add to it at any point of the program, so no lock of
        # ours protects it.
        self._added: deque[Timer] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wakes_at = 0.0
        # Until then it sleeps even if nothing is due: short runs that each cancel a timer do not wake it.
        self._rests_until = 0.0
        self._starting = threading.RLock()
        self._has_thread = False

    def add(self, timer: Timer) -> None:
        self._added.append(timer)
        if not self._has_thread:
            with self._starting:
                self._start()
        # The thread looks at what was added after it has set this, and before it sleeps.
        if timer.when < self._wakes_at:
            self._wake.put(None)

    def _start(self) -> None:
        if self._has_thread:
            return
        self._has_thread = True
        try:
            start_thread(self._name, self._work)
        except BaseException:
            self._has_thread = False
            raise

    def _work(self) -> None:
        try:
            self._call_what_is_due()
        finally:  # A function that is called should not exit, but may.
            self._has_thread = False

    def _call_what_is_due(self) -> None:
        due: list[Timer] = []
        while True:
            self._wakes_at = due[0].when if due else self._end_of_rest()
            if self._added:
                self._take_in(due)
                continue
            seconds = self._wakes_at - time.monotonic()
            if seconds > 0:
                with suppress(queue.Empty):
                    self._wake.get(timeout=min(seconds, LONGEST_SLEEP))
            elif due:
                heapq.heappop(due).call()

    def _end_of_rest(self) -> float:
        return self._rests_until if time.monotonic() < self._rests_until else float("inf")

    def _take_in(self, due: list[Timer]) -> None:
        while self._added:
            timer = self._added.popleft()
            if timer.is_cancelled:
                self._rests_until = max(self._rests_until, timer.when)
            else:
                heapq.heappush(due, timer)


_timers = Timers("jobtastic")

#: The functions of this package share one thread.
call_at: Callable[[float, Callable[[], None]], Timer] = _timers.call_at

#: The thread that writes to the store. It has no other work, so a result backend that hangs does not stop it.
store_timers: Timers = Timers("jobtastic-leases")
