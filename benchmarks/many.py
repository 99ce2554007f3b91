"""What a million stored results change: a hit, the size of the folder, and the end of all of them at once.

The store writes one result itself. Copies of it are then written under other keys, by SQL and by a script of
Redis, because a million calls would take half an hour.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from jobtastic_signals import Jobtastic
from jobtastic_signals.installation import required_sharing_of
from jobtastic_signals.stores import open_store
from tests.support.servers import redis_server

from .bare import sqlite_expiring
from .project import double
from .report import Findings, Line, Table
from .rounds import medians
from .runs import run_of

FEW, MANY = 1_000, 1_000_000

#: The calls that are made, of all that have a result. The others have keys that look the same.
CALLED = 20_000

EXPIRED = 200_000

#: Bytes that results may take where the folder is to stay within its limit.
SIZE_LIMIT = 100_000_000

#: What a cached value has in a store that is filled to its limit, and how many are stored.
PAYLOAD, STORED = b"x" * 30_000, 6_000

STORES = ("disk store", "Redis store")
BARE = "the same rows and writes in bare SQLite"

#: Copy one value under other names. The first argument is its milliseconds, or '0' for those of the first.
_COPY = """
local value, left = redis.call('GET', KEYS[1]), tonumber(ARGV[1])
left = left > 0 and left or redis.call('PTTL', KEYS[1])
for number = 2, #ARGV do redis.call('SET', ARGV[number], value, 'PX', left) end
"""


class Filled:
    """A store with that many results, and the task whose calls they answer."""

    def __init__(self, store: str, backend: str, results: int) -> None:
        self.app = Celery("many", broker="memory://", backend=backend, set_as_current=False)
        self.app.conf.jobtastic_store = store
        Jobtastic(self.app)
        self.app.task(name="double", shared=False, cache_duration=3600)(double)
        self.task = self.app.tasks["double"]
        self.called = min(CALLED, results)
        run_of(self.task, [(0,)])()
        keys = itertools.islice(self._keys(), 1, results)
        if store.startswith("disk"):
            fill_disk(Path(store.removeprefix("disk://")), self.key(0), keys)
        else:
            fill_redis(store, self.key(0), keys)

    def key(self, n: int) -> str:
        _, policy = required_sharing_of(self.task)
        return policy.keys.key(self.task, (n,), {})

    def _keys(self) -> Iterator[str]:
        """Yield the keys of all calls that are made, and then of others."""
        prefix, _, digest = self.key(0).rpartition(":")
        yield from map(self.key, range(self.called))
        while True:
            yield f"{prefix}:{random.getrandbits(4 * len(digest)):0{len(digest)}x}"

    def hit(self) -> Any:
        return self.task.delay(random.randrange(self.called))


def fill_disk(folder: Path, key: str, keys: Iterator[str], expire_time: float | None = None) -> None:
    """Copy the result of *key* under *keys*, whatever its other columns are."""
    with closing(sqlite3.connect(folder / "results" / "cache.db", timeout=60)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(Cache)")]
        others = [name for name in columns if name not in ("rowid", "key")]
        values = ["?" if name == "expire_time" and expire_time is not None else name for name in others]
        database.execute("CREATE TEMP TABLE names (name TEXT)")
        database.executemany("INSERT INTO names VALUES (?)", ((each,) for each in keys))
        database.execute(
            f"INSERT INTO Cache (key, {', '.join(others)}) SELECT name, {', '.join(values)} "
            "FROM names, Cache WHERE key = ?",
            (key,) if expire_time is None else (expire_time, key),
        )
        database.commit()
        # Otherwise the first checkpoint of what is timed would write all of this to the disk.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_redis(url: str, key: str, keys: Iterator[str], milliseconds: int = 0) -> None:
    """Copy what the store has under *key*, with the name that it gives it, under *keys*."""
    with redis.Redis.from_url(url.partition("?")[0]) as client:
        (name,) = client.scan_iter(f"*{key}", count=10_000)
        kind, copy = name.decode().removesuffix(key), client.register_script(_COPY)
        while batch := list(itertools.islice(keys, 1000)):
            copy([name], [milliseconds, *(kind + each for each in batch)])


def hits(url: str, folder: Path) -> dict[str, float]:
    """Return the microseconds of a hit in each store, with few and with many results."""
    calls: dict[str, Callable[[], Any]] = {}
    for database, (store, results) in enumerate(itertools.product(STORES, (FEW, MANY)), start=1):
        place = f"disk://{folder}/{results}" if store == STORES[0] else f"{url}/{database}?timeout=5"
        calls[f"{store}, {results:,} results"] = Filled(place, f"{url}/0", results).hit
    for call in calls.values():
        for _ in range(CALLED // 10):  # Most of what is called is in the memory of the system.
            call()
    return medians(calls, calls=20, rounds=60)


def longest_while_expiring(url: str, folder: Path) -> dict[str, float]:
    """Return the milliseconds of the longest operation while each store removes what has expired."""
    expiring = (f"expired-{n}" for n in range(EXPIRED)), (f"expired-{n}" for n in range(EXPIRED))
    disk, server = f"disk://{folder}/expiring", f"{url}/9?timeout=5"
    for store in (disk, server):
        open_store(store).complete("first", "owner", None, PAYLOAD[:200], ttl=600.0)
    fill_disk(folder / "expiring", "first", expiring[0], time.time() - 1)
    fill_redis(server, "first", expiring[1], 2_000)
    bare = sqlite_expiring(folder / "bare", EXPIRED, PAYLOAD[:200])
    return {STORES[0]: longest(*run_in(disk)), BARE: longest(*bare), STORES[1]: longest(*run_in(server))}


def run_in(url: str) -> tuple[Callable[[], object], ...]:
    """Return the operations of a run and of a hit."""
    store, claimed, completed = open_store(url), itertools.count(), itertools.count()
    store.lookup("first")  # It opens the store.
    return (
        lambda: store.claim(f"run-{next(claimed)}", "owner", "delivery", 30.0),
        lambda: store.complete(f"run-{next(completed)}", "owner", "delivery", PAYLOAD[:200], ttl=600.0),
        lambda: store.lookup("first"),
    )


def longest(*operations: Callable[[], object]) -> float:
    """Return the milliseconds of the longest operation, while they are made in turn for five seconds."""
    worst, ends = 0.0, time.monotonic() + 5
    while time.monotonic() < ends:
        for operation in operations:
            start = time.perf_counter()
            operation()
            worst = max(worst, time.perf_counter() - start)
    return worst * 1e3


def share_of_limit(folder: Path) -> float:
    """Return the bytes of a folder that got twice what it may keep, as a share of that."""
    store = open_store(f"disk://{folder}/limited", size_limit=SIZE_LIMIT)
    for n in range(STORED):
        store.complete(f"key-{n}", "owner", None, PAYLOAD, ttl=600.0)
    return sum(path.stat().st_size for path in (folder / "limited").rglob("*") if path.is_file()) / SIZE_LIMIT


def measure() -> Findings:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(redis_server(folder))
        times, longest = hits(url, folder), longest_while_expiring(url, folder)
        share = share_of_limit(folder)
    return Findings(
        [
            *lines(times, longest),
            Line("the folder of results", "filled twice over", share, 1, "of its limit"),
        ],
        {"many": Table("a hit, by the number of stored results", "µs", times)},
    )


def lines(times: dict[str, float], longest: dict[str, float]) -> Iterator[Line]:
    for store in STORES:
        ratio = times[f"{store}, {MANY:,} results"] / times[f"{store}, {FEW:,} results"]
        yield Line(f"a hit with {MANY:,} results", store, ratio, 1.2, f"× with {FEW:,}")
    for store in STORES:
        group = f"the longest operation while {EXPIRED:,} results expire"
        least, least_of = (longest[BARE], BARE) if store == STORES[0] else (None, "")
        yield Line(group, store, longest[store], 50, "ms", least, least_of, strictly=True)
