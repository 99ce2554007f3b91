"""Measure the memory of this process, and trace which lines of code allocate it.

There is no Celery in here. Measuring costs microseconds. Tracing slows a run down, and is for one run at a
time.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import cast

__all__ = ["Trace", "peak", "resident", "tidied"]


def resident() -> int:
    """Return how many bytes of this process are in physical memory now."""
    pid, read = _reader
    if pid != os.getpid():
        return _read_anew()
    try:
        return read()
    except (OSError, ValueError, IndexError):
        # The file was closed, for example on becoming a daemon, and its number may be another file's now.
        return _read_anew()


def peak() -> int | None:
    """Return the most bytes that were ever resident; ``None`` where the system does not say."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    with suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return None


def tidied() -> int:
    """Collect garbage, give freed memory back to the system, and return what is :func:`resident` then.

    Takes milliseconds, and more in a process with many objects.
    """
    if gc.isenabled():
        gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        # Otherwise one task's leak fills what another task has freed, and the other one grows instead.
        trim(0)
    return resident()


@cache
def _malloc_trim() -> Callable[[int], object] | None:
    """Return the function that gives freed memory back to the system; only glibc has it."""
    with suppress(OSError, AttributeError, TypeError):
        function = ctypes.CDLL(None).malloc_trim
        function.argtypes = [ctypes.c_size_t]
        return cast("Callable[[int], object]", function)
    return None


def _read_anew() -> int:
    global _reader
    # The old file is not closed: after a fork it is a copy, and otherwise its number may be another file's.
    read = _new_reader()
    _reader = (os.getpid(), read)
    return read()


def _new_reader() -> Callable[[], int]:
    """Return a function that reads the memory of this process. A forked child needs another one."""
    try:
        file, page = os.open("/proc/self/statm", os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil  # Other systems than Linux need it.

        process = psutil.Process()
        return lambda: int(process.memory_info().rss)
    return lambda: int(os.pread(file, 128, 0).split(None, 2)[1]) * page


_reader: tuple[int, Callable[[], int]] = (0, lambda: 0)


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
        """Start tracing; ``None`` while there is another trace."""
        if not cls._busy.acquire(blocking=False):
            return None
        try:
            return cls()
        except BaseException:
            cls._busy.release()
            raise

    def end(self, lines: int, least_share: float = 0.0) -> list[str]:
        """Return the lines of code whose memory grew most, and stop what :meth:`begin` started.

        :param lines: how many to return at most.
        :param least_share: the least part of the whole growth that a line has, from 0 to 1.
        """
        try:
            # What only waits for the garbage collector has not grown.
            gc.collect()
            found = _snapshot().compare_to(self._before, "lineno")
        finally:
            if self._started:
                tracemalloc.stop()
            self._busy.release()
        grown = sorted((each for each in found if each.size_diff > 0), key=lambda each: -each.size_diff)
        whole = sum(each.size_diff for each in grown)
        return [
            f"line={each.traceback[0].filename}:{each.traceback[0].lineno} "
            f"increase_bytes={each.size_diff} increase_blocks={each.count_diff} "
            f"share={each.size_diff / whole:.0%}"
            for each in grown[:lines]
            if each.size_diff >= least_share * whole
        ]


def _snapshot() -> tracemalloc.Snapshot:
    hidden = [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__)]
    return tracemalloc.take_snapshot().filter_traces(hidden)
