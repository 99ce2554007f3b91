"""What each store takes for the operations of a call and of a run.

This starts Redis and Memcached. Django's caches are on that Redis, and in SQLite.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import pymemcache
import redis
from django.conf import settings
from django.core.management import call_command

from jobtastic_signals import Store
from jobtastic_signals.stores import open_store
from tests.support.servers import memcached, redis_server

from .bare import sqlite_transaction
from .report import Findings, Table
from .rounds import medians

CALLS, ROUNDS = 5, 40

GET = "redis-py, GET"

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


def measure() -> Findings:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis_url = stack.enter_context(redis_server(folder))
        memcached_url, _ = stack.enter_context(memcached(folder))
        configure_django(f"{redis_url}/2", f"{folder}/db.sqlite")
        urls = {
            "memory": "memory://",
            "disk": f"disk://{folder}/store",
            "Redis": f"{redis_url}/1?timeout=5",
            "Memcached": f"{memcached_url}?timeout=5",
            "Django on Redis": "django://default?timeout=5",
            "Django on SQLite": "django://database?timeout=5",
        }
        candidates = drivers(redis_url, memcached_url, folder)
        for name, url in urls.items():
            for operation, call in operations(open_store(url)).items():
                candidates[f"{name}, {operation}"] = call
        times = medians(candidates, calls=CALLS, rounds=ROUNDS)
    return Findings(tables={"stores": Table("operations of each store", "µs", times, GET)})


def drivers(redis_url: str, memcached_url: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the smallest operation of what each store is built on."""
    client = redis.Redis.from_url(f"{redis_url}/3")
    memcache = pymemcache.Client(memcached_url.removeprefix("memcached://"))
    return {
        GET: lambda: client.get("key"),
        "pymemcache, get": lambda: memcache.get("key"),
        "sqlite3, a transaction": sqlite_transaction(folder),
    }
