"""The disk store with eight processes that claim and release at the same time."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobtastic_signals.stores import open_store

from .bare import sqlite_transaction
from .report import Findings, Line, Table
from .rounds import percentile

PROCESSES = 8

#: Operations of each process, and seconds between two of them where the processes do not hurry.
OPERATIONS, PAUSE = 1500, 0.02

Operations = Callable[[], Any]


def ours(folder: str, name: int) -> Operations:
    store, keys = open_store(f"disk://{folder}/store"), itertools.count()

    def claims_and_releases() -> Iterator[None]:
        while True:
            key = f"key-{name}-{next(keys)}"
            store.claim(key, "owner", "delivery", 30.0)
            yield
            store.release(key, "owner", "delivery")
            yield

    each = claims_and_releases()
    return lambda: next(each)


def bare(folder: str, name: int) -> Operations:
    return sqlite_transaction(Path(folder))


def work(
    make: Callable[[str, int], Operations], folder: str, name: int, pause: float, start: Any, ends: Any
) -> None:
    """Report the microseconds of each operation in this process."""
    operation = make(folder, name)
    operation(), operation()
    start.wait()
    times = []
    for _ in range(OPERATIONS if not pause else int(4 / pause)):
        before = time.perf_counter()
        operation()
        times.append((time.perf_counter() - before) * 1e6)
        time.sleep(pause)
    ends.put(times)


def times_of(make: Callable[[str, int], Operations], pause: float) -> list[float]:
    spawn = multiprocessing.get_context("spawn")
    start, ends = spawn.Barrier(PROCESSES), spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        make(folder, -1)()  # The files are there before the processes begin.
        processes = [
            spawn.Process(target=work, args=(make, folder, name, pause, start, ends))
            for name in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        times = [each for _ in processes for each in ends.get(timeout=120)]
        for process in processes:
            process.join()
    return times


def measure() -> Findings:
    paced, hurried = f"each process {1 / PAUSE:.0f} times a second", "without a pause"
    group = f"claim and release on disk, {PROCESSES} processes, p99"
    found = Findings()
    rows: dict[str, float] = {}
    for how, pause in ((paced, PAUSE), (hurried, 0.0)):
        mine, least = times_of(ours, pause), times_of(bare, pause)
        for name, times in (("ours", mine), ("bare SQLite", least)):
            rows |= {f"{name}, {how}, p{percent}": percentile(times, percent) / 1e3 for percent in (50, 99)}
        limit = percentile(least, 99) / 1e3
        found.lines.append(
            Line(group, how, percentile(mine, 99) / 1e3, 2, "ms", limit, "a bare transaction of SQLite")
        )
    found.tables["disk"] = Table(f"one claim or release, {PROCESSES} processes at once", "ms", rows)
    return found
