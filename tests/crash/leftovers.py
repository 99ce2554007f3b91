"""What is left in the broker and in the store in the end."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path

from jobtastic_signals.stores import REMEMBERED_FOR
from jobtastic_signals.stores.guard import GuardedStore

from .project import Project
from .servers import Redis, wait_until

__all__ = ["await_nothing_left", "ids_in", "messages_in"]


def messages_in(broker: Redis, queue: str) -> int:
    """Return how many messages a broker has, acknowledged ones excepted."""
    with broker.client() as client:
        return int(client.llen(queue) + client.hlen("unacked"))


def await_nothing_left(project: Project, redis: Redis | None, folder: Path | None) -> None:
    """Return when no claim is live. Whatever else is there has an end.

    :param redis: the server of the store, if it has one.
    :param folder: where it is, if it is a folder.
    :raises AssertionError: if there is more than that.
    """

    def live_claims() -> list[str]:
        entries = list(project.store.entries())
        return [f"{key}: {entry}" for key, entry in entries if entry.claim is not None]

    lease = project.setup.lease
    # All that is live now lapses within a lease, if nobody renews it.
    wait_until(lambda: not live_claims(), "no live claims", patience=10 * lease)
    # It may not have been asked for anything since it is back, so nothing was found.
    wait_until(lambda: _writes(project.store), "the store being back")
    wait_until(lambda: not live_claims(), "no live claims", patience=10 * lease)
    lifetimes = _lifetimes_in_redis(redis) if redis is not None else _lifetimes_in(folder)
    for name, seconds in lifetimes:
        if name.rpartition("jobtastic:")[2].startswith("v1:"):
            assert seconds is not None, f"{name} stays for ever"
            assert seconds <= REMEMBERED_FOR + lease, f"{name} stays for {seconds} s"


def _writes(store: GuardedStore) -> bool:
    """Whether *store* is up, after a write: one that failed to write is down until it writes again."""
    store.lookup_or_claim("probe", "the harness", 1)
    store.forget("probe")
    return not store.is_down


def _lifetimes_in_redis(server: Redis) -> list[tuple[str, float | None]]:
    """Return what the storage has, with the seconds for which it stays; ``None`` for ever."""
    with server.client() as client:
        left = [(key.decode(), client.pttl(key)) for key in client.scan_iter()]
    # -1 is for ever, and -2 is a key that has ended since.
    return [(name, None if each == -1 else each / 1000) for name, each in left if each != -2]


def _lifetimes_in(folder: Path | None) -> list[tuple[str, float | None]]:
    found: list[tuple[str, float | None]] = []
    for part in ("claims", "results") if folder is not None else ():
        database = sqlite3.connect(Path(str(folder)) / part / "cache.db")
        with contextlib.closing(database):
            rows = database.execute("SELECT key, expire_time FROM Cache").fetchall()
        found += [(str(name), ends and ends - time.time()) for name, ends in rows]
    return found


def ids_in(broker: Redis, queue: str) -> list[str]:
    with broker.client() as client:
        ids = [json.loads(each)["headers"]["id"] for each in client.lrange(queue, 0, -1)]
        return ids + [json.loads(each)[0]["headers"]["id"] for each in client.hvals("unacked")]
