"""``memcached://``: claims and results in Memcached, for all hosts that use the same servers.

One item holds the entry of a key. Each decision is a loop: read the item, decide, and write it if nobody else
has done so meanwhile (``gets`` and ``cas``). A payload too large for that lies in items of its own. Items are
bytes and JSON, never pickles.

Memcached keeps nothing for sure. Under memory pressure it drops what was not used for long, *claims too*, and
a restart drops everything. Then a call runs that need not have run. No call waits for a result that never
comes. If such a run costs too much, use a store that keeps claims.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote, urlsplit

from ...errors import SettingError, StoreError
from ...support.redaction import redacted_repr
from ...support.shown import shown
from ..cas import CompareAndSwapStore, Decision, Pieces
from ..entry import Entry
from ..numbers import positive
from ..records import is_identity, warn_of_unreadable
from .servers import Address, Server

__all__ = ["MemcachedStore"]

T = TypeVar("T")

_KEYS = "jobtastic-key-"
_PIECES = "jobtastic-piece-"
_IDENTITY = "jobtastic-identity"

#: What counts as seconds from now for Memcached; beyond that it is a Unix time, which ends in 2038.
_RELATIVE, _ABSOLUTE = 30 * 86400, 2**31 - 1

#: Seconds by which pieces are written before their entry at most: they must not end first.
_EARLIER = 60.0

#: Keys whose entries are read at once.
_BATCH = 50


class MemcachedStore(CompareAndSwapStore):
    """One or more Memcached servers.

    Of several, each has a part of the keys, and all callers and workers have to name the same. A server
    that does not answer is an error for its keys: if another took them over, as most clients let it, two
    owners could have one claim as soon as it is back.

    :param url: ``memcached://host:port``, ``memcached://a:11211,b:11211`` or ``memcached:///path/to/socket``.
    :param timeout: seconds for connecting, for each answer, and for all attempts at a decision while others
        are faster.
    """

    schemes: ClassVar[tuple[str, ...]] = ("memcached",)
    inline_size: ClassVar[int] = 500_000

    def __init__(self, url: str, *, timeout: float = 0.25, **options: Any) -> None:
        super().__init__(url, **options)
        self._timeout = positive("timeout", timeout)
        self._servers = [Server(address, timeout) for address in _addresses(url)]

    @property
    def identity(self) -> str:
        texts = []
        for server in self._servers:
            with server.client() as client:
                client.add(_IDENTITY, uuid.uuid4().hex.encode())
                if not is_identity(found := client.get(_IDENTITY)) and found is not None:
                    client.set(_IDENTITY, uuid.uuid4().hex.encode())
                    found = client.get(_IDENTITY)
            if not is_identity(found):
                raise StoreError(f"{server.name} keeps nothing")
            texts.append(found.decode())
        if len(texts) == 1:
            return f"memcached:{texts[0]}"
        # Which of them has a key depends on how they are named.
        named = sorted(f"{server.name} {text}" for server, text in zip(self._servers, texts, strict=True))
        return f"memcached:{hashlib.blake2b(str(named).encode(), digest_size=16).hexdigest()}"

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def read(self, key: str) -> Entry:
        name = _name(key)
        with self._server_of(name).client() as client:
            return self._opened(name, client.get(name))[1]

    def exchange(self, key: str, decide: Decision[T]) -> T:
        name, give_up = _name(key), time.monotonic() + self._timeout
        with self._server_of(name).client() as client:
            while True:
                value, version = client.gets(name)
                before, now = self._opened(name, value)[1], self._clock()
                answer, after = decide(before, now)
                if after == before or self._swap(client, name, key, after, version, now):
                    return answer
                if time.monotonic() > give_up:
                    raise StoreError(f"for {self._timeout} s others were faster to change {shown(key)}")

    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        for server in self._servers:
            names = server.names(_KEYS)
            for start in range(0, len(names), _BATCH):
                with server.client() as client:
                    found = client.get_many(names[start : start + _BATCH])
                for name, value in found.items():
                    key, entry = self._opened(name, value)
                    if entry and key.startswith(prefix):
                        yield key, entry

    def read_pieces(self, pieces: Pieces) -> list[bytes] | None:
        names = [_PIECES + name for name in pieces.names]
        with self._server_of(pieces.name).client() as client:
            found = client.get_many(names)
        return [found[name] for name in names] if len(found) == len(names) else None

    def write_pieces(self, pieces: Pieces, contents: list[bytes], seconds: float | None) -> None:
        expire = _expire(None if seconds is None else seconds + _EARLIER)
        with self._server_of(pieces.name).client() as client:
            for name, content in zip(pieces.names, contents, strict=True):
                client.set(_PIECES + name, content, expire=expire)

    def drop_pieces(self, pieces: Pieces) -> None:
        with suppress(StoreError), self._server_of(pieces.name).client() as client:
            client.delete_many([_PIECES + name for name in pieces.names])

    def _swap(
        self, client: Any, name: str, key: str, entry: Entry, version: bytes | None, now: float
    ) -> bool:
        """Store *entry* if the item is still the one of *version*, which is ``None`` if there was none."""
        if not entry:
            # A delete would hit whatever is there by now. A version that expires at once hits only its own.
            return version is None or bool(client.cas(name, b"", version, expire=-1))
        value = json.dumps(key).encode() + b"\n" + self.dump(entry)
        expire = _expire(entry.seconds_left(now))
        if version is None:
            return bool(client.add(name, value, expire=expire))
        return bool(client.cas(name, value, version, expire=expire))

    def _opened(self, name: str, value: bytes | None) -> tuple[str, Entry]:
        """Return the key and the entry that an item holds."""
        if value is None:
            return "", Entry()
        head, _, record = value.partition(b"\n")
        try:
            key = json.loads(head)
            if not isinstance(key, str) or _name(key) != name:
                raise ValueError("it is not of this key")
        except (ValueError, RecursionError) as error:
            warn_of_unreadable(self.url, name, value, error)
            return "", Entry()
        return key, self.load(key, record)

    def _server_of(self, name: str) -> Server:
        if len(self._servers) == 1:
            return self._servers[0]
        # The highest of all has it (rendezvous hashing): in whatever order they are named, and so that
        # another server takes from each of the others only what will be its own.
        return max(
            self._servers,
            key=lambda server: hashlib.blake2b(f"{server.name} {name}".encode(), digest_size=8).digest(),
        )


def _name(key: str) -> str:
    # Memcached takes 250 bytes without blanks.
    return _KEYS + hashlib.blake2b(key.encode(), digest_size=20).hexdigest()


def _expire(seconds: float | None) -> int:
    """Return *seconds* from now in the terms of Memcached; ``None`` is for ever."""
    if seconds is None:
        return 0
    # Memcached counts whole seconds, and may be about to count the next.
    whole = math.ceil(max(seconds, 0)) + 1
    if whole <= _RELATIVE:
        return whole
    end = int(time.time()) + whole
    return end if end <= _ABSOLUTE else 0


def _addresses(url: str) -> list[Address]:
    places = url.partition("://")[2]
    if places.startswith("/"):
        return [unquote(places)]
    if "@" in places:
        raise SettingError("jobtastic_store=memcached://... takes no user and no password")
    try:
        # Twice the same server would list its entries twice.
        return list(dict.fromkeys(_address(text) for text in places.rstrip("/").split(",")))
    except ValueError:
        # Its text can quote a password.
        raise SettingError(
            f"jobtastic_store={redacted_repr(url)} names no servers; write memcached://host:11211, "
            "memcached://one:11211,other:11211 or memcached:///path/to/socket"
        ) from None


def _address(text: str) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError("a host and a port are needed")
    return parts.hostname, parts.port or 11211
