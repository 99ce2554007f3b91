"""Decide by arithmetic alone whether a task leaks, from what its runs add to the memory of a process."""

from __future__ import annotations

import itertools
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["WARM_UP", "WINDOW", "Growth", "GrowthReport"]

#: How many of the latest runs count.
WINDOW = 20

#: How many of those may grow before it is called a leak: imports, and caches that fill up.
WARM_UP = 3

Kind = Literal["leak", "jump", "warm-up"]


class GrowthReport(NamedTuple):
    """Says how a run grew by more than the limit.

    :ivar kind: ``leak`` if the task keeps growing; ``jump`` if it grew once, after its first :data:`WINDOW`
        runs; ``warm-up`` if it grew during those.
    :ivar growth: bytes from the start of the run to its end.
    :ivar trend: bytes that each of the latest runs added.
    :ivar growing: how many of the latest runs grew by more than the limit, with this one.
    :ivar runs: how many runs are the latest.
    """

    kind: Kind
    growth: int
    trend: float
    growing: int
    runs: int


class Growth:
    """What the runs of one task add to the memory of this process.

    The memory that the runs of a task added, in sum, is a curve of its own, whatever other tasks do between
    its runs. A run *grows* by the bytes by which it lifts this curve to a new high among the last
    :data:`WINDOW` runs. Memory that comes and goes does not count. More than :data:`WARM_UP` growing runs
    among those are a *leak*.

    The memory at the end of a run also holds its result. So a run counts for what is left of it when the next
    watched run starts. Until then it counts without the amount that such runs usually give back.

    >>> growth = Growth()
    >>> reports = [growth.end_run(start, start + 100, 50) for start in range(0, 500, 100)]
    >>> [report.kind for report in reports]
    ['warm-up', 'warm-up', 'warm-up', 'leak', 'leak']
    """

    def __init__(self) -> None:
        self._runs = 0
        self._curve: deque[int] = deque([0], maxlen=WINDOW + 1)
        self._highest = 0
        self._rises: deque[int] = deque(maxlen=WINDOW - 1)
        self._given_back: deque[int] = deque(maxlen=WINDOW - 1)
        self._open: tuple[int, int, float] | None = None

    def end_run(self, start: int, end: int, limit: float) -> GrowthReport | None:
        """Note a run that has ended. Return a report if it grew by more than *limit*.

        :param start: the bytes that were resident when it began.
        :param end: the bytes that are resident now.
        """
        if self._open is not None:
            self.close_run(self._open[1])
        self._runs += 1
        self._open = start, end, limit
        return self.report(end)

    def report(self, end: int) -> GrowthReport | None:
        """Report again on the run that ended last.

        :param end: the bytes that are resident after garbage was collected.
        """
        if self._open is None:
            return None
        start, before_cleanup, limit = self._open
        growth = end - start
        if growth <= limit:
            return None
        usual = int(statistics.median(self._given_back)) if self._given_back else 0
        kept = min(growth, before_cleanup - start - usual)
        if self._rise(kept) <= limit:
            return None
        growing = 1 + sum(rise > limit for rise in self._rises)
        kind: Kind = "leak"
        if growing <= WARM_UP:
            if self._runs <= WINDOW:
                kind = "warm-up"
            elif self._rise(min(growth, before_cleanup - start - max(self._given_back, default=0))) > limit:
                kind = "jump"
            else:
                # It may be a large result, such as the task has returned before.
                return None
        curve = [*self._curve, self._curve[-1] + kept][-WINDOW - 1 :]
        return GrowthReport(kind, growth, _slope(curve), growing, min(self._runs, WINDOW))

    def needs_cleanup(self, resident: int) -> bool:
        """Return whether garbage has to be collected before it is clear what the last run left behind.

        So it is if a run has grown lately. Garbage that piles up fills what was freed, and sooner or later a
        run grows because of that.

        :param resident: the bytes that are resident now.
        """
        if self._open is None:
            return False
        start, end, limit = self._open
        return self._rise(min(end, resident) - start) > limit or max(self._rises, default=0) > limit

    def close_run(self, resident: int) -> None:
        """Note what the last run has left behind.

        :param resident: the bytes that are resident now, before anything else runs.
        """
        if self._open is None:
            return
        start, end, _ = self._open
        self._open = None
        kept = min(end, resident) - start
        self._given_back.append(end - start - kept)
        self._rises.append(self._rise(kept))
        self._curve.append(self._curve[-1] + kept)
        self._highest = max(self._curve)

    def _rise(self, kept: int) -> int:
        return self._curve[-1] + kept - self._highest


def _slope(levels: Sequence[int]) -> float:
    """Return the median of the slopes between all pairs (Theil and Sen). One large step hardly moves it.

    >>> _slope([0, 30, 30, 30, 30, 30])
    0.0
    >>> _slope([0, 30, 32, 34, 36, 38])
    2.0
    """
    pairs = itertools.combinations(enumerate(levels), 2)
    return statistics.median((high - low) / (later - earlier) for (earlier, low), (later, high) in pairs)
