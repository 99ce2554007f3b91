"""What a run says of its progress, and how much of that is written to the result backend.

Saying is cheap, and writing is not: an update is written when the last one is long enough ago, and what is
held back is written later by the background thread. What is being said when the body ends is not written any
more, since the result is about to be.
"""

from __future__ import annotations

import logging
import math
import operator
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from ..support.timers import call_at
from .eta import Pace, blended, left_by_history, percent_by_history, percent_of
from .scopes import Level

__all__ = ["FIRST", "Past", "Progress", "Write", "current_progress"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The progress of the run whose body goes on in this context.
current_progress: ContextVar[Progress | None] = ContextVar("jobtastic_current_progress", default=None)

#: What is written when a run starts.
FIRST = {"progress_percent": 0, "time_remaining": -1, "completed": 0, "total": None, "message": None}

#: Seconds after which what ``update_frequency`` holds back is written nevertheless.
HELD_BACK = 5.0

#: Seconds between the estimates for a run that says nothing, and before the first one.
BETWEEN_ESTIMATES = 1.0

#: Seconds without writing, after the result backend failed.
AFTER_FAILURE = 30.0


#: Takes a record, and whether nobody asked for it; answers whether there may be more.
Write = Callable[[Mapping[str, Any], bool], bool]


@dataclass(frozen=True)
class Past:
    """What earlier runs of a task tell: how many seconds each took, and the weights of its phases."""

    durations: Sequence[float] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


class Progress:
    """The progress of one run.

    :ivar took: how many seconds it took, once it is closed.
    :ivar weights: the sum of the weights of the phases in each level.
    :param name: what to call the run in warnings.
    :param write: writes a record; ``None`` where nobody can read them.
    :param interval: seconds between two records at least.
    :param past: what is known of earlier runs; asked once, in the background, of a run that takes a while.
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
    ) -> None:
        self.took = 0.0
        self.weights: dict[str, float] = {}
        self._name, self._put, self._interval, self._ask_past = name, write, interval, past
        self._flushes, self._clock = flushes, clock
        self._began = clock()
        self._level = Level()
        self._in_levels = False
        self._pace = Pace(self._began)
        self._past: Past | None = None
        self._percent: float = 0
        self._by_history: float = 0
        self._pid = os.getpid()
        # What happens while a record is written can report: a receiver, or a loop that was left and is
        # collected just then.
        self._lock = threading.RLock()
        self._writing = False
        self._closed = write is None
        # The only thing that most updates look at: nothing is written before.
        self._next = float("inf") if write is None else self._began
        # What is held back by time, and what by count; each is written by the background thread in a while.
        self._unsaid = self._held = write is None
        self._counted: Any = 0
        self._complete = self._warned = False
        self._token: Token[Progress | None] | None = None

    def enter(self) -> None:
        """The run goes on in this context, until :meth:`close`."""
        self._token = current_progress.set(self)

    def begin(self) -> None:
        """Write the first record, and look in a while whether earlier runs can tell how long it takes."""
        self._next = self._began + self._interval
        with self._lock:
            self._write(lambda: FIRST)
        self._later(self._began + BETWEEN_ESTIMATES, self._learn)

    def close(self) -> None:
        """Write nothing from now on; what is being written is waited for."""
        if self._token is not None:
            # A first update within asyncio.run() came from a copy of the context, which is gone.
            with suppress(ValueError):
                current_progress.reset(self._token)
        self.took = self._clock() - self._began
        self._next = float("inf")
        self._closed = True
        # So that nothing is asked for later by a thread that goes on to tell.
        self._unsaid = self._held = True
        try:
            self._lock.acquire()
        except SoftTimeLimitExceeded:
            # The end is stored when this is over, and is to come after what is being written.
            self._lock.acquire()
            raise
        finally:
            self._lock.release()
            # The request and its arguments are not kept by what is still due in the background.
            self._put, self._ask_past = None, Past

    def update(self, completed: Any, total: Any, frequency: Any = 1, message: Any = None) -> None:
        """So many of *total* are completed. Never raises, but for a soft time limit that strikes here."""
        try:
            level = self._level
            if level.is_loop:
                level.say(completed, total)
            else:
                level.completed = completed
                level.total = total
            if message is not None:
                level.message = str(message)
            if level.is_loop:
                self._touch()
            elif completed == total and not self._complete and level.high == 1.0:
                self._report()
            elif frequency != 1 and 0 <= completed - self._counted < frequency:
                if not self._held:
                    self._held = True
                    self._later(self._clock() + HELD_BACK, self._flush)
            elif self._clock() >= self._next:
                self._counted = completed
                self._report()
            elif not self._unsaid:
                self._counted = completed
                self._unsaid = True
                self._later(self._next, self._flush)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            self._warn("what it says of its progress is not used", error)

    @contextmanager
    def loop(self, total: Any, message: Any) -> Iterator[Level]:
        """Be in a tracked loop for as long as this lasts; the items are counted on the level."""

        def enter(around: Level) -> Level:
            known = None if total is None else _number(total)
            return around.loop(known, None if message is None else str(message))

        with self._inside(enter) as level:
            yield level

    @contextmanager
    def phase(self, name: str, weight: Any, of: Any) -> Iterator[None]:
        """Be in a phase for as long as this lasts."""

        def enter(around: Level) -> Level:
            whole = None if of is None else _number(of)
            known = self._known().weights if whole is None and around.whole is None else {}
            return around.phase(str(name), _number(weight), whole, known)

        with self._inside(enter):
            yield

    def count(self, level: Level, seconds: float) -> None:
        """The tracked loop is at ``level.due``, and has gone on for so many *seconds*."""
        # As many more as come in half of an interval, so that hardly any item looks at the clock.
        rate = level.completed / seconds if seconds > 0 else 1.0
        level.due = level.completed + max(int(rate * self._interval / 2), 1)
        self._touch()

    @contextmanager
    def _inside(self, enter: Callable[[Level], Level]) -> Iterator[Level]:
        around = self._level
        level = self._made(lambda: enter(around))
        if level is None:
            level = Level(around, around.low, around.high, around.path, around.message)
        if not self._in_levels:
            self._in_levels = True
            self._pace = Pace(self._began if around.total is None else self._clock())
        self._level = level
        self._touch()
        try:
            yield level
        finally:
            self._leave(level)

    def _leave(self, level: Level) -> None:
        # A generator that was not exhausted may end after what is around it.
        if level not in self._level.outwards:
            return
        self._level = around = level.leave()
        self.weights[around.path] = max(self.weights.get(around.path, 0.0), around.passed)
        if around.high == 1.0 and not self._complete and self._made(lambda: around.position) == 1.0:
            self._report()
        else:
            self._touch()

    def _touch(self) -> None:
        if self._clock() >= self._next:
            self._report()
        elif not self._unsaid:
            self._unsaid = True
            self._later(self._next, self._flush)

    def _report(self, *, unasked: bool = False) -> None:
        """Write where the run is now."""
        if os.getpid() != self._pid:
            # In a child that the body forked, the lock may be held by nobody, and the run is not its own.
            return
        now = self._clock()
        self._next = now + self._interval
        with self._lock:
            if self._writing:
                self._unsaid = True
                self._later(self._next, self._flush)
                return
            # Before anything is read: what is said from here on is for the next time.
            self._unsaid = self._held = self._closed
            self._write(lambda: self._record(now), unasked=unasked)

    def _write(self, make: Callable[[], Mapping[str, Any]], *, unasked: bool = False) -> None:
        put = self._put
        if self._closed or put is None:
            return
        self._writing = True
        try:
            record = self._made(make)
            if record is not None and not put(record, unasked):
                self._closed = True
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            self._next = self._clock() + AFTER_FAILURE
            self._warn("its progress could not be written", error)
        finally:
            self._writing = False

    def _made(self, make: Callable[[], T]) -> T | None:
        """What *make* makes of what the run said; ``None`` where that is not to be used."""
        try:
            return make()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            self._warn("what it says of its progress is not used", error)
            return None

    def _record(self, now: float) -> dict[str, Any]:
        level = self._level
        completed, total = level.counted.completed, level.counted.total
        completed, total = _number(completed), None if total is None else _number(total)
        done, whole = (level.reach, 1.0) if self._in_levels else (completed, total)
        percent, left = self._percent, None
        if whole is not None:
            percent = percent_of(done, whole)
            self._pace.saw(now, done)
            left = self._pace.left(whole)
        durations = self._past.durations if self._past is not None else ()
        expected = left_by_history(now - self._began, durations)
        left = blended(percent / 100, left, expected)
        if expected is not None and total is None:
            self._by_history = max(self._by_history, percent_by_history(now - self._began, expected))
        # What history has told already is not taken back.
        self._percent = percent = max(percent, self._by_history)
        self._complete = percent == 100
        return {
            "progress_percent": percent,
            "time_remaining": -1 if left is None else round(left, 1),
            "completed": completed,
            "total": total,
            "message": level.message and level.message.encode("utf-8", "replace").decode("utf-8"),
        }

    def _later(self, when: float, function: Callable[[], None]) -> None:
        if self._closed or os.getpid() != self._pid:
            return
        try:
            call_at(when, function)
        except RuntimeError as error:  # As when the interpreter shuts down.
            self._warn("nothing is written in the background", error)

    def _flush(self) -> None:
        # The loop may have become slow since it last reckoned when to look at the clock.
        self._level.due = 0
        if self._closed or not self._flushes:
            return
        if self._unsaid and self._clock() < self._next:
            self._later(self._next, self._flush)
        elif self._unsaid or self._held:
            self._report()

    def _known(self) -> Past:
        if self._past is None:
            self._past = self._ask_past()
        return self._past

    def _learn(self) -> None:
        if not self._closed and self._known().durations:
            self._estimate()

    def _estimate(self) -> None:
        """Tell again how long it takes, for as long as the run itself does not."""
        if not self._closed:
            if self._level.total is None:
                self._report(unasked=not self._in_levels and not self._level.completed)
            self._later(self._clock() + BETWEEN_ESTIMATES, self._estimate)

    def _warn(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: %s: %r", self._name, what, error)


def _number(value: Any) -> float:
    """*value* as an ``int`` or ``float`` that JSON can carry."""
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not a number")
    number: float = operator.index(value) if hasattr(value, "__index__") else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number
