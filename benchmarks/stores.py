"""What each store takes for the operations of a call and of a run.

This starts Redis and Memcached. Django's caches are on that Redis, and in SQLite.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import redis
from django.conf import settings
from django.core.management import call_command

from jobtastic_signals import Store
from jobtastic_signals.stores import open_store
from tests.support.servers import memcached, redis_server

from .rounds import ROUNDS, medians

CALLS = 5

PAYLOAD = b"42" * 50


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
    """Return what is timed of *store*. Each run finds the queued claim of its own call, as most runs do."""
    fresh, published = itertools.count(), itertools.count()
    store.complete("cached", "owner", None, PAYLOAD, ttl=None)
    for n in range(ROUNDS * CALLS):
        store.lookup_or_claim(f"run-{n}", "owner", 3600.0)

    def run() -> None:
        n = next(published)
        store.claim(f"run-{n}", "owner", "delivery", 30.0)
        store.complete(f"run-{n}", "owner", "delivery", PAYLOAD, ttl=60.0, index=f"index-{n}")

    return {
        "a first call": lambda: store.lookup_or_claim(f"key-{next(fresh)}", "owner", 30.0),
        "a call answered by a stored result": lambda: store.lookup_or_claim("cached", "other", 30.0),
        "a run, its result and its index": run,
    }


def main() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis_url = stack.enter_context(redis_server(Path(folder)))
        memcached_url, _ = stack.enter_context(memcached(Path(folder)))
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
            candidates: dict[str, Callable[[], Any]] = {"redis-py, GET": lambda: client.get("key")}
            for name, url in urls.items():
                for operation, call in operations(open_store(url)).items():
                    candidates[f"{name}, {operation}"] = call
            times = medians(candidates, calls=CALLS)
    load = os.getloadavg()[0]
    print(
        f"Python {sys.version.split()[0]}, load {load:.1f}, microseconds, medians, and their ratio to a GET"
    )
    for name, microseconds in times.items():
        print(f"  {name:52} {microseconds:8.0f} {microseconds / times['redis-py, GET']:7.2f}")


if __name__ == "__main__":
    main()
