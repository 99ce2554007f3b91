"""The progress of one run: what it reports, and how much of that is written to the result backend.

:class:`.Schedule` decides when a record is due, and :class:`.Report` makes it. What is still held back when
the body ends is not written any more, since the result is about to be written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from ..support import timers
from ..support.time_limits import caught
from .report import FIRST, Past, Report
from .schedule import CallAt, Schedule
from .scopes import Level

__all__ = ["Progress", "Write", "current_progress"]

logger = logging.getLogger(__name__)

#: The progress of the run whose body goes on in this context.
current_progress: ContextVar[Progress | None] = ContextVar("jobtastic_current_progress", default=None)

#: Seconds between the estimates for a run that reports nothing, and before the first one.
BETWEEN_ESTIMATES = 1.0

#: Writes a record. The second argument says whether it is an estimate that the run did not report itself. The
#: answer is whether there may be more records.
Write = Callable[[Mapping[str, Any], bool], bool]

UNUSABLE = "the progress that it reports cannot be used"


class Progress:
    """The progress of one run.

    :ivar took: how many seconds the run took, once this is closed.
    :param name: what to call the run in warnings.
    :param write: writes a record; ``None`` where nobody can read them.
    :param interval: the least number of seconds between two records.
    :param past: asks for what is known of earlier runs.
    :param flushes: whether what is held back may be written while the body does something else. Not so where
        :meth:`close` is called only after the result was written, which would be overwritten.
    """

    def __init__(
        self,
        name: str,
        write: Write | None,
        *,
        interval: float,
        past: Callable[[], Past] = Past,
        flushes: bool = True,
        clock: Callable[[], float] = time.monotonic,
        call_at: CallAt = timers.call_at,
    ) -> None:
        self.took = 0.0
        self._name, self._write, self._clock = name, write, clock
        self._began = clock()
        self._report = Report(self._began, past, clock=clock)
        self._schedule = Schedule(
            interval, self._flush, self._warn, clock=clock, call_at=call_at, flushes=flushes
        )
        if write is None:
            self._schedule.close()
        # Code that runs while a record is written can report: a receiver of our event, or a tracked loop that
        # is garbage-collected just then.
        self._lock = threading.RLock()
        self._is_writing = self._has_warned = False
        self._token: Token[Progress | None] | None = None

    @property
    def weights(self) -> Mapping[str, float]:
        """The sum of the weights of the phases in each level, by the path of the level."""
        return self._report.weights

    def enter(self) -> None:
        """Let the run go on in this context, until :meth:`close`."""
        self._token = current_progress.set(self)

    def begin(self) -> None:
        """Write the first record. Later, estimate the time left from earlier runs."""
        self._schedule.start_interval()
        with self._lock:
            self._write_record(lambda: FIRST)
        self._schedule.call_later(BETWEEN_ESTIMATES, self._estimate_by_history)

    def close(self) -> None:
        """Write nothing from now on. Wait for what is being written."""
        if self._token is not None:
            # A first update within asyncio.run() came from a copy of the context, which is gone.
            with suppress(ValueError):
                current_progress.reset(self._token)
        self.took = self._clock() - self._began
        self._schedule.close()
        try:
            self._lock.acquire()
        except SoftTimeLimitExceeded:
            # The end is stored when this is over, and is to come after what is being written.
            self._lock.acquire()
            raise
        finally:
            self._lock.release()
            # What is still due in the background does not keep the request and its arguments.
            self._write, self._report.read_past = None, Past

    def update(self, completed: Any, total: Any, frequency: Any = 1, message: Any = None) -> None:
        """Note how many of *total* are completed. Never raises, except for a soft time limit."""
        # Neither a context manager for the errors nor smaller functions: most updates are held back, and cost
        # one more call from here.
        try:
            report = self._report
            level = report.level
            if level.is_loop:
                level.count(completed, total)
            else:
                level.completed = completed
                level.total = total
            if message is not None:
                level.message = str(message)
            if level.is_loop:
                self._write_if_due()
            elif (
                completed == total and level.high == 1.0 and not report.is_complete
            ) or self._schedule.allows(completed, frequency):
                self._write_now()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            self._warn(UNUSABLE, error)

    @contextmanager
    def loop(self, total: Any, message: Any) -> Iterator[Level]:
        """Be in a tracked loop for as long as this lasts. Its items are counted on the level."""
        with self._inside(lambda: self._report.loop(total, message)) as level:
            yield level

    @contextmanager
    def phase(self, name: str, weight: Any, of: Any) -> Iterator[None]:
        """Be in a phase for as long as this lasts."""
        with self._inside(lambda: self._report.phase(name, weight, of)):
            yield

    def look_at_clock(self, level: Level, seconds: float) -> None:
        """Write a record if one is due, and note on the level of a tracked loop when to look again.

        :param seconds: for how long the loop has gone on.
        """
        rate = level.completed / seconds if seconds > 0 else 1.0
        level.due = level.completed + self._schedule.items_in_half_an_interval(rate)
        self._write_if_due()

    @contextmanager
    def _inside(self, make_level: Callable[[], Level]) -> Iterator[Level]:
        around = self._report.level
        level = Level(around, around.low, around.high, around.path, around.message)
        with caught(self._warn_of_unusable):
            level = make_level()
        self._report.enter(level)
        self._write_if_due()
        try:
            yield level
        finally:
            self._leave(level)

    def _leave(self, level: Level) -> None:
        if not self._report.leave(level):
            return
        around, is_over = self._report.level, False
        if around.high == 1.0 and not self._report.is_complete:
            with caught(self._warn_of_unusable):
                is_over = around.position == 1.0
        if is_over:
            self._write_now()
        else:
            self._write_if_due()

    def _write_if_due(self) -> None:
        if self._schedule.is_due():
            self._write_now()

    def _write_now(self, *, is_estimate: bool = False) -> None:
        """Write where the run is now."""
        if not self._schedule.is_of_this_process:
            # In a child that the body forked, the lock may stay locked for ever, and the run is the parent's.
            return
        now = self._clock()
        self._schedule.start_interval()
        with self._lock:
            if self._is_writing:
                self._schedule.hold_back()
                return
            # Before anything is read: what is reported from here on is for the next record.
            self._schedule.clear()
            self._write_record(lambda: self._report.record(now), is_estimate=is_estimate)

    def _write_record(self, make: Callable[[], Mapping[str, Any]], *, is_estimate: bool = False) -> None:
        write = self._write
        if self._schedule.is_closed or write is None:
            return
        self._is_writing = True
        try:
            record: Mapping[str, Any] | None = None
            with caught(self._warn_of_unusable):
                record = make()
            with caught(self._pause):
                if record is not None and not write(record, is_estimate):
                    self._schedule.close()
        finally:
            self._is_writing = False

    def _flush(self) -> None:
        # The loop may have become slow since it last calculated when to look at the clock.
        self._report.level.due = 0
        if self._schedule.is_flush_due():
            self._write_now()

    def _estimate_by_history(self) -> None:
        if not self._schedule.is_closed and self._report.past.durations:
            self._estimate()

    def _estimate(self) -> None:
        """Write an estimate of the time left every second, until the run itself reports a total."""
        if self._schedule.is_closed:
            return
        if not self._report.has_total:
            self._write_now(is_estimate=self._report.is_empty)
        self._schedule.call_later(BETWEEN_ESTIMATES, self._estimate)

    def _pause(self, error: Exception) -> None:
        self._schedule.pause()
        self._warn("its progress could not be written", error)

    def _warn_of_unusable(self, error: Exception) -> None:
        self._warn(UNUSABLE, error)

    def _warn(self, what: str, error: Exception) -> None:
        """Log the first thing that goes wrong; the rest of the run would only repeat it."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("%s: %s: %r", self._name, what, error)
