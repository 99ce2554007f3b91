"""``redis://`` and its kin: a Redis or Valkey server for many hosts, also with sentinels or as a cluster.

Each operation is one script, so it is atomic, and one round trip. A key is one hash, which lives for as
long as something in it is of use. The time is the server's, so hosts need not agree on it. What a server
with a ``maxmemory-policy`` evicts is lost: a claim, and a call runs twice; a result, and it runs again.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from ..base import Claim, Result, Store
from .scripts import ADMIT, EXTEND, FORGET, IDENTIFY, LOOKUP, RELEASE, SETTLE, Script, pack
from .servers import Server, Servers
from .urls import SCHEMES, opener

__all__ = ["RedisStore"]


class RedisStore(Store):
    """A database of a Redis server, or a cluster.

    :param url: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for TLS, ``unix:///path``;
        ``sentinel://host:port;sentinel://host:port/database``, where user and password are the server's;
        ``redis+cluster://host:port``, ``rediss+cluster://``. ``valkey://`` is ``redis://``.
    :param clock: the time, in place of the server's.
    :param options: ``timeout``, the seconds for connecting and for each answer, 0.25 by default;
        ``master_name``, ``min_other_sentinels`` and ``sentinel_kwargs`` as Celery has them, or, one by
        one, ``sentinel_password`` and kin; any argument of redis-py's connections, as ``ssl_ca_certs``.
    """

    schemes = SCHEMES

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None, **options: Any) -> None:
        super().__init__(url, **({} if clock is None else {"clock": clock}))
        self._told_the_time = clock is not None
        self._open = opener(url, options)
        self._opened: Servers | None = None

    @property
    def identity(self) -> str:
        # Asked for each time: a database that was flushed is another.
        identity: bytes = self._run(IDENTIFY, _IDENTITY, uuid.uuid4().hex.encode())
        return f"redis:{identity.decode()}"

    def lookup(self, key: str) -> Result | Claim | None:
        return _entry(self._decide(LOOKUP, key))

    def ask(self, key: str, owner: str, lease: float) -> Result | Claim:
        return _granted(owner, self._decide(ADMIT, key, _bytes(owner), _number(lease), b"", b"", b""))

    def admit(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        waited_for: str | None = None,
        stale: str | None = None,
        waits: bool = True,
    ) -> Result | Claim:
        answer = self._decide(
            ADMIT,
            key,
            _bytes(owner),
            _number(lease),
            _optional(waited_for),
            _optional(stale),
            b"1" if waits else b"",
        )
        return _granted(owner, answer)

    def extend(self, key: str, owner: str, lease: float) -> bool:
        return bool(self._decide(EXTEND, key, _bytes(owner), _number(lease)))

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        lasting = b"" if ttl is None else _number(ttl)
        return bool(self._decide(SETTLE, key, _bytes(owner), payload, lasting, _number(handover)))

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        return bool(self._decide(RELEASE, key, _bytes(owner), b"1" if unless_waited else b""))

    def forget(self, key: str) -> bool:
        return bool(self._decide(FORGET, key))

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        pattern = _PREFIX + _GLOB.sub(rb"\\\g<0>", _bytes(prefix)) + b"*"
        for server in self._servers().primaries():
            names = _scanned(server, pattern)
            while batch := list(islice(names, _BATCH)):
                answers = server.ask_all(*[LOOKUP.by_digest(name, self._time()) for name in batch])
                for name, answer in zip(batch, answers, strict=True):
                    key = _text(name[len(_PREFIX) :])
                    # Its script may not be there yet, or the key have moved.
                    entry = self.lookup(key) if isinstance(answer, ResponseError) else _entry(answer)
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

    def _decide(self, script: Script, key: str, *words: bytes) -> Any:
        return self._run(script, _PREFIX + _bytes(key), self._time(), *words)

    def _run(self, script: Script, name: bytes, *words: bytes) -> Any:
        servers = self._servers()
        try:
            return servers.ask(name, script.by_digest(name, *words))
        except NoScriptError:  # This server was never told, or was restarted.
            return servers.ask(name, script.by_text(name, *words))

    def _servers(self) -> Servers:
        # An operation asks once, and goes on with that whatever other threads open or close meanwhile.
        servers = self._opened
        if servers is None or servers.pid != os.getpid():
            # Connections of the parent are the parent's.
            servers = self._opened = self._open()
        return servers

    def _time(self) -> bytes:
        return _number(self._clock()) if self._told_the_time else b""


#: What the names of our keys in Redis begin with; and the one that is none of the callers'.
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


def _granted(owner: str, answer: Any) -> Result | Claim:
    """What *owner* is told where it asked for a claim."""
    if isinstance(answer, bytes):
        return Claim(owner, float(answer))
    entry = _entry(answer)
    assert entry is not None
    return entry


def _entry(answer: list[Any] | None) -> Result | Claim | None:
    if answer is None:
        return None
    kind, owner, *rest = answer
    if kind == b"result":
        payload, expires, kept = rest
        return Result(_text(owner), payload, _end(expires), _end(kept))
    expires, waited, previous = rest
    return Claim(
        _text(owner), float(expires), waited is not None, None if previous is None else _text(previous)
    )


def _end(text: bytes) -> float | None:
    return float(text) if text else None


def _number(number: float) -> bytes:
    return repr(float(number)).encode()


def _optional(text: str | None) -> bytes:
    return b"" if text is None else b"=" + _bytes(text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
