"""Putting anything at all into a store, past the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import redis
from django.core.cache import caches

from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.django.buckets import _BUCKET, _number
from jobtastic_signals.stores.memcached.store import _name
from tests.support.stores.memcached_items import client_of

__all__ = ["Plant", "in_a_redis", "in_a_disk", "in_a_memcached", "in_a_django_cache"]

#: Puts bytes under a key of a store, as a stranger with access to the storage would.
Plant = Callable[[str, bytes], Any]


def in_a_disk(store: DiskStore) -> Plant:
    """Plant rows in both databases: as bytes, or as text that may be no UTF-8."""
    assert store.identity

    def plant(key: str, value: bytes) -> None:
        for cache in ("claims", "results"):
            with (
                closing(sqlite3.connect(store.folder / cache / "cache.db", timeout=30)) as database,
                database,
            ):
                database.execute("DELETE FROM Cache WHERE key = ?", (key,))
                shown = "CAST(? AS TEXT)" if value[:1] == b"t" else "?"
                database.execute(
                    f"INSERT INTO Cache(key, raw, mode, value) VALUES (?, 1, 1, {shown})", (key, value)
                )

    return plant


def in_a_redis(url: str) -> Plant:
    """Plant a string; now and then a value of another type."""
    client = redis.Redis.from_url(url)

    def plant(key: str, value: bytes) -> None:
        name = b"jobtastic:" + key.encode()
        client.delete(name)
        others = {
            b"l": client.rpush,
            b"s": client.sadd,
            b"h": lambda name, value: client.hset(name, value, value),
        }
        others.get(value[:1], client.set)(name, value)

    return plant


def in_a_memcached(url: str) -> Plant:
    """Plant an item, half of the time behind the right key."""

    def plant(key: str, value: bytes) -> None:
        head = b"" if value[:1] == b"h" else b'"%b"\n' % key.encode()
        with client_of(url) as client:
            client.set(_name(key), head + value)

    return plant


def in_a_django_cache(alias: str) -> Plant:
    """Plant a bucket: bytes, text, or JSON with the value as the record of the key."""

    def plant(key: str, value: bytes) -> None:
        bucket, text = _BUCKET.format(_number(key)), value.decode("latin-1")
        shapes: dict[bytes, Any] = {b"b": value, b"t": text, b"l": [text], b"n": {key: [None, text]}}
        caches[alias].set(bucket, shapes.get(value[:1], json.dumps({key: [None, text]})))

    return plant
