"""Time that passes when a test says so, for what a background thread would do."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from jobtastic_signals.support.timers import Timer


class Timetable:
    """Stands for the clock, and for the background thread that calls what is due by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self._due: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, function: Callable[[], None]) -> Timer:
        timer = Timer(when, function)
        self.timers.append(timer)
        heapq.heappush(self._due, (when, next(self._numbers), timer))
        return timer

    def let_pass(self, seconds: float) -> None:
        """Go on by *seconds*, and call what is due meanwhile, each at its time."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._due)
            timer.call()
        self.now = end
