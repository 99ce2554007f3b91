"""``redis://`` and its kin: a Redis or Valkey server for many hosts, also with sentinels or as a cluster.

Each operation is one script, so it is atomic, and one round trip. A key is one string, which lives for as
long as something in it is of use. The time is the server's, so hosts need not agree on it. In a cluster its
nodes have to, since a scope can be on another node than a key of it. That costs a round trip for each scope.

Where Celery keeps its results on the same server, the answer to a call also has what is known of the owner.

What a server with a ``maxmemory-policy`` evicts is lost. Without a claim, a call runs twice. Without a
result, it runs again. Without the mark of a scope that was forgotten, what was forgotten comes back.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from redis.exceptions import NoScriptError, ResponseError

from ...errors import StoreError
from ..base import Store
from ..entry import NOTHING, Claim, Entry, Result
from ..records import warn_of_unreadable
from .beside import COUNT, COUNTS, FORGET_SCOPE, IDENTIFY, MARK
from .commands import Script
from .holds import COMPLETE, DROP, FORGET, INDEX, LEAVE, RELEASE, RENEW
from .lookups import CLAIM, ENTRY, LOOKUP, LOOKUP_OR_CLAIM
from .lua import SCOPES, UNKNOWN, UNREADABLE
from .names import COUNTED, IDENTITY, KEY, SCOPE, named, scanned
from .servers import Servers
from .urls import SCHEMES, opener, place_of
from .words import counted, decoded, encoded, flag, found, found_entry, hold, number, optional

__all__ = ["RedisStore"]

T = TypeVar("T")

#: How many entries are read in one round trip.
_BATCH = 32


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
        self._beside = b"", b""

    def tell_of(self, options: Mapping[str, Any], prefix: bytes) -> None:
        """Let answers to calls have what a result backend has of the owner, if it is on this very server.

        Where the server refuses to read it, they do not have it.

        :param options: the arguments of the backend's connections.
        :param prefix: what its keys have before a task id.
        """
        place = self._servers().place
        if place is None:
            return
        (*server, database), (*other_server, other) = place, place_of(options)
        if server == other_server:
            self._beside = prefix, b"" if other == database else b"%d" % other

    @property
    def identity(self) -> str:
        # Asked for each time: a database that was flushed is another.
        identity: bytes = self._run(IDENTIFY, (IDENTITY,), uuid.uuid4().hex.encode())
        return f"redis:{identity.decode()}"

    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Result | Claim | None:
        return self._found(key, self._decide_in(scopes, LOOKUP, key, *self._beside))

    def entry(self, key: str, *, scopes: Sequence[str] = ()) -> Entry:
        return self._found_entry(key, self._decide_in(scopes, ENTRY, key))

    def lookup_or_claim(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        expires: float | None = None,
        goes_out: bool = False,
        lapsed: Claim | None = None,
        scopes: Sequence[str] = (),
        fresh: bool = False,
        rerun: bool = False,
        joins: bool = True,
    ) -> Result | Claim:
        flags = b"%d%d%d%d" % (goes_out, fresh, rerun, joins)
        words = *self._beside, encoded(owner), number(lease), number(expires), flags, *hold(lapsed)
        answer = self._decide_in(scopes, LOOKUP_OR_CLAIM, key, *words)
        if not isinstance(answer, bytes):
            found = self._found(key, answer)
            if found is not None:
                return found
            self._drop(key)
            answer = self._decide_in(scopes, LOOKUP_OR_CLAIM, key, *words)
        if not isinstance(answer, bytes):
            return self._granted(key, answer)
        now = float(answer)
        ends = None if expires is None else now + expires
        return Claim(owner, now + lease, since=now, message_expires=ends, fresh=fresh, at=now)

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
        scopes: Sequence[str] = (),
        fresh: bool = False,
    ) -> Result | Claim:
        options = number(lease), number(called), optional(waited_for), flag(fresh)
        words = encoded(owner), encoded(delivery), *options, *hold(lapsed)
        answer = self._decide_in(scopes, CLAIM, key, *words)
        if not isinstance(answer, bytes):
            found = self._found(key, answer)
            if found is not None:
                return found
            self._drop(key)
            answer = self._decide_in(scopes, CLAIM, key, *words)
        if not isinstance(answer, bytes):
            return self._granted(key, answer)
        now = float(answer)
        return Claim(owner, now + lease, now, delivery, at=now)

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
        stale_for: float = 0.0,
        scopes: Sequence[str] = (),
        index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:
        times = number(kept_for), number(ran_for), number(stale_for)
        words: tuple[bytes, ...] = encoded(owner), optional(delivery), payload, number(ttl), encoded(state)
        words += times
        spans = self._servers().span_keys
        mark, others = (b"", _names(scopes)) if spans else (self._mark(scopes), ())
        if index is not None:
            others += (named(KEY, index),) if spans else ()
            words += encoded(key), number(index_ttl), flag(spans)
        answer = self._decide(COMPLETE, key, mark, *words, others=others)
        if index is not None and isinstance(answer, bytes):
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

    def forget_scope(self, scope: str, *, ttl: float | None) -> None:
        self._run(FORGET_SCOPE, (named(SCOPE, scope),), self._time(), number(ttl))

    def forgotten(self, scope: str) -> float | None:
        mark = self._run(MARK, (named(SCOPE, scope),))
        return None if mark is None else float(mark)

    def leave(self, key: str, owner: str, seat: str) -> bool | None:
        answer = self._decide(LEAVE, key, encoded(owner), encoded(seat))
        return None if answer == b"unknown" else answer == b"last"

    def count(self, key: str, amounts: Mapping[str, float], *, ttl: float) -> None:
        words = [word for name, amount in amounts.items() for word in (optional(name), number(amount))]
        self._run(COUNT, (named(COUNTED, key),), self._time(), number(ttl), *words)

    def counts(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
        for key, answer in self._each(COUNTS, COUNTED, prefix):
            if answer is not None:
                yield key, counted(answer)

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        for key, answer in self._each(ENTRY, KEY, prefix):
            entry = self._found_entry(key, self._readable(key, answer))
            if entry:
                yield key, entry

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Store:
        # redis-py reads the query: it knows what is a number, and what is a password of digits.
        return cls(url, **options)

    def _decide_in(self, scopes: Sequence[str], script: Script, key: str, *words: bytes) -> Any:
        """Return the answer of a *script* that may have to know when *scopes* were forgotten."""
        if self._servers().span_keys:
            return self._decide(script, key, b"", *words, others=_names(scopes))
        if scopes:
            # Most often it does not matter. Otherwise nothing has changed.
            answer = self._decide(script, key, UNKNOWN, *words)
            if answer != SCOPES:
                return answer
        return self._decide(script, key, self._mark(scopes), *words)

    def _mark(self, scopes: Sequence[str]) -> bytes:
        """Return when *scopes* were last forgotten, where a script cannot ask for it."""
        marks = [self._run(MARK, (named(SCOPE, scope),)) for scope in scopes]
        return max(filter(None, marks), key=float, default=b"")

    def _decide(self, script: Script, key: str, *words: bytes, others: tuple[bytes, ...] = ()) -> Any:
        return self._readable(key, self._run(script, (named(KEY, key), *others), self._time(), *words))

    def _each(self, script: Script, kind: bytes, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the answer of *script* for each text of that kind that starts with *prefix*."""
        for server in self._servers().primaries():
            names = scanned(server, kind, prefix)
            while batch := list(islice(names, _BATCH)):
                commands = [script.by_digest((name,), self._time()) for name in batch]
                for name, answer in zip(batch, server.ask(*commands), strict=True):
                    # The script may not be there yet, or the key have moved.
                    missed = isinstance(answer, ResponseError)
                    answered = self._run(script, (name,), self._time()) if missed else answer
                    yield decoded(name[len(kind) :]), answered

    def _found(self, key: str, answer: Any) -> Result | Claim | None:
        return self._understood(found, key, answer, None)

    def _found_entry(self, key: str, answer: Any) -> Entry:
        return self._understood(found_entry, key, answer, NOTHING)

    def _understood(self, read: Callable[[Any], T], key: str, answer: Any, otherwise: T) -> T:
        """Return what a script answered. Lua reads some numbers and texts that Python does not."""
        try:
            return read(answer)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            warn_of_unreadable(self.url, key, answer[1], error)
            return otherwise

    def _granted(self, key: str, answer: Any) -> Result | Claim:
        entry = self._found(key, answer)
        if entry is None:
            raise StoreError(f"{self.url}: others write what cannot be read under {key!r}")
        return entry

    def _drop(self, key: str) -> None:
        """Drop what the script could read and this process cannot."""
        self._run(DROP, (named(KEY, key),))

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


def _names(scopes: Sequence[str]) -> tuple[bytes, ...]:
    return tuple([named(SCOPE, scope) for scope in scopes])
