"""What a record of a run says: where the run is, how fast it goes, and how long earlier runs took."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .eta import Pace, blended, left_by_history, percent_by_history, percent_of
from .scopes import Level

__all__ = ["Past", "Report", "json_number"]


@dataclass(frozen=True)
class Past:
    """What is known of earlier runs of a task.

    :ivar durations: how many seconds each took.
    :ivar weights: the sum of the weights of the phases in each level, by the path of the level.
    """

    durations: Sequence[float] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


class Report:
    """Makes the records of one run.

    :ivar level: the innermost level that the run is in.
    :ivar weights: the sum of the weights of the phases in each level, by the path of the level.
    :ivar is_complete: whether the latest record says that everything is completed.
    :ivar began: when the run began, by the clock.
    :ivar read_past: asks for what is known of earlier runs. It is called once, when that is first needed.
    :param level: the part of the run that is reported here; by default the whole run.
    """

    def __init__(
        self,
        began: float,
        read_past: Callable[[], Past] = Past,
        *,
        clock: Callable[[], float],
        level: Level | None = None,
    ) -> None:
        self.level: Level = Level() if level is None else level
        self.weights: dict[str, float] = {}
        self.is_complete: bool = False
        self.read_past: Callable[[], Past] = read_past
        self.began: float = began
        self._clock = clock
        self._pace = Pace(began)
        self._past: Past | None = None
        self._has_levels = level is not None
        self._percent: float = 0
        self._by_history: float = 0

    @property
    def past(self) -> Past:
        """What is known of earlier runs."""
        if self._past is None:
            self._past = self.read_past()
        return self._past

    @property
    def known_past(self) -> Past:
        """What is known of earlier runs without asking for it."""
        return self._past or Past()

    @property
    def has_total(self) -> bool:
        """Whether the run has reported how many items there are."""
        return self.level.total is not None

    @property
    def is_empty(self) -> bool:
        """Whether the run has reported nothing."""
        level = self.level
        return not (
            self._has_levels or level.completed or level.total is not None or level.message is not None
        )

    def loop(self, total: Any, message: Any) -> Level:
        """Return a level for a tracked loop inside the current level.

        :raises Exception: if *total* is not a number, or *message* has no text.
        """
        known = None if total is None else json_number(total)
        return self.level.loop(known, None if message is None else str(message))

    def phase(self, name: Any, weight: Any, of: Any) -> Level:
        """Return a level for a phase inside the current level.

        :raises Exception: if a weight is not a number, or *name* has no text.
        """
        whole = None if of is None else json_number(of)
        weights = self.past.weights if whole is None and self.level.whole is None else {}
        return self.level.phase(str(name), json_number(weight), whole, weights)

    def enter(self, level: Level) -> None:
        """Let the run be in *level*."""
        if not self._has_levels:
            self._has_levels = True
            self._pace = Pace(self.began if self.level.total is None else self._clock())
        self.level = level

    def leave(self, level: Level) -> bool:
        """Let the run be in what is around *level*. Return whether it was in that level."""
        # A generator that was not exhausted may end after what is around it.
        if level not in self.level.outwards:
            return False
        self.level = around = level.leave()
        self.weights[around.path] = max(self.weights.get(around.path, 0.0), around.passed)
        return True

    def record(self, now: float) -> dict[str, Any]:
        """Return a record of where the run is.

        :raises Exception: if what the run reports is not a number.
        """
        level, counted = self.level, self.level.counted
        completed = json_number(counted.completed)
        total = None if counted.total is None else json_number(counted.total)
        expected = left_by_history(now - self.began, self._past.durations if self._past is not None else ())
        if expected is not None and total is None:
            self._by_history = max(self._by_history, percent_by_history(now - self.began, expected))
        left = self._measure(now, completed, total)
        # The blend goes by the percent of this run alone, before history raises it.
        left = blended(self._percent / 100, left, expected)
        # A percent that history has shown is not taken back.
        self._percent = percent = max(self._percent, self._by_history)
        self.is_complete = percent == 100
        return {
            "progress_percent": percent,
            "time_remaining": -1 if left is None else round(left, 1),
            "completed": completed,
            "total": total,
            "message": level.message and level.message.encode("utf-8", "replace").decode("utf-8"),
        }

    def _measure(self, now: float, completed: float, total: float | None) -> float | None:
        """Note how far the run is by its own counts, and return the seconds left by its pace."""
        done, whole = (self.level.reach, 1.0) if self._has_levels else (completed, total)
        if whole is None:
            return None
        self._percent = percent_of(done, whole)
        self._pace.see(now, done)
        return self._pace.left(whole)


def json_number(value: Any) -> float:
    """Return *value* as an ``int`` or ``float`` that JSON can carry.

    :raises TypeError: if it is not a number.
    :raises ValueError: if it is not finite.
    """
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not a number")
    number: float = operator.index(value) if hasattr(value, "__index__") else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number
