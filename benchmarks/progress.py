"""What it costs a run to report its progress, compared with tqdm and a bare loop, and in a real worker."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import redis
from celery import Celery
from tqdm import tqdm

from jobtastic_signals import Jobtastic, track, update_progress
from tests.support.servers import redis_server
from tests.support.workers.project import close, create_app
from tests.support.workers.projects import wait_until_ready, worker

from .rounds import medians
from .runs import run_of

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


def measure() -> dict[str, float]:
    """Return the microseconds that each way takes for one item."""
    what = {"bare loop": bare_loop, "update_progress": updates, "track": tracked, "tqdm": by_tqdm}
    return {name: time / ITEMS for name, time in medians(what, calls=1, rounds=30).items()}


def in_a_run(**options: object) -> dict[str, float]:
    """Return what :func:`measure` finds in a run of a task with these options, as a worker makes it."""
    app = make_app()
    found: dict[str, float] = {}

    def body() -> None:
        found.update(measure())

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
        made = {"conf": conf, "journal": str(folder / "journal")}
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


def main() -> None:
    print(f"Python {sys.version.split()[0]}, microseconds for an item, medians")
    for title, options in {"with options": {"cache_duration": -1}, "without options": {}}.items():
        found = in_a_run(**options)
        print(f"\nin a task {title}")
        for name, microseconds in found.items():
            print(f"  {name:16} {microseconds:6.3f}")
        print(f"  update_progress, without the loop: {found['update_progress'] - found['bare loop']:.3f}")
        print(f"  track is {found['track'] / found['tqdm']:.2f} of tqdm")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for _ in range(UPDATES):
            pass
        bare = time.perf_counter() - start
        seconds, records = with_a_worker(Path(folder))
    print(f"\n{UPDATES} updates in a worker with Redis: {seconds - bare:.2f} s more, {records} records")


if __name__ == "__main__":
    main()
