"""``django://alias``: claims and results in a cache of Django's, whatever that is kept in.

For projects that have a cache which all their processes share, and want no other server. Of a cache only
``add`` is atomic, so a change takes a mutex, and five or six questions to the server. ``redis://`` and
``memcached://`` know more of theirs, and change a claim in a tenth of the time.

What to know:

* Where a cache drops what it has no room for, it drops claims too. That of a database
  does so beyond ``MAX_ENTRIES``, which are 300 unless set: more are needed, a warning says.
  Of several Memcached servers one that fails leaves its keys to others, who know of no claims.
* Aliases share if they name one server and have the same ``KEY_PREFIX``, ``VERSION`` and ``KEY_FUNCTION``.
* The mutex ends by itself after a few seconds, so a process that is killed with it stops others no longer.
  One that stands still for so long, in the midst of a write, can undo what was decided meanwhile.
* The cache of a database is written by threads with connections of their own: at once, whatever the
  transaction of the request does, and from async code too. With SQLite, a transaction that has written keeps
  them from that until it ends: give the cache a database of its own.
* Django pickles nearly all that it caches, so whoever can write to the server can run code in all that read
  from it. What we read there is plain data, and no code runs; see :mod:`.caches`. A backend for which that
  cannot be done is refused, unless ``may_unpickle`` allows it.
* ``LocMemCache`` belongs to one process. It is refused unless ``task_always_eager`` is set. ``DummyCache``
  keeps nothing, and ``FileBasedCache`` has an ``add`` that is not atomic: both are refused. That of a third
  party has to have one that is.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote

from django.core.cache import caches as _djangos
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections
from django.utils.module_loading import import_string

from ...errors import SettingError, StoreError
from ...support.redaction import redacted_repr, without_passwords
from ...support.safe_text import safe_repr
from ...support.threads import call_within
from ..base import Store
from ..entry import Claim, Entry, Result
from ..numbers import positive
from .buckets import BUCKETS, Buckets
from .caches import _StrictCaches, may_unpickle

__all__ = ["DjangoStore"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNSHARED = (
    "a LocMemCache is private to each process, so callers and workers would share nothing. Name a cache on a "
    "server, or set jobtastic_store to disk:// on one host, or to redis://. For tests in one process, use "
    "memory://, or set task_always_eager"
)
#: The caches as this package reads them; one for each thread, like Django's own.
_caches = _StrictCaches()

#: Entries below which a cache that counts them is too small.
_ENOUGH = 10_000

#: Seconds beyond the timeout for a thread to say why it has given up.
_GRACE = 0.05

#: Questions that may be open at once: each has a thread, and a server that hangs would make them many.
_MOST = 200

#: Buckets that are read at once.
_BATCH = 128


class DjangoStore(Store):
    """A cache in Django's setting ``CACHES``.

    It is asked in threads that keep their connections, as Django's settings let them, for a minute after the
    last question.

    :param url: ``django://alias``.
    :param timeout: seconds that an operation may take, with all its questions to the server.
    :param may_unpickle: use a backend that may unpickle what others have put into the cache.
    """

    schemes: ClassVar[tuple[str, ...]] = ("django",)

    def __init__(
        self, url: str, *, timeout: float = 0.25, may_unpickle: bool = False, **options: Any
    ) -> None:
        super().__init__(url, **options)
        if may_unpickle not in (True, False):
            raise TypeError(f"may_unpickle={safe_repr(may_unpickle)} is neither True nor False")
        self._timeout = positive("timeout", timeout)
        self._alias = _alias_of(url)
        backend = _backend_of(url, self._alias, bool(may_unpickle))
        self.unshared = _UNSHARED if issubclass(backend, LocMemCache) else ""
        # What each process has asked, and its threads have not answered.
        self._asked: dict[int, set[object]] = {}

    @property
    def identity(self) -> str:
        identity = self._within_time(lambda buckets: buckets.identity)
        return f"django:{identity}:{os.getpid()}" if self.unshared else f"django:{identity}"

    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Result | Claim | None:
        return self._within_time(lambda buckets: buckets.lookup(key, scopes=scopes))

    def entry(self, key: str, *, scopes: Sequence[str] = ()) -> Entry:
        return self._within_time(lambda buckets: buckets.entry(key, scopes=scopes))

    def lookup_or_claim(self, *arguments: Any, **options: Any) -> Result | Claim:
        return self._within_time(lambda buckets: buckets.lookup_or_claim(*arguments, **options))

    def claim(self, *arguments: Any, **options: Any) -> Result | Claim:
        return self._within_time(lambda buckets: buckets.claim(*arguments, **options))

    def renew(self, *arguments: Any, **options: Any) -> bool:
        return self._within_time(lambda buckets: buckets.renew(*arguments, **options))

    def complete(self, *arguments: Any, **options: Any) -> bool:
        return self._within_time(lambda buckets: buckets.complete(*arguments, **options))

    def release(self, *arguments: Any, **options: Any) -> bool:
        return self._within_time(lambda buckets: buckets.release(*arguments, **options))

    def forget(self, key: str) -> bool:
        return self._within_time(lambda buckets: buckets.forget(key))

    def forget_scope(self, scope: str, *, ttl: float | None) -> None:
        self._within_time(lambda buckets: buckets.forget_scope(scope, ttl=ttl))

    def forgotten(self, scope: str) -> float | None:
        return self._within_time(lambda buckets: buckets.forgotten(scope))

    def leave(self, key: str, owner: str, seat: str) -> bool | None:
        return self._within_time(lambda buckets: buckets.leave(key, owner, seat))

    def count(self, key: str, amounts: Mapping[str, float], *, ttl: float) -> None:
        self._within_time(lambda buckets: buckets.count(key, amounts, ttl=ttl))

    def counts(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
        return self._in_batches(lambda buckets: buckets.counts(prefix))

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        return self._in_batches(lambda buckets: buckets.entries(prefix))

    def _in_batches(self, ask: Callable[[Buckets], Iterator[T]]) -> Iterator[T]:
        for start in range(0, BUCKETS, _BATCH):
            yield from self._batch(range(start, start + _BATCH), ask)

    def _batch(self, numbers: range, ask: Callable[[Buckets], Iterator[T]]) -> list[T]:
        def ask_some(buckets: Buckets) -> list[T]:
            buckets.numbers = numbers
            return list(ask(buckets))

        return self._within_time(ask_some)

    def _within_time(self, ask: Callable[[Buckets], T]) -> T:
        """Return what *ask* gives in a thread of ours.

        In the caller's own, a write could be part of its transaction, async code may not use a database,
        and nothing but the settings of each cache says how long it waits for a server.
        """
        give_up = time.monotonic() + self._timeout
        asked = self._asked.setdefault(os.getpid(), set())
        if len(asked) >= _MOST:
            raise StoreError(f"{self.url}: {_MOST} questions have not been answered yet")
        question = object()

        def work() -> T:
            try:
                return self._answer(ask, give_up)
            finally:
                asked.discard(question)

        asked.add(question)
        try:
            return call_within(self._timeout + _GRACE, work)
        except TimeoutError as error:
            raise StoreError(f"{self.url}: {error}") from error

    def _answer(self, ask: Callable[[Buckets], T], give_up: float) -> T:
        close_old_connections()
        try:
            cache, timeout = _caches[self._alias], self._timeout
            return ask(Buckets(self.url, cache, give_up=give_up, timeout=timeout, clock=self._clock))
        finally:
            close_old_connections()


def _alias_of(url: str) -> str:
    alias = unquote(url.partition("://")[2].rstrip("/"))
    if not alias or "/" in alias:
        raise SettingError(f"jobtastic_store={redacted_repr(url)} names no cache; write django://default")
    return alias


def _backend_of(url: str, alias: str, unpickles: bool) -> type:
    setting = f"jobtastic_store={redacted_repr(url)}"
    try:
        known = _djangos.settings
    except ImproperlyConfigured as error:
        raise SettingError(f"{setting} needs Django's settings: {error}") from error
    if alias not in known:
        named = without_passwords(url).partition("://")[2]
        raise SettingError(f"{setting}: Django's CACHES has {', '.join(known)}, and no {named!r}")
    try:
        backend: type = import_string(known[alias]["BACKEND"])
    except (KeyError, ImportError) as error:
        raise SettingError(f"{setting}: its BACKEND cannot be imported: {error}") from error
    if issubclass(backend, DummyCache):
        raise SettingError(f"{setting}: a DummyCache keeps nothing, so nothing could be shared")
    if issubclass(backend, FileBasedCache):
        raise SettingError(
            f"{setting}: a FileBasedCache can give one claim to two owners, since its add() is not atomic; "
            "disk:///a/folder keeps claims in files"
        )
    if may_unpickle(backend) and not unpickles:
        raise SettingError(
            f"{setting}: {backend.__name__} may unpickle what it finds, so whoever can write to the cache "
            "could run code here. Use one of Django's backends for Redis (RedisCache), Memcached "
            "(PyMemcacheCache) or a database; or, if you trust all who can write there, set "
            'jobtastic_store_options = {"may_unpickle": True}'
        )
    if issubclass(backend, BaseDatabaseCache):
        most = (known[alias].get("OPTIONS") or {}).get("MAX_ENTRIES", 300)
        if int(most) < _ENOUGH:
            logger.warning(
                "%s: beyond %s entries this cache drops some, claims too; set MAX_ENTRIES in its OPTIONS to "
                "%s or more",
                setting,
                most,
                _ENOUGH,
            )
    return backend
