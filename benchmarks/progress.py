"""What it costs a run to report its progress, compared with tqdm and a bare loop, and in a real worker."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from tqdm import tqdm

from jobtastic_signals import Jobtastic, track, update_progress
from tests.support.servers import redis_server
from tests.support.workers.project import close, create_app
from tests.support.workers.projects import wait_until_ready, worker

from .report import Findings, Line, Table
from .rounds import medians
from .runs import run_of

TQDM = "tqdm"
LEAST = "two bare calls, the context and the clock"
ITEMS = 20_000
UPDATES = 1_000_000


def make_app(**conf: object) -> Celery:
    app = Celery("progress", set_as_current=False)
    app.conf.update(
        {
            "broker_url": "memory://",
            "result_backend": "cache+memory://",
            "jobtastic_store": "memory://",
            **conf,
        }
    )
    Jobtastic(app)
    return app


def bare_loop() -> None:
    for _ in range(ITEMS):
        pass


def nothing(completed: int, total: int) -> None:
    pass


def bare_calls() -> None:
    for n in range(ITEMS):
        nothing(n, ITEMS)


running: ContextVar[object] = ContextVar("running", default=None)


def least_update(completed: int, total: int) -> None:
    looked_up(completed, total)


def looked_up(completed: int, total: int) -> None:
    running.get()
    time.monotonic()


def least_updates() -> None:
    for n in range(ITEMS):
        least_update(n, ITEMS)


def updates() -> None:
    for n in range(ITEMS):
        update_progress(n, ITEMS)


def tracked() -> None:
    for _ in track(range(ITEMS)):
        pass


def by_tqdm() -> None:
    with open(os.devnull, "w") as nowhere:
        for _ in tqdm(range(ITEMS), file=nowhere):
            pass


def times_of_an_item() -> dict[str, float]:
    """Return the microseconds that each way takes for one item."""
    what = {
        "bare loop": bare_loop,
        "a bare call": bare_calls,
        LEAST: least_updates,
        "update_progress": updates,
        "track": tracked,
        TQDM: by_tqdm,
    }
    return {name: time / ITEMS for name, time in medians(what, calls=1, rounds=30).items()}


def in_a_run(**options: object) -> dict[str, float]:
    """Return what :func:`times_of_an_item` finds in a run of a task with these options."""
    app = make_app()
    found: dict[str, float] = {}

    def body() -> None:
        found.update(times_of_an_item())

    task = app.task(body, name="progress.measure", shared=False, **options)
    run_of(task, [()])()
    return found


def with_a_worker(folder: Path) -> tuple[float, int]:
    """Return the seconds that a million updates take in a real worker on Redis, and how many records they
    write.
    """
    with redis_server(folder) as url:
        conf = {
            "broker_url": f"{url}/0",
            "result_backend": f"{url}/1",
            "jobtastic_store": f"disk://{folder}/store",
        }
        made: dict[str, Any] = {"conf": conf, "journal": str(folder / "journal")}
        project = create_app(**made)
        log = folder / "worker.log"
        with worker(made, "prefork", log, concurrency=1):
            wait_until_ready(log)
            client = redis.Redis.from_url(url)
            client.config_resetstat()
            seconds = project.many_updates.delay("benchmark", UPDATES).get(timeout=120)
            stats = client.info("commandstats")
            # Which of the two Celery uses depends on the release of redis-py.
            records = sum(stats[name]["calls"] for name in ("cmdstat_set", "cmdstat_setex") if name in stats)
            client.close()
        close(project.app)
    return seconds, records


def measure() -> Findings:
    found = Findings()
    for title, options in {"with options": {"cache_duration": -1}, "without options": {}}.items():
        times = in_a_run(**options)
        found.tables[f"progress {title}"] = Table(f"one item, in a task {title}", "µs", times, TQDM)
        if options:
            found.lines += lines(times)
    start = time.perf_counter()
    for _ in range(UPDATES):
        pass
    bare = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        seconds, records = with_a_worker(Path(folder))
    found.notes.append(
        f"{UPDATES:,} updates in a worker with Redis: {seconds - bare:.2f} s more, {records} records"
    )
    return found


def lines(times: dict[str, float]) -> Iterator[Line]:
    loop = times["bare loop"]
    update, least = (
        (times[name] - loop) / (times["a bare call"] - loop) for name in ("update_progress", LEAST)
    )
    yield Line("progress", "a throttled update_progress", update, 6, "bare calls", least, LEAST)
    yield Line("progress", "track, for an item", times["track"] / times[TQDM], 0.5, "× tqdm")
