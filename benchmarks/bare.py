"""The least that a program must do: one round trip to Redis, one read or transaction of SQLite."""

from __future__ import annotations

import itertools
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import diskcache

__all__ = [
    "redis_claim",
    "redis_count",
    "redis_get",
    "sqlite_expiring",
    "sqlite_select",
    "sqlite_transaction",
]


def _asking(url: str) -> Callable[..., bytes]:
    """Return what sends a command on a socket of its own and returns the raw answer."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port or 6379))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(*words: bytes) -> bytes:
        connection.sendall(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        )
        return connection.recv(65536)

    ask(b"SELECT", place.path.strip("/").encode() or b"0")
    return ask


def redis_claim(url: str) -> Callable[[], bytes]:
    """Return what claims a new name each time: ``SET name owner NX GET PX 30000``."""
    ask, fresh = _asking(url), itertools.count()
    return lambda: ask(b"SET", b"bare-%d" % next(fresh), b"owner" * 20, b"NX", b"GET", b"PX", b"30000")


def redis_get(url: str, name: bytes = b"bare") -> Callable[[], bytes]:
    """Return what reads one name."""
    ask = _asking(url)
    ask(b"SET", name, b"value" * 20)
    return lambda: ask(b"GET", name)


def redis_count(url: str) -> Callable[[], bytes]:
    """Return what adds one to a number."""
    ask = _asking(url)
    return lambda: ask(b"INCR", b"bare-count")


def _database(folder: Path, name: str = "bare.db") -> sqlite3.Connection:
    """Return a connection to a database with the settings that diskcache makes."""
    connection = sqlite3.connect(folder / name, isolation_level=None, timeout=30)
    for setting, value in diskcache.DEFAULT_SETTINGS.items():
        if setting.startswith("sqlite_"):
            connection.execute(f"PRAGMA {setting.removeprefix('sqlite_')} = {value}")
    connection.execute("CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, value BLOB)")
    return connection


def sqlite_select(folder: Path) -> Callable[[], object]:
    """Return what reads one row by its key."""
    connection = _database(folder)
    connection.execute("INSERT OR REPLACE INTO claims VALUES ('bare', ?)", (b"value" * 20,))
    return lambda: connection.execute("SELECT value FROM claims WHERE key = ?", ("bare",)).fetchone()


def sqlite_transaction(folder: Path) -> Callable[[], None]:
    """Return what writes one new row in a transaction that keeps other writers away."""
    connection, fresh = _database(folder), itertools.count()

    def write() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT OR REPLACE INTO claims VALUES (?, ?)", (f"{id(fresh)}-{next(fresh)}", b"owner" * 20)
        )
        connection.execute("COMMIT")

    return write


def sqlite_expiring(folder: Path, expired: int, payload: bytes) -> tuple[Callable[[], object], ...]:
    """Return what claims, what stores a result and removes ten that have expired, and what reads one.

    That many results have expired at the start. Claims and results have a database each.
    """
    folder.mkdir()
    claim, results, fresh = sqlite_transaction(folder), _database(folder, "results.db"), itertools.count()
    results.execute("CREATE TABLE results (key TEXT PRIMARY KEY, expires REAL, value BLOB)")
    results.execute("CREATE INDEX by_end ON results (expires)")
    rows = ((f"expired-{n}", time.time() - 1, payload) for n in range(expired))
    results.execute("BEGIN")
    results.executemany(
        "INSERT INTO results VALUES (?, ?, ?)", (("first", time.time() + 600, payload), *rows)
    )
    results.execute("COMMIT")
    results.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def complete() -> None:
        now = time.time()
        results.execute("BEGIN IMMEDIATE")
        results.execute("INSERT INTO results VALUES (?, ?, ?)", (f"run-{next(fresh)}", now + 600, payload))
        results.execute(
            "DELETE FROM results WHERE key IN "
            "(SELECT key FROM results WHERE expires < ? ORDER BY expires LIMIT 10)",
            (now,),
        )
        results.execute("COMMIT")

    def find() -> object:
        return results.execute("SELECT value FROM results WHERE key = 'first'").fetchone()

    return claim, complete, find
