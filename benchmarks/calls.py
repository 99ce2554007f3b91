"""What a call costs its caller and a run its worker, compared with plain Celery and with other libraries.

This starts a Redis, which is broker, result backend and one of the stores. The other store is ``disk://`` in
a temporary folder. The output shows medians, and their ratios to plain Celery.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from celery_heimdall import HeimdallTask
from celery_once import QueueOnce
from celery_singleton import Singleton
from rich.console import Console
from rich.table import Table

from jobtastic_signals import Jobtastic, delay_or_fail
from tests.support.servers import redis_server

from .rounds import medians
from .runs import run_of

CALLS = 10

Calls = dict[str, Callable[[], Any]]


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


def make_task(app: Celery, name: str, **options: Any) -> Any:
    return app.task(name=name, shared=False, **options)(double)


def candidates(url: str, folder: Path) -> tuple[Calls, Calls]:
    """Return what is timed: calls on the client, and runs as a worker makes them."""
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
    runs: Calls = {"plain Celery": run_of(without, zip(fresh))}
    for store in (f"disk://{folder}/store", f"{url}/3?timeout=5"):
        our_calls, our_runs = with_store(make_app(url, store, store), fresh)
        scheme = store.partition(":")[0]
        calls.update({f"{scheme}, {name}": call for name, call in our_calls.items()})
        runs.update({f"{scheme}, {name}": run for name, run in our_runs.items()})
    for name, peer in peers.items():
        calls[name] = lambda peer=peer: peer.delay(next(fresh))
    return calls, runs


def with_store(app: Celery, fresh: Iterator[int]) -> tuple[Calls, Calls]:
    """Return the calls and runs of an app with the plugin."""
    untouched = make_task(app, "untouched")
    shared = make_task(app, "shared", herd_avoidance_timeout=60)
    cached = make_task(app, "cached", herd_avoidance_timeout=60, cache_duration=600)
    again = run_of(cached, itertools.repeat((0,)))
    again()
    shared.delay(0)
    calls: Calls = {
        "a task without options": lambda: untouched.delay(next(fresh)),
        "a task without options, delay_or_fail": lambda: delay_or_fail(untouched, next(fresh)),
        "first call": lambda: cached.delay(next(fresh)),
        "first call, delay_or_fail": lambda: cached.delay_or_fail(next(fresh)),
        "second call, joins the run": lambda: shared.delay(0),
        "later call, answered by the stored result": lambda: cached.delay(0),
    }
    runs: Calls = {
        "a task without options": run_of(untouched, zip(fresh)),
        "a run that claims": run_of(shared, zip(fresh)),
        "a run that claims, and stores its result": run_of(cached, zip(fresh)),
        "a run that is served": again,
    }
    return calls, runs


def show(console: Console, title: str, times: dict[str, float]) -> None:
    table = Table("", "µs", "ratio", title=title)
    for name, median in times.items():
        table.add_row(name, f"{median:.0f}", f"{median / times['plain Celery']:.2f}")
    console.print(table)


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        calls, runs = candidates(url, Path(folder))
        console.print(f"load {os.getloadavg()[0]:.1f}")
        show(console, "a call, for its caller", medians(calls, calls=CALLS))
        show(console, "a run, for its worker", medians(runs, calls=CALLS))


if __name__ == "__main__":
    main()
