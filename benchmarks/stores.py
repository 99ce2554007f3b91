"""What each store takes for what a call and a run ask of it.

Redis and Memcached are started here; Django's caches are on that Redis, and in SQLite.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import django
import redis
from django.conf import settings
from django.core.management import call_command
from pymemcache.client.base import Client

from jobtastic_signals import Store
from jobtastic_signals.stores import open_store

from .calls import free_port, redis_server
from .rounds import medians

CALLS = 5


@contextmanager
def memcached() -> Iterator[str]:
    """A Memcached on a free port; its URL."""
    port = free_port()
    user = ["-u", "nobody"]
    server = subprocess.Popen(["memcached", "-p", str(port), "-l", "127.0.0.1", *user])
    try:
        while True:
            try:
                Client(("127.0.0.1", port)).version()
                break
            except OSError:
                time.sleep(0.01)
        yield f"memcached://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def configure_django(redis_url: str, database: str) -> None:
    backends = "django.core.cache.backends"
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        CACHES={
            "default": {"BACKEND": f"{backends}.redis.RedisCache", "LOCATION": redis_url},
            "database": {
                "BACKEND": f"{backends}.db.DatabaseCache",
                "LOCATION": "cache",
                "OPTIONS": {"MAX_ENTRIES": 1_000_000},
            },
        },
    )
    django.setup()
    call_command("createcachetable")


def operations(store: Store) -> dict[str, Callable[[], Any]]:
    fresh = itertools.count()
    store.settle("cached", "owner", b"42" * 50, None)

    def first() -> None:
        store.ask(f"key-{next(fresh)}", "owner", 60.0)

    def run() -> None:
        key = f"run-{next(fresh)}"
        store.admit(key, "owner", 30.0)
        store.settle(key, "owner", b"42" * 50, 60.0)

    return {
        "a first call": first,
        "a call answered from the cache": lambda: store.ask("cached", "other", 60.0),
        "a run, and its result": run,
    }


def main() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis_url = stack.enter_context(redis_server())
        memcached_url = stack.enter_context(memcached())
        configure_django(f"{redis_url}/2", f"{folder}/db.sqlite")
        urls = {
            "memory": "memory://",
            "disk": f"disk://{folder}/store",
            "Redis": f"{redis_url}/1?timeout=5",
            "Memcached": f"{memcached_url}?timeout=5",
            "Django on Redis": "django://default?timeout=5",
            "Django on SQLite": "django://database?timeout=5",
        }
        with redis.Redis.from_url(f"{redis_url}/3") as client:
            what: dict[str, Callable[[], Any]] = {"redis-py, GET": lambda: client.get("key")}
            for name, url in urls.items():
                for operation, call in operations(open_store(url)).items():
                    what[f"{name}, {operation}"] = call
            times = medians(what, calls=CALLS)
    print(f"Python {sys.version.split()[0]}, microseconds, medians, and their ratio to a GET")
    for name, microseconds in times.items():
        print(f"  {name:48} {microseconds:8.0f} {microseconds / times['redis-py, GET']:7.2f}")


if __name__ == "__main__":
    main()
