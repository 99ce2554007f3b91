"""Where a run is: levels within levels, each a part of the one around it.

The outermost level is the whole run, from 0 to 1. Inside of it, a phase takes a part by its weight, and a
loop that is tracked takes all; inside of a tracked loop, whatever is entered takes the part of the item that
is worked on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Level"]


@dataclass(eq=False)
class Level:
    """A level that lies between *low* and *high* of the run.

    :ivar path: the names of the phases down to this one.
    :ivar message: what was said last.
    :ivar completed: how many of *total* are completed; it moves nothing while *total* is unknown.
    :ivar weight: how much of the level around it this phase takes.
    :ivar is_loop: whether *completed* counts the items of a loop that is tracked.
    :ivar within: for a loop, how many of how many are completed within the item of that number.
    :ivar due: for a loop, the count at which it looks at the clock.
    :ivar reached: how far the parts inside of this one have come.
    :ivar passed: the weights of the phases inside of this one that are over.
    :ivar began: where the item began to which *passed* belongs.
    :ivar whole: the weights of all phases inside of this one, where that was told.
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
        """How far the run is, from 0 to 1, as far as this level knows."""
        if self.total is None:
            return max(self.low, self.reached)
        done = float(self.completed)
        if self.within is not None and self.within[0] == done:
            done += _share(self.within[1], self.within[2])
        return max(self.low + (self.high - self.low) * _share(done, self.total), self.reached)

    @property
    def outwards(self) -> Iterator[Level]:
        """From this level to the outermost."""
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
        """A level for a loop over *total* items: it takes what is left of where this level is."""
        low, high = self._at()
        if self.passed:
            low = max(low, self.reached)
        self.reached = low
        message = self.message if message is None else message
        return Level(self, low, high, self.path, message, total=total, is_loop=True, reached=low)

    def phase(self, name: str, weight: float, of: float | None, known: Mapping[str, float]) -> Level:
        """A level for a phase inside of this level.

        :param of: the weights of all phases in this level; where none of them tells, what is *known* of an
            earlier run by the path of the level; else the phase takes half of what is left.
        """
        low, high = self._at()
        if of is not None:
            self.whole = of
        left = (known.get(self.path, 0.0) if self.whole is None else self.whole) - self.passed
        if weight < 0:
            raise ValueError(f"a phase of the weight {weight!r}")
        share = weight / left if left >= weight > 0 else 0.5 if weight else 0.0
        low = max(low, self.reached)
        path = f"{self.path}/{name}" if self.path else name
        return Level(self, low, low + (high - low) * share, path, name, weight=weight, reached=low)

    def leave(self) -> Level:
        """The level around this one, which has come to this one's end."""
        around = self.parent
        assert around is not None
        if self.is_loop and not around.passed:
            around.say(self.completed, self.total)
        else:
            around.reached = self.high
            around.passed += self.weight
        return around

    def say(self, completed: Any, total: Any) -> None:
        """So many of *total* are completed, of this level or of the item that its loop is at."""
        if self.is_loop:
            self.within = (self.completed, completed, total)
        else:
            self.completed, self.total = completed, total

    def _at(self) -> tuple[float, float]:
        """What a level inside of this one lies in: the item that is worked on, or all of it."""
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
