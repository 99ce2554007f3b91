"""The progress of one run: what it reports, and how much of that is written to the result backend.

:class:`.Schedule` decides when a record is due, and :class:`.Report` makes it. A background thread writes it,
and the body waits for that for a moment only. What is still held back when the body ends is not written any
more, since the result is about to be written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from ..support import timers
from ..support.shown import shown
from ..support.time_limits import caught
from . import background, guests
from .report import Past, Report
from .schedule import CallAt, Schedule
from .scopes import Level
from .turns import HandOver, Turns
from .writer import Record, Writer

__all__ = ["Progress"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds between the estimates for a run that reports nothing.
BETWEEN_ESTIMATES = 1.0

#: Seconds for which a process that reports for the run of another one stays to write what it has held back.
BEFORE_EXIT = 5.0

UNUSABLE = "the progress that it reports cannot be used"


class Progress:
    """The progress of one run.

    :ivar writer: what shows others where the run is, until :meth:`close`.
    :ivar report: where the run is.
    :ivar schedule: when the next record is due.
    :ivar clock: the clock of both.
    :ivar is_shared: whether other processes may report for the run as well.
    :param name: what to call the run in warnings.
    :param writer: shows others where the run is; ``None`` where nobody can look.
    :param interval: the least number of seconds between two records.
    :param past: asks for what is known of earlier runs.
    :param report: where the run is by now.
    :param began: when the run began, by the clock; ``None`` for now.
    :param context: the context of the run.
    :param flushes: whether what is held back may be written while the body does something else. Not so where
        :meth:`close` is called only after the result was written, which would be overwritten.
    :param waits_at_end: whether :meth:`close` waits for what is being written.
    :param hand_over: lets another thread write; ``None`` to write in the thread that reports.
    """

    def __init__(
        self,
        name: str,
        writer: Writer | None,
        *,
        interval: float,
        past: Callable[[], Past] = Past,
        report: Report | None = None,
        began: float | None = None,
        context: Context | None = None,
        flushes: bool = True,
        waits_at_end: bool = True,
        clock: Callable[[], float] = time.monotonic,
        call_at: CallAt = timers.call_at,
        hand_over: HandOver | None = background.hand_over,
    ) -> None:
        self.is_shared: bool = False
        self.name: str = name
        self.interval: float = interval
        self.writer: Writer | None = writer
        self.clock: Callable[[], float] = clock
        began = clock() if began is None else began
        self.report: Report = Report(began, past, clock=clock) if report is None else report
        self.schedule: Schedule = Schedule(
            interval, self._flush, self._warn, clock=clock, call_at=call_at, flushes=flushes
        )
        if writer is None:
            self.schedule.close()
        self._turns = Turns(self._after_turn, self._pause, longest_wait=interval, hand_over=hand_over)
        self._waits_at_end = waits_at_end
        self._is_guest = self._has_reported = self._has_warned = False
        self._context = context

    def close(self) -> None:
        """Write nothing from now on. Wait for what is being written, where it would replace the end."""
        self.schedule.close()
        if self.writer is not None:
            self.writer.stop()
        try:
            if self._waits_at_end:
                self._turns.wait()
        finally:
            # What is still due in the background does not keep the request and its arguments.
            self.writer, self.report.read_past, self._context = None, Past, None

    def finish(self) -> None:
        """Write what is held back before this process ends, and wait for that for a few seconds at most."""
        until = time.monotonic() + BEFORE_EXIT
        if self.schedule.is_of_this_process and self.schedule.has_held_back:
            self._write_now(waits=False)
        while (self._turns.is_taken or self.schedule.has_held_back) and time.monotonic() < until:
            if not self.schedule.is_of_this_process:
                return
            time.sleep(0.005)

    def move_to_this_process(self) -> None:
        """Let this process report as well, which shares nothing with that of the run."""
        self._is_guest = True
        self._context = copy_context()
        self._turns.move_to_this_process()
        self.schedule.move_to_this_process()

    def update(self, completed: Any, total: Any, frequency: Any = 1, message: Any = None) -> None:
        """Note how many of *total* are completed. Never raises, except for a soft time limit."""
        # Neither a context manager for the errors nor smaller functions, since loops make many updates.
        try:
            report, schedule = self.report, self.schedule
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
            elif completed == total and level.high == 1.0 and not report.is_complete:
                self._write_now()
            elif schedule.is_held_back and frequency == 1 and (now := self.clock()) < schedule.next:
                if schedule.flushes:
                    schedule.look_away(now, level)
            elif schedule.allows(completed, frequency):
                self._write_now()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            self._warn(UNUSABLE, error)

    @contextmanager
    def loop(self, total: Any, message: Any) -> Iterator[Level]:
        """Be in a tracked loop for as long as this lasts. Its items are counted on the level."""
        with self._inside(lambda: self.report.loop(total, message)) as level:
            yield level

    @contextmanager
    def phase(self, name: str, weight: Any, of: Any) -> Iterator[None]:
        """Be in a phase for as long as this lasts."""
        with self._inside(lambda: self.report.phase(name, weight, of)):
            yield

    def look_at_clock(self, level: Level, seconds: float) -> None:
        """Write a record if one is due, and note on the level of a tracked loop when to look again.

        :param seconds: for how long the loop has gone on.
        """
        rate = level.completed / seconds if seconds > 0 else 1.0
        unseen = self.schedule.items_in_half_an_interval(rate)
        level.due = level.completed + unseen
        self._write_if_due()
        if unseen > 1:
            # The loop may become slow before it looks again.
            self.schedule.look_again()

    @contextmanager
    def _inside(self, make_level: Callable[[], Level]) -> Iterator[Level]:
        around = self.report.level
        level = Level(around, around.low, around.high, around.path, around.message)
        with caught(self._warn_of_unusable):
            level = make_level()
        self.report.enter(level)
        self.schedule.level = None
        self._write_if_due()
        try:
            yield level
        finally:
            self._leave(level)

    def _leave(self, level: Level) -> None:
        if not self.report.leave(level):
            return
        self.schedule.level = None
        around, is_over = self.report.level, False
        if around.high == 1.0 and not self.report.is_complete:
            with caught(self._warn_of_unusable):
                is_over = around.position == 1.0
        if is_over:
            self._write_now()
        else:
            self._write_if_due()

    def _write_if_due(self) -> None:
        if self.schedule.is_due():
            self._write_now()

    def _write_now(self, *, is_estimate: bool = False, waits: bool = True) -> None:
        """Write where the run is now.

        :param waits: whether to wait until others see it, for a moment at most.
        """
        if not self.schedule.is_of_this_process:
            self.move_to_this_process()
        now = self.clock()
        self.schedule.start_interval()
        # In this order: the end of a turn is followed by a look at what is held back.
        self.schedule.hold_back_until_written()
        if not self._turns.is_taken:
            # Before anything is read: what is reported from here on is for the next record.
            self.schedule.clear()
            if self._is_guest:
                guests.remember(self)
            self._turns.take(lambda: self._write_record(now, is_estimate), waits=waits)

    def _write_record(self, now: float, is_estimate: bool) -> None:
        record = None
        self._has_reported = True
        with caught(self._warn_of_unusable):
            record = self.report.record(now)
        self._show(lambda writer: record is None or writer.write(record, is_estimate))

    def show_start(self, *, waits: bool = False) -> None:
        """Show that the run goes on. Later, estimate the time left from earlier runs.

        :param waits: whether to wait until others see it, for a moment at most.
        """
        if self._turns.is_taken:
            self.schedule.call_later(BETWEEN_ESTIMATES, self.show_start)
        elif not self.schedule.is_closed:
            self._turns.take(self._write_start, waits=waits)

    def _write_start(self) -> None:
        """Show that the run goes on, unless others see its reports. From now on, estimate the time left."""
        durations = self.report.past.durations
        if not self._has_reported and self.report.is_empty:
            record: Record | None = self.report.record(self.clock()) if durations else None
            self.schedule.start_interval()
            self._show(lambda writer: writer.show_start(record))
        elif not self._has_reported:
            self._write_record(self.clock(), is_estimate=False)
        if durations:
            self.schedule.call_later(BETWEEN_ESTIMATES, self._estimate)

    def _show(self, show: Callable[[Writer], bool]) -> None:
        """Let the writer show something."""
        writer, context = self.writer, self._context or copy_context()
        if writer is None or self.schedule.is_closed:
            return
        with caught(self._pause):
            if not context.run(background.with_connections, show, writer, self._turns.are_ours):
                self.schedule.close()

    def _after_turn(self) -> None:
        """Write what was held back during a turn."""
        if self.schedule.is_flush_due():
            self._write_now(waits=False)

    def _flush(self) -> None:
        # The loop may have become slow since it last calculated when to look at the clock.
        self.report.level.due = 0
        if self.schedule.is_flush_due():
            self._write_now(waits=False)

    def _estimate(self) -> None:
        """Write an estimate of the time left every second, until the run itself reports a total."""
        if self.schedule.is_closed:
            return
        if not self.report.has_total:
            self._write_now(is_estimate=True, waits=False)
        self.schedule.call_later(BETWEEN_ESTIMATES, self._estimate)

    def _pause(self, error: Exception) -> None:
        self.schedule.pause()
        self._warn("its progress could not be written", error)

    def _warn_of_unusable(self, error: Exception) -> None:
        self._warn(UNUSABLE, error)

    def _warn(self, what: str, error: Exception) -> None:
        """Log the first thing that goes wrong; the rest of the run would only repeat it."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("%s: %s: %s", shown(self.name), what, shown(error))
