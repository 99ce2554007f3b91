"""Time that passes when a test says so, for what a background thread would do."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Timetable:
    """Stands for the clock, and for the background thread that calls what is due by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), function))

    def let_pass(self, seconds: float) -> None:
        """Go on by *seconds*, and call what is due meanwhile, each at its time."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, function = heapq.heappop(self._due)
            function()
        self.now = end
