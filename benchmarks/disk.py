"""The disk store with eight processes that claim and release at the same time."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jobtastic_signals.stores import open_store

from .bare import sqlite_transaction
from .report import Findings, Line, Table
from .rounds import QUICK, percentile

PROCESSES = 8

#: Operations of each process in a series, and seconds between two where the processes do not hurry.
PACED, HURRIED, PAUSE = 100, 500, 0.02

#: A percentile is the median of those of the series, because one pause of the machine changes it.
SERIES = 7

Operations = Callable[[], Any]

#: Who works, and the pause between two operations.
Series = tuple[str, float]


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


MAKERS = {"ours": ours, "bare SQLite": bare}


def work(folder: str, name: int, order: list[Series], start: Any, ends: Any) -> None:
    """Report the microseconds of each operation in this process, series by series."""
    operations = {candidate: make(folder, name) for candidate, make in MAKERS.items()}
    for operation in operations.values():
        operation(), operation()
    for candidate, pause in order:
        start.wait()
        ends.put(list(timed(operations[candidate], pause)))


def timed(operation: Operations, pause: float) -> Iterator[float]:
    for _ in range(PACED if pause else HURRIED):
        before = time.perf_counter()
        operation()
        yield (time.perf_counter() - before) * 1e6
        time.sleep(pause)


def times_of(order: list[Series]) -> list[list[float]]:
    """Return the times of all processes in each series."""
    spawn = multiprocessing.get_context("spawn")
    start, ends = spawn.Barrier(PROCESSES), spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        for make in MAKERS.values():
            make(folder, -1)()  # The files are there before the processes begin.
        processes = [
            spawn.Process(target=work, args=(folder, name, order, start, ends)) for name in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        # A series begins when all processes have handed over the last one.
        found = [[each for _ in processes for each in ends.get(timeout=120)] for _ in order]
        for process in processes:
            process.join()
    return found


def measure() -> Findings:
    hows = {f"each process {1 / PAUSE:.0f} times a second": PAUSE, "without a pause": 0.0}
    order = list(itertools.product(MAKERS, hows.values())) * (2 if os.environ.get(QUICK) else SERIES)
    random.shuffle(order)
    found: dict[Series, list[list[float]]] = {}
    for which, times in zip(order, times_of(order), strict=True):
        found.setdefault(which, []).append(times)
    rows = {
        f"{name}, {how}, p{percent}": statistics.median(
            percentile(times, percent) / 1e3 for times in found[name, pause]
        )
        for how, pause in hows.items()
        for name in MAKERS
        for percent in (50, 99)
    }
    return Findings(
        list(lines(rows, hows)),
        {"disk": Table(f"one claim or release, {PROCESSES} processes at once", "ms", rows)},
    )


def lines(rows: dict[str, float], hows: Iterable[str]) -> Iterator[Line]:
    group = f"claim and release on disk, {PROCESSES} processes, p99"
    for how in hows:
        mine, limit = rows[f"ours, {how}, p99"], rows[f"bare SQLite, {how}, p99"]
        yield Line(group, how, mine, 2, "ms", limit, "a bare transaction of SQLite")
