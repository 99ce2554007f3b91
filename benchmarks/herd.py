"""A cold herd: 1,000 identical calls from 8 processes, whose key nobody has called before."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.servers import redis_server

from .project import RUN_SECONDS, Project, redis_options, worker
from .report import Findings, Line

CALLS, PROCESSES = 1000, 8

#: Other numbers prepare each process: connections, imports.
COLD, WARM = 1, 0


def call(project: Project, start: Any, ends: Any) -> None:
    """Make this process's share of the calls, and wait for all their values."""
    app = project.make_app()
    task = app.tasks["slow"]
    task.delay(WARM).get(timeout=60)
    start.wait()
    results = [task.delay(COLD) for _ in range(CALLS // PROCESSES)]
    assert [result.get(timeout=60) for result in results] == [2 * COLD] * len(results)
    ends.put(time.monotonic())
    app.close()


def herd(project: Project) -> tuple[float, int, int]:
    """Return the seconds until all callers had their value, the runs, and the messages."""
    spawn = multiprocessing.get_context("spawn")
    start, ends = spawn.Barrier(PROCESSES + 1), spawn.Queue()
    processes = [spawn.Process(target=call, args=(project, start, ends)) for _ in range(PROCESSES)]
    with project.client(0) as redis, project.client(1) as results, worker(project):
        for process in processes:
            process.start()
        while start.n_waiting < PROCESSES:
            time.sleep(0.05)
        redis.config_resetstat()
        start.wait()
        began = time.monotonic()
        ended = max(ends.get(timeout=120) for _ in processes)
        messages = redis.info("commandstats")["cmdstat_lpush"]["calls"]
        runs = int(results.get(f"runs-{COLD}") or 0)
        for process in processes:
            process.join()
    return ended - began, runs, messages


def measure() -> Findings:
    found = Findings()
    for name in ("ours, Redis store", "ours, disk store"):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            url = stack.enter_context(redis_server(Path(folder), *redis_options))
            found.lines += lines(name.removeprefix("ours, "), *herd(Project(name, url, folder)))
    return found


def lines(store: str, seconds: float, runs: int, messages: int) -> Iterator[Line]:
    group = f"a cold herd of {CALLS:,} calls"
    yield Line(group, store, runs, 1, "run")
    yield Line(group, store, messages, 16, "messages")
    yield Line(group, store, seconds - RUN_SECONDS, 1.5, "s more than the run")
