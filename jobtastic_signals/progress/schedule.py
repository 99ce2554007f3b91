"""When a record of a run is due.

Reporting is cheap, and writing is not. An update is written when the last record is long enough ago. One that
comes sooner is held back, and the timers write the latest of these when the time has come.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..support.timers import Timer
from .scopes import Level

__all__ = ["AFTER_FAILURE", "HELD_BACK", "CallAt", "Schedule", "Warn"]

#: Seconds after which what ``update_frequency`` holds back is written nevertheless.
HELD_BACK = 5.0

#: Seconds without writing after the result backend failed.
AFTER_FAILURE = 30.0

#: Calls a function at a time of ``time.monotonic()``.
CallAt = Callable[[float, Callable[[], None]], Timer | None]

#: Logs what does not work, and why.
Warn = Callable[[str, Exception], None]

NEVER = float("inf")

#: Which part of an interval may pass without a look at the clock, and how many updates at most.
UNSEEN, MOST_UNSEEN = 0.01, 100


class Schedule:
    """Decides when the records of one run are due.

    A record is due when the last one is an *interval* old. An update that comes sooner is held back by time,
    and one whose count has not grown enough is held back by count.

    :ivar is_closed: whether nothing is due any more.
    :ivar is_held_back: whether an update is held back by time.
    :ivar flushes: whether what is held back is written while the body does something else.
    :ivar unseen: how many updates that are held back by time may pass without a look at the clock.
    :ivar level: where these are noted; ``None`` if each needs a look.
    :ivar next: when the next record is due, by the clock.
    :param interval: the least number of seconds between two records.
    :param flush: called by the timers when something is held back that may be due.
    :param warn: called if the timers do not work.
    :param flushes: whether what is held back is written while the body does something else.
    """

    def __init__(
        self,
        interval: float,
        flush: Callable[[], None],
        warn: Warn,
        *,
        clock: Callable[[], float],
        call_at: CallAt,
        flushes: bool = True,
    ) -> None:
        self.is_closed: bool = False
        self._interval, self._flush, self._warn = interval, flush, warn
        self.flushes: bool = flushes
        self._clock, self._call_at = clock, call_at
        self._pid = os.getpid()
        self.next: float = clock()
        self.is_held_back: bool = False
        self.unseen: int = 0
        self.level: Level | None = None
        self._looked, self._passed = self.next, 0
        self._held_by_count = False
        self._counted: Any = 0
        self._timers: dict[Callable[[], None], Timer | None] = {}

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process has reported before, and is not a child that it forked since."""
        return os.getpid() == self._pid

    def move_to_this_process(self) -> None:
        """Let this process report, which was forked: it has no timers, and holds nothing back."""
        self._pid, self._timers = os.getpid(), {}
        self.next = NEVER if self.is_closed else self._clock()
        self.clear()

    def allows(self, completed: Any, frequency: Any) -> bool:
        """Return whether an update is to be written now. Otherwise it is held back.

        :param frequency: by how many *completed* has to grow since the last update that was written.
        """
        if frequency != 1 and 0 <= completed - self._counted < frequency:
            if not self._held_by_count:
                self._held_by_count = True
                self.call_later(HELD_BACK, self._flush)
            return False
        if self._clock() >= self.next:
            self._counted = completed
            return True
        if not self.is_held_back:
            self._counted = completed
            self.hold_back()
        return False

    def look_away(self, now: float, level: Level) -> None:
        """Let some updates pass without a look at the clock, if many came since the last look.

        If they become slow, the timers write what is held back.

        :param now: the time of this look.
        :param level: where the run is.
        """
        seconds, self._looked = now - self._looked, now
        if seconds > 0:
            rate = (self._passed + 1) / seconds
            self.level = level
            self.unseen = self._passed = min(int(rate * self._interval * UNSEEN), MOST_UNSEEN)

    def is_due(self) -> bool:
        """Return whether a record is to be written now. Otherwise it is held back."""
        if self._clock() >= self.next:
            return True
        if not self.is_held_back:
            self.hold_back()
        return False

    def hold_back(self) -> None:
        """Let the timers write a record when the next one is due."""
        self.is_held_back = True
        self._call(self.next, self._flush)

    @property
    def has_held_back(self) -> bool:
        """Whether something waits to be written."""
        return not self.is_closed and (self.is_held_back or self._held_by_count)

    def look_again(self) -> None:
        """Let the timers write a record when the next one is due, unless they are about to do so."""
        if not self.is_held_back:
            self.hold_back()

    def hold_back_until_written(self) -> None:
        """Let a record follow the one that is being written, whose writer asks :meth:`is_flush_due`."""
        self.is_held_back = True

    def is_flush_due(self) -> bool:
        """Return whether the background is to write what is held back now. Otherwise the timers ask again."""
        if self.is_closed or not self.flushes:
            return False
        if self.is_held_back and self._clock() < self.next:
            self.hold_back()
            return False
        return self.is_held_back or self._held_by_count

    def start_interval(self) -> None:
        """Let no record be due for an interval from now."""
        self._allow_nothing_for(self._interval)

    def clear(self) -> None:
        """Hold nothing back any longer: it is about to be written."""
        # A closed schedule goes on pretending, so that it never asks the timers for anything.
        self.is_held_back = self._held_by_count = self.is_closed

    def pause(self) -> None:
        """Let no record be due for a while, since writing one failed."""
        self._allow_nothing_for(AFTER_FAILURE)

    def close(self) -> None:
        """Let nothing be due any more, hold nothing back, and cancel the timers."""
        self.next = NEVER
        self.is_closed = self.is_held_back = self._held_by_count = True
        for timer in list(self._timers.values()):
            if timer is not None:
                timer.cancel()

    def items_in_half_an_interval(self, rate: float) -> int:
        """Return how many items to let pass before looking at the clock again; 1 at least."""
        return max(int(rate * self._interval / 2), 1)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call *function* in the background, unless the run has ended or goes on in another process."""
        self._call(self._clock() + seconds, function)

    def _allow_nothing_for(self, seconds: float) -> None:
        self.next = NEVER if self.is_closed else self._clock() + seconds

    def _call(self, when: float, function: Callable[[], None]) -> None:
        if self.is_closed or not self.is_of_this_process:
            return
        try:
            self._timers[function] = self._call_at(when, function)
        except RuntimeError as error:  # Such as when the interpreter shuts down.
            self._warn("nothing is written in the background", error)
