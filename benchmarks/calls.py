"""What a call costs its caller, and a run its worker, beside plain Celery and beside other libraries.

Broker and result backend are one Redis, started here; the store is ``disk://`` in a temporary folder. Printed
are medians, and their ratio to plain Celery's.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery_heimdall import HeimdallTask
from celery_once import QueueOnce
from celery_singleton import Singleton
from rich.console import Console
from rich.table import Table

from jobtastic_signals import Jobtastic, delay_or_fail

from .rounds import medians

CALLS = 50

Body = Callable[..., int]


def double(n: int, of: str = "x", year: int = 2026) -> int:
    return 2 * n


def make_app(url: str, folder: Path, name: str, *, plugin: bool) -> Celery:
    app = Celery(name, broker=f"{url}/0", backend=f"{url}/1", set_as_current=False)
    app.conf.jobtastic_store = f"disk://{folder}/store"
    app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": f"{url}/2"}}
    app.conf.singleton_backend_url = f"{url}/2"
    if plugin:
        Jobtastic(app)
    return app


def candidates(url: str, folder: Path) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Any]]]:
    """What to time: calls on the client, and runs (eager, so nothing but the run itself is timed)."""
    plain, ours = (make_app(url, folder, name, plugin=name == "ours") for name in ("plain", "ours"))
    fresh = itertools.count()

    def task(app: Celery, name: str, **options: Any) -> Any:
        return app.task(name=name, shared=False, **options)(double)

    without = task(plain, "without")
    untouched = task(ours, "untouched")
    shared = task(ours, "shared", herd_avoidance_timeout=60)
    cached = task(ours, "cached", herd_avoidance_timeout=60, cache_duration=600)
    peers = {
        "celery-once, first call": task(plain, "once", base=QueueOnce),
        "celery-singleton, first call": task(plain, "singleton", base=Singleton, lock_expiry=60),
        "celery-heimdall, first call": task(
            plain, "heimdall", base=HeimdallTask, heimdall={"unique": True, "unique_timeout": 60}
        ),
    }
    cached.apply((0,))
    shared.delay(0)
    calls: dict[str, Callable[[], Any]] = {
        "plain Celery": lambda: without.delay(next(fresh)),
        "a task without options": lambda: untouched.delay(next(fresh)),
        "a task without options, delay_or_fail": lambda: delay_or_fail(untouched, next(fresh)),
        "first call": lambda: shared.delay(next(fresh)),
        "first call, delay_or_fail": lambda: shared.delay_or_fail(next(fresh)),
        "second call, latched on the run": lambda: shared.delay(0),
        "later call, answered from the cache": lambda: cached.delay(0),
    }
    for name, peer in peers.items():
        calls[name] = lambda peer=peer: peer.delay(next(fresh))
    runs: dict[str, Callable[[], Any]] = {
        "plain Celery": lambda: without.apply((next(fresh),)),
        "a task without options": lambda: untouched.apply((next(fresh),)),
        "a run with a claim": lambda: shared.apply((next(fresh),)),
        "a run whose result is stored": lambda: cached.apply((next(fresh),)),
        "a run that is served": lambda: cached.apply((0,)),
    }
    return calls, runs


def show(console: Console, title: str, times: dict[str, float]) -> None:
    table = Table("", "µs", "ratio", title=title)
    for name, median in times.items():
        table.add_row(name, f"{median:.0f}", f"{median / times['plain Celery']:.2f}")
    console.print(table)


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis that keeps nothing, on a free port; its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"redis://127.0.0.1:{port}"
        with redis.Redis.from_url(url) as client:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.01)
        yield url
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as folder, redis_server() as url:
        calls, runs = candidates(url, Path(folder))
        show(console, "a call, for its caller", medians(calls, calls=CALLS))
        show(console, "a run, for its worker", medians(runs, calls=CALLS))


if __name__ == "__main__":
    main()
