"""Where a run is: levels within levels, each a part of the one around it.

The outermost level is the whole run, from 0 to 1. Inside it, a phase takes a part by its weight, and a
tracked loop takes everything. Inside a tracked loop, a new level takes the part of the current item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Level"]


@dataclass(eq=False, repr=False)
class Level:
    """A level that lies between *low* and *high* of the run.

    :ivar path: the names of the phases down to this one.
    :ivar message: the latest message.
    :ivar completed: how many of *total* are completed; it moves nothing while *total* is unknown.
    :ivar weight: how much of the level around it this phase takes.
    :ivar is_loop: whether *completed* counts the items of a tracked loop.
    :ivar within: for a loop, the number of an item, and how many of how many are completed within that item.
    :ivar due: for a loop, the count at which it looks at the clock.
    :ivar reached: how far the levels inside this one have come.
    :ivar passed: the sum of the weights of the phases inside this one that have ended.
    :ivar began: where the item began to which *passed* belongs.
    :ivar whole: the sum of the weights of all phases inside this one, if a phase gave it.
    """

    parent: Level | None = None
    low: float = 0.0
    high: float = 1.0
    path: str = ""
    message: Any = None
    completed: Any = 0
    total: Any = None
    weight: float = 0.0
    is_loop: bool = False
    within: tuple[Any, Any, Any] | None = None
    due: int = 1
    reached: float = 0.0
    passed: float = 0.0
    began: float = 0.0
    whole: float | None = None

    @property
    def position(self) -> float:
        """How far the run is by the counts of this level, from 0 to 1."""
        if self.total is None:
            return max(self.low, self.reached)
        done = float(self.completed)
        if self.within is not None and self.within[0] == done:
            done += _share(self.within[1], self.within[2])
        return max(self.low + (self.high - self.low) * _share(done, self.total), self.reached)

    @property
    def outwards(self) -> Iterator[Level]:
        """The levels from this one to the outermost."""
        level: Level | None = self
        while level is not None:
            yield level
            level = level.parent

    @property
    def counted(self) -> Level:
        """The level whose counts go with the position: the outermost loop around this one, or this one."""
        return [self, *(level for level in self.outwards if level.is_loop)][-1]

    @property
    def reach(self) -> float:
        """How far the run is, from 0 to 1.

        A loop around this level may be further, where its items come from a loop that is in this level.
        """
        return max(level.position for level in self.outwards if level is self or level.is_loop)

    def loop(self, total: float | None, message: str | None) -> Level:
        """Return a level for a loop over *total* items. It takes what is left of this level."""
        low, high = self._at()
        if self.passed:
            low = max(low, self.reached)
        self.reached = low
        message = self.message if message is None else message
        return Level(self, low, high, self.path, message, total=total, is_loop=True, reached=low)

    def phase(self, name: str, weight: float, of: float | None, known: Mapping[str, float]) -> Level:
        """Return a level for a phase inside this level.

        Without a sum of the weights, the phase takes half of what is left.

        :param of: the sum of the weights of all phases in this level.
        :param known: the sums of an earlier run, by the paths of levels; used if no phase gave the sum.
        :raises ValueError: if *weight* is negative.
        """
        low, high = self._at()
        if of is not None:
            self.whole = of
        left = (known.get(self.path, 0.0) if self.whole is None else self.whole) - self.passed
        if weight < 0:
            raise ValueError(f"the weight of a phase is {weight!r}, and must not be negative")
        share = weight / left if left >= weight > 0 else 0.5 if weight else 0.0
        low = max(low, self.reached)
        path = f"{self.path}/{name}" if self.path else name
        return Level(self, low, low + (high - low) * share, path, name, weight=weight, reached=low)

    def leave(self) -> Level:
        """Return the level around this one, which has now come to this one's end."""
        around = self.parent
        assert around is not None
        if self.is_loop and not around.passed:
            around.count(self.completed, self.total)
        else:
            around.reached = self.high
            around.passed += self.weight
        return around

    def count(self, completed: Any, total: Any) -> None:
        """Note how many of *total* are completed: of this level, or within the current item of its loop."""
        if self.is_loop:
            self.within = (self.completed, completed, total)
        else:
            self.completed, self.total = completed, total

    def _at(self) -> tuple[float, float]:
        """Return from where to where a level inside this one may go: the current item, or all of this one."""
        low, high = self.low, self.high
        if self.is_loop and self.total is not None and self.completed < self.total:
            size = (high - low) / self.total
            low += size * self.completed
            if self.completed + 1 < self.total:
                high = low + size
        if low != self.began:
            self.began, self.reached, self.passed = low, low, 0.0
        return low, high


def _share(completed: Any, total: Any) -> float:
    if total is None:
        return 0.0
    return min(max(float(completed) / float(total), 0.0), 1.0) if total > 0 else 1.0
