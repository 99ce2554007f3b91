"""The project that each candidate has: the same tasks, with the base class or the options of that candidate.

A worker takes its candidate from the environment: ``celery -A benchmarks.project worker``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.signals import worker_process_init

from tests.support.servers import running, wait_until

__all__ = [
    "CANDIDATES",
    "HOLDING",
    "PLAIN",
    "RUN_SECONDS",
    "TWIN",
    "WITHOUT",
    "Project",
    "redis_options",
    "worker",
]

PLAIN, WITHOUT = "plain Celery", "ours, without options"

#: The same project as plain Celery. That the two differ is by chance.
TWIN = "plain Celery, again"

#: Plain Celery, and in each child what the disk store cannot do without.
HOLDING = "plain Celery, with two SQLite databases and a thread"

#: Each has a database of the Redis for its messages, one for its results and one for its locks.
CANDIDATES = (
    PLAIN,
    WITHOUT,
    "ours, Redis store",
    "ours, disk store",
    "celery-singleton",
    "celery-once",
    "celery-heimdall",
    TWIN,
    HOLDING,
)

redis_options = ("--databases", str(3 * len(CANDIDATES) + 10))

#: How long the body of the slow task takes.
RUN_SECONDS = 1.0


@dataclass(frozen=True)
class Project:
    """How the app of a candidate is made, in any process."""

    candidate: str
    redis_url: str
    folder: str

    def url(self, number: int) -> str:
        """Return the URL of one of the three databases: for messages, results and locks."""
        return f"{self.redis_url}/{3 * CANDIDATES.index(self.candidate) + number}"

    @property
    def store(self) -> str:
        return f"disk://{self.folder}/store" if "disk" in self.candidate else f"{self.url(2)}?timeout=5"

    def client(self, number: int) -> redis.Redis:
        return redis.Redis.from_url(self.url(number))

    def make_app(self) -> Celery:
        """Return a new app with the tasks ``double`` and ``slow``."""
        app = Celery("benchmark", broker=self.url(0), backend=self.url(1), set_as_current=False)
        app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": self.url(2)}}
        app.conf.update(singleton_backend_url=self.url(2), jobtastic_store=self.store)
        if self.candidate.startswith("ours"):
            from jobtastic_signals import Jobtastic  # Only here, because its import is measured.

            Jobtastic(app)
        if self.candidate == HOLDING:
            _hold_in_children(self.folder)
        # A call, and its own run, would otherwise wait a second for the lock that the call has taken.
        app.conf.heimdall_unique_lock_blocking = False
        options = _options(self.candidate)
        app.task(name="double", shared=False, **options)(double)
        app.task(name="slow", bind=True, shared=False, **options)(slow)
        return app


def double(n: int, of: str = "x", year: int = 2026) -> int:
    return 2 * n


def slow(self: Any, n: int) -> int:
    self.backend.client.incr(f"runs-{n}")
    time.sleep(RUN_SECONDS)
    return 2 * n


def _hold_in_children(folder: str) -> None:
    import diskcache  # Only here, because a worker's memory is measured.

    held: list[Any] = []

    def hold(**_: Any) -> None:
        for name in ("held results", "held claims"):
            cache = diskcache.Cache(f"{folder}/{name}")
            cache.set("key", b"value")
            cache.get("key")
            held.append(cache)
        held.append(threading.Thread(target=threading.Event().wait, daemon=True))
        held[-1].start()

    worker_process_init.connect(hold, weak=False)


def _options(candidate: str) -> dict[str, Any]:
    # Each library only where it is used, because a worker's memory is measured.
    if candidate in ("ours, Redis store", "ours, disk store"):
        return {"herd_avoidance_timeout": 60, "cache_duration": 600}
    if candidate == "celery-singleton":
        from celery_singleton import Singleton

        return {"base": Singleton, "lock_expiry": 60}
    if candidate == "celery-once":
        from celery_once import QueueOnce

        return {"base": QueueOnce, "once": {"graceful": True}}
    if candidate == "celery-heimdall":
        from celery_heimdall import HeimdallTask

        return {"base": HeimdallTask, "heimdall": {"unique": True, "unique_timeout": 60}}
    return {}


@contextmanager
def worker(project: Project, *, concurrency: int = 2) -> Iterator[int]:
    """Run a prefork worker on *project*; yield the id of its main process."""
    log = Path(project.folder) / f"{project.candidate.replace(' ', '-')}.log"
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.project", "worker", "--pool=prefork"]
    command += [f"--concurrency={concurrency}", "--loglevel=WARNING", "--hostname", f"{os.getpid()}@%h"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    env = {"BENCHMARKED": json.dumps(asdict(project)), "C_FORCE_ROOT": "1"}
    with running(command, log, env) as process:
        app = project.make_app()
        wait_until(lambda: app.control.ping(timeout=0.2), what=f"the worker of {project.candidate}")
        app.close()
        yield process.pid


if "BENCHMARKED" in os.environ:
    app = Project(**json.loads(os.environ["BENCHMARKED"])).make_app()
