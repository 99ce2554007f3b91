"""What a call costs its caller, and a run its worker, beside plain Celery and beside other libraries.

Broker and result backend are one Redis, started here; the stores are that one and ``disk://`` in a temporary
folder. Printed are medians, and their ratio to plain Celery's.
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

CALLS = 10

Body = Callable[..., int]


def double(n: int, of: str = "x", year: int = 2026) -> int:
    return 2 * n


def make_app(url: str, name: str, store: str | None = None) -> Celery:
    app = Celery(name, broker=f"{url}/0", backend=f"{url}/1", set_as_current=False)
    app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": f"{url}/2"}}
    app.conf.singleton_backend_url = f"{url}/2"
    if store is not None:
        app.conf.jobtastic_store = store
        Jobtastic(app)
    return app


Calls = dict[str, Callable[[], Any]]


def make_task(app: Celery, name: str, **options: Any) -> Any:
    return app.task(name=name, shared=False, **options)(double)


def candidates(url: str, folder: Path) -> tuple[Calls, Calls]:
    """What to time: calls on the client, and runs (eager, so nothing but the run itself is timed)."""
    plain = make_app(url, "plain")
    fresh = itertools.count()
    without = make_task(plain, "without")
    peers = {
        "celery-once, first call": make_task(plain, "once", base=QueueOnce),
        "celery-singleton, first call": make_task(plain, "singleton", base=Singleton, lock_expiry=60),
        "celery-heimdall, first call": make_task(
            plain, "heimdall", base=HeimdallTask, heimdall={"unique": True, "unique_timeout": 60}
        ),
    }
    calls: Calls = {"plain Celery": lambda: without.delay(next(fresh))}
    runs: Calls = {"plain Celery": lambda: without.apply((next(fresh),))}
    for store in (f"disk://{folder}/store", f"{url}/3?timeout=5"):
        our_calls, our_runs = with_store(make_app(url, store, store), fresh)
        scheme = store.partition(":")[0]
        calls.update({f"{scheme}, {name}": call for name, call in our_calls.items()})
        runs.update({f"{scheme}, {name}": run for name, run in our_runs.items()})
    for name, peer in peers.items():
        calls[name] = lambda peer=peer: peer.delay(next(fresh))
    return calls, runs


def with_store(app: Celery, fresh: Iterator[int]) -> tuple[Calls, Calls]:
    """What to time of an app with the plugin."""
    untouched = make_task(app, "untouched")
    shared = make_task(app, "shared", herd_avoidance_timeout=60)
    cached = make_task(app, "cached", herd_avoidance_timeout=60, cache_duration=600)
    cached.apply((0,))
    shared.delay(0)
    calls: Calls = {
        "a task without options": lambda: untouched.delay(next(fresh)),
        "a task without options, delay_or_fail": lambda: delay_or_fail(untouched, next(fresh)),
        "first call": lambda: cached.delay(next(fresh)),
        "first call, delay_or_fail": lambda: cached.delay_or_fail(next(fresh)),
        "second call, latched on the run": lambda: shared.delay(0),
        "later call, answered from the cache": lambda: cached.delay(0),
    }
    runs: Calls = {
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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis that keeps nothing, on a free port; its URL."""
    port = free_port()
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
