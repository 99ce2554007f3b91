"""``redis://`` and its kin: a Redis or Valkey server for many hosts, also with sentinels or as a cluster.

Each operation is one script, so it is atomic, and one round trip. A key is one string, which lives for as
long as something in it is of use. The time is the server's, so hosts need not agree on it. What a server
with a ``maxmemory-policy`` evicts is lost: a claim, and a call runs twice; a result, and it runs again.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, ClassVar

from redis.exceptions import NoScriptError, ResponseError

from ...errors import StoreError
from ..base import Claim, Result, Store
from ..records import warn_of_unreadable
from .commands import Script, pack
from .lua import UNREADABLE
from .scripts import (
    CLAIM,
    COMPLETE,
    DROP,
    FORGET,
    IDENTIFY,
    INDEX,
    LOOKUP,
    LOOKUP_OR_CLAIM,
    RELEASE,
    RENEW,
)
from .servers import Server, Servers
from .urls import SCHEMES, opener
from .words import decoded, encoded, flag, found, hold, number, optional

__all__ = ["RedisStore"]


class RedisStore(Store):
    """A database of a Redis server, or a cluster.

    :param url: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for TLS, ``unix:///path``;
        ``sentinel://host:port;sentinel://host:port/database``, where user and password are the server's;
        ``redis+cluster://host:port``, ``rediss+cluster://``. ``valkey://`` is ``redis://``.
    :param clock: the time, instead of the server's.
    :param options: ``timeout``, the seconds for connecting and for each answer, 0.25 by default;
        ``master_name``, ``min_other_sentinels`` and ``sentinel_kwargs`` as Celery has them, or single options
        such as ``sentinel_password``; any argument of redis-py's connections, such as ``ssl_ca_certs``.
    """

    schemes: ClassVar[tuple[str, ...]] = SCHEMES

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None, **options: Any) -> None:
        super().__init__(url, **({} if clock is None else {"clock": clock}))
        self._has_own_clock = clock is not None
        self._open = opener(url, options)
        self._opened: Servers | None = None

    @property
    def identity(self) -> str:
        # Asked for each time: a database that was flushed is another.
        identity: bytes = self._run(IDENTIFY, (_IDENTITY,), uuid.uuid4().hex.encode())
        return f"redis:{identity.decode()}"

    def lookup(self, key: str) -> Result | Claim | None:
        return self._found(key, self._decide(LOOKUP, key))

    def lookup_or_claim(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        expires: float | None = None,
        goes_out: bool = False,
        lapsed: Claim | None = None,
    ) -> Result | Claim:
        words = number(lease), number(expires), flag(goes_out), *hold(lapsed)
        answer = self._decide(LOOKUP_OR_CLAIM, key, encoded(owner), *words)
        if not isinstance(answer, bytes):
            entry = self._found(key, answer)
            if entry is not None:
                return entry
            self._drop(key)
            answer = self._decide(LOOKUP_OR_CLAIM, key, encoded(owner), *words)
        if not isinstance(answer, bytes):
            return self._granted(key, answer)
        now = float(answer)
        ends = None if expires is None else now + expires
        return Claim(owner, now + lease, since=now, message_expires=ends, at=now)

    def claim(
        self,
        key: str,
        owner: str,
        delivery: str,
        lease: float,
        *,
        called: float | None = None,
        waited_for: str | None = None,
        lapsed: Claim | None = None,
    ) -> Result | Claim:
        times = number(lease), number(called)
        words = encoded(owner), encoded(delivery), *times, optional(waited_for), *hold(lapsed)
        entry = self._found(key, self._decide(CLAIM, key, *words))
        if entry is not None:
            return entry
        self._drop(key)
        return self._granted(key, self._decide(CLAIM, key, *words))

    def renew(self, key: str, owner: str, delivery: str, lease: float, *, ran_for: float = 0.0) -> bool:
        words = encoded(owner), encoded(delivery), number(lease), number(ran_for)
        return bool(self._decide(RENEW, key, *words))

    def complete(
        self,
        key: str,
        owner: str,
        delivery: str | None,
        payload: bytes,
        *,
        ttl: float | None,
        state: str = "SUCCESS",
        kept_for: float = 0.0,
        ran_for: float = 0.0,
        index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:
        times = number(kept_for), number(ran_for)
        words = encoded(owner), optional(delivery), payload, number(ttl), encoded(state), *times
        if index is None:
            return bool(self._decide(COMPLETE, key, *words))
        indexed = encoded(key), number(ttl if index_ttl is None else index_ttl)
        if self._servers().span_keys:
            return bool(self._decide(COMPLETE, key, *words, *indexed, other=index))
        answer = self._decide(COMPLETE, key, *words, *indexed)
        if isinstance(answer, bytes):
            self._decide(INDEX, index, answer, encoded(key))
        return bool(answer)

    def release(
        self,
        key: str,
        owner: str,
        delivery: str | None,
        *,
        requeue: float = 0.0,
        unless_awaited: bool = False,
    ) -> bool:
        words = encoded(owner), optional(delivery), number(requeue), flag(unless_awaited)
        return bool(self._decide(RELEASE, key, *words))

    def forget(self, key: str) -> bool:
        return bool(self._decide(FORGET, key))

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        pattern = _PREFIX + _GLOB.sub(rb"\\\g<0>", encoded(prefix)) + b"*"
        for server in self._servers().primaries():
            names = _scanned(server, pattern)
            while batch := list(islice(names, _BATCH)):
                commands = [LOOKUP.by_digest((name,), self._time()) for name in batch]
                for name, answer in zip(batch, server.ask_all(*commands), strict=True):
                    key = decoded(name[len(_PREFIX) :])
                    # Its script may not be there yet, or the key have moved.
                    missed = isinstance(answer, ResponseError)
                    entry = self.lookup(key) if missed else self._found(key, self._readable(key, answer))
                    if entry is not None:
                        yield key, entry

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Store:
        # redis-py reads the query: it knows what is a number, and what is a password of digits.
        return cls(url, **options)

    def _decide(self, script: Script, key: str, *words: bytes, other: str | None = None) -> Any:
        keys = (key,) if other is None else (key, other)
        names = tuple([_PREFIX + encoded(each) for each in keys])
        return self._readable(key, self._run(script, names, self._time(), *words))

    def _found(self, key: str, answer: Any) -> Result | Claim | None:
        """Return what a script answered. Lua reads some numbers and texts that Python does not."""
        try:
            return found(answer)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            warn_of_unreadable(self.url, key, answer[1], error)
            return None

    def _granted(self, key: str, answer: Any) -> Result | Claim:
        entry = self._found(key, answer)
        if entry is None:
            raise StoreError(f"{self.url}: others write what cannot be read under {key!r}")
        return entry

    def _drop(self, key: str) -> None:
        """Drop what the script could read and this process cannot."""
        self._run(DROP, (_PREFIX + encoded(key),))

    def _run(self, script: Script, names: tuple[bytes, ...], *words: bytes) -> Any:
        servers = self._servers()
        try:
            return servers.ask(names[0], script.by_digest(names, *words))
        except NoScriptError:  # This server has not seen it, or was restarted.
            return servers.ask(names[0], script.by_text(names, *words))

    def _readable(self, key: str, answer: Any) -> Any:
        """Return *answer*. Warn if the script could not read what was stored under *key*."""
        if not isinstance(answer, list) or answer[0] != UNREADABLE:
            return answer
        _, value, *answers = answer
        warn_of_unreadable(self.url, key, value, ValueError("not a record of this version"))
        return answers[0] if answers else None

    def _servers(self) -> Servers:
        # An operation asks once, and goes on with that whatever other threads open or close meanwhile.
        servers = self._opened
        if servers is None or servers.pid != os.getpid():
            # Connections of the parent are the parent's.
            servers = self._opened = self._open()
        return servers

    def _time(self) -> bytes:
        return number(self._clock()) if self._has_own_clock else b""


#: The start of the names of our keys in Redis; and the one name that is not a caller's key.
_PREFIX, _IDENTITY = b"jobtastic:", b"jobtastic-identity"

#: How many entries are read in one round trip, and how many names are looked through in one.
_BATCH, _SCANNED = 32, b"1000"

_GLOB = re.compile(rb"[*?\[\]\\^]")


def _scanned(server: Server, pattern: bytes) -> Iterator[bytes]:
    cursor, seen = b"0", set[bytes]()
    while True:
        answer = server.ask(pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCANNED))
        if isinstance(answer, ResponseError):
            raise answer
        cursor, names = answer
        for name in names:
            if name not in seen:  # Redis can name one twice.
                seen.add(name)
                yield name
        if cursor == b"0":
            return
