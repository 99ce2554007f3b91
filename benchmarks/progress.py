"""What it costs a running task to say how far it is, beside tqdm and a bare loop, and with a real worker."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery
from celery.app.trace import build_tracer
from tqdm import tqdm

from jobtastic_signals import Jobtastic, track, update_progress

from .rounds import medians

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
    """Microseconds for one item of each, in a run of a task with options."""
    what = {"bare loop": bare_loop, "update_progress": updates, "track": tracked, "tqdm": by_tqdm}
    return {name: time / ITEMS for name, time in medians(what, calls=1, rounds=30).items()}


def in_a_run(**options: object) -> dict[str, float]:
    """What :func:`measure` says in a run as a worker makes it, here; without options if there are none."""
    app = make_app()
    found: dict[str, float] = {}

    def body() -> None:
        found.update(measure())

    task = app.task(body, name="progress.measure", shared=False, **options)
    build_tracer(task.name, app.tasks[task.name], app=app)("some-id", (), {}, {"id": "some-id"})
    return found


def with_a_worker(folder: Path) -> tuple[float, int]:
    """Seconds that a million updates take in a real worker on Redis, and the records that they write."""
    import redis

    from tests.workers.conftest import worker
    from tests.workers.project import close, create_app
    from tests.workers.servers import redis_server, wait_until

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
            wait_until(lambda: b" ready." in log.read_bytes(), timeout=60, what="the worker")
            client = redis.Redis.from_url(url)
            client.config_resetstat()
            seconds = project.many_updates.delay("benchmark", UPDATES).get(timeout=120)
            records = client.info("commandstats")["cmdstat_setex"]["calls"]
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
