"""The memory of this process: how much is resident, and whether what runs leave behind is a leak.

There is no Celery in here: measuring costs microseconds, judging is arithmetic, tracing is for one run at a
time.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import statistics
import sys
import threading
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import psutil

__all__ = ["WARM_UP", "WINDOW", "Growth", "Trace", "Verdict", "peak", "resident", "tidied"]

#: How many runs are looked back upon.
WINDOW = 20

#: How many of those may grow before it is called a leak: imports, and caches that fill up.
WARM_UP = 3


def resident() -> int:
    """The bytes of this process that are in physical memory now."""
    pid, read = _reader
    if pid != os.getpid():
        return _renew()
    try:
        return read()
    except (OSError, ValueError, IndexError):
        # It was closed, as by what makes a daemon, and its number may be another file's now.
        return _renew()


def peak() -> int | None:
    """The most bytes that were resident since this process began; ``None`` where the system does not say."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, psutil.Error):
        return int(getattr(psutil.Process().memory_info(), "peak_wset"))  # noqa: B009 - on Windows alone
    with suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return None


def tidied() -> int:
    """As :func:`resident`, without garbage and without what was freed and is kept for the next use.

    Takes milliseconds, and more in a process of many objects.
    """
    if gc.isenabled():
        gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        # Otherwise what one task leaks takes the place of what another has freed, which then grows for it.
        trim(0)
    return resident()


@cache
def _malloc_trim() -> Callable[[int], object] | None:
    """What gives freed memory back to the system; only glibc has it."""
    with suppress(OSError, AttributeError, TypeError):
        function = ctypes.CDLL(None).malloc_trim
        function.argtypes = [ctypes.c_size_t]
        return cast("Callable[[int], object]", function)
    return None


def _renew() -> int:
    global _reader
    # Not closed: after a fork it is a copy, and otherwise it may be somebody else's by now.
    read = _new_reader()
    _reader = (os.getpid(), read)
    return read()


def _new_reader() -> Callable[[], int]:
    """Reads the memory of the process that calls this: a forked child needs another one."""
    try:
        file, page = os.open("/proc/self/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except OSError:
        process = psutil.Process()
        return lambda: int(process.memory_info().rss)
    return lambda: int(os.pread(file, 128, 0).split(None, 2)[1]) * page


_reader: tuple[int, Callable[[], int]] = (0, lambda: 0)


@dataclass(frozen=True)
class Verdict:
    """On a run that grew by more than the limit.

    :ivar kind: ``leak`` if the task goes on growing; ``jump`` if it grew once, after its first
        :data:`WINDOW` runs; ``warm-up`` if it grew among those.
    :ivar growth: bytes, from the start of the run to its end.
    :ivar trend: bytes for each of the latest runs.
    :ivar growing: how many of those grew by more than the limit, this one included.
    :ivar runs: how many those are.
    """

    kind: Literal["leak", "jump", "warm-up"]
    growth: int
    trend: float
    growing: int
    runs: int


class Growth:
    """What the runs of one task add to the memory of this process.

    The sum of what each run added, and what it gave back, is a curve of the task's own, whatever other tasks
    do between its runs. A run *grows* by as much as it lifts the curve above the highest point of the last
    :data:`WINDOW` runs, so memory that comes and goes does not count. A *leak* are more than :data:`WARM_UP`
    growing runs among those.

    What is resident at the end of a run holds its result, too. So a run counts as what is left of it at the
    start of the next one, and until that is known, without as much as is usually given back by then.
    """

    def __init__(self) -> None:
        self._runs = 0
        self._curve: deque[int] = deque([0], maxlen=WINDOW + 1)
        self._highest = 0
        self._rises: deque[int] = deque(maxlen=WINDOW - 1)
        self._given_back: deque[int] = deque(maxlen=WINDOW - 1)
        self._open: tuple[int, int, float] | None = None

    def ended(self, start: int, end: int, limit: float) -> Verdict | None:
        """A run ended; what to say of it if it grew by more than *limit*, and that stays. All in bytes."""
        if self._open is not None:
            self.rests(self._open[1])
        self._runs += 1
        self._open = start, end, limit
        return self.judged(end)

    def judged(self, end: int) -> Verdict | None:
        """The same of the run that ended last, where *end* is what was resident after tidying up."""
        if self._open is None:
            return None
        start, untidied, limit = self._open
        growth = end - start
        if growth <= limit:
            return None
        usual = int(statistics.median(self._given_back)) if self._given_back else 0
        kept = min(growth, untidied - start - usual)
        if self._rise(kept) <= limit:
            return None
        growing = 1 + sum(rise > limit for rise in self._rises)
        kind: Literal["leak", "jump", "warm-up"] = "leak"
        if growing <= WARM_UP:
            if self._runs <= WINDOW:
                kind = "warm-up"
            elif self._rise(min(growth, untidied - start - max(self._given_back, default=0))) > limit:
                kind = "jump"
            else:
                # It may be a large result, of a task that has returned such before.
                return None
        curve = [*self._curve, self._curve[-1] + kept][-WINDOW - 1 :]
        return Verdict(kind, growth, _slope(curve), growing, min(self._runs, WINDOW))

    def is_doubtful(self, resident: int) -> bool:
        """Whether the last run grew, if so much is left of it, or another one did lately.

        Garbage that piles up between two collections takes the place of what was freed, and sooner or later
        a run grows for want of that.
        """
        if self._open is None:
            return False
        start, end, limit = self._open
        return self._rise(min(end, resident) - start) > limit or max(self._rises, default=0) > limit

    def rests(self, resident: int) -> None:
        """So much is resident before anything else runs: what is left of the last run is known."""
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
    """The median of the slopes between all pairs (Theil and Sen): one large step hardly moves it.

    >>> _slope([0, 30, 30, 30, 30, 30])
    0.0
    >>> _slope([0, 30, 32, 34, 36, 38])
    2.0
    """
    pairs = itertools.combinations(enumerate(levels), 2)
    return statistics.median((high - low) / (later - earlier) for (earlier, low), (later, high) in pairs)


class Trace:
    """``tracemalloc``, from :meth:`begin` to :meth:`end`; one at a time in a process."""

    _busy = threading.Lock()

    def __init__(self) -> None:
        self._started = not tracemalloc.is_tracing()
        if self._started:
            tracemalloc.start()
        self._before = _snapshot()

    @classmethod
    def begin(cls) -> Trace | None:
        """A new one; ``None`` while there is another."""
        if not cls._busy.acquire(blocking=False):
            return None
        try:
            return cls()
        except BaseException:
            cls._busy.release()
            raise

    def end(self, lines: int) -> list[str]:
        """So many *lines* of code at most whose memory grew most. Stops what :meth:`begin` started."""
        try:
            # What only waits for the collector has not grown.
            gc.collect()
            found = _snapshot().compare_to(self._before, "lineno")
        finally:
            if self._started:
                tracemalloc.stop()
            self._busy.release()
        grown = sorted((each for each in found if each.size_diff > 0), key=lambda each: -each.size_diff)
        return [
            f"line={each.traceback[0].filename}:{each.traceback[0].lineno} "
            f"increase_bytes={each.size_diff} increase_blocks={each.count_diff}"
            for each in grown[:lines]
        ]


def _snapshot() -> tracemalloc.Snapshot:
    hidden = [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__)]
    return tracemalloc.take_snapshot().filter_traces(hidden)
