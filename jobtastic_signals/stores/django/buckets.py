"""Claims and results in a Django cache, of whose operations only ``add`` is atomic.

Keys are hashed into buckets. A bucket is one value of the cache: JSON text of what is known of its keys.
Beside it there is at times a *mutex*: whoever changes the bucket has added that, with a random text of its
own. A cache can lose the mutex, as anything else, and a server may tell of the past (a replica does). So the
mutex is read with the bucket, and again with what was written: who does not see its own was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache

from ...errors import StoreError
from ..base import Claim, Result
from ..cas import Decision, Entry, EntryStore, Pieces

__all__ = ["BUCKETS", "Buckets"]

T = TypeVar("T")

BUCKETS = 4096

_BUCKET = "jobtastic-bucket-{:03x}"
_MUTEX = "jobtastic-mutex-{:03x}"
_PIECE = "jobtastic-piece-{}"
_IDENTITY = "jobtastic-identity"

#: Of each key: when it may go (Unix time of this very host; ``None`` is never), its entry, and its payload.
_Records: TypeAlias = dict[str, list[Any]]

#: Seconds between two tries, at most.
_PAUSE = 0.01

#: Seconds for which a mutex lives longer than an operation may take. A database counts whole ones only.
_MARGIN = 3


class Buckets(EntryStore):
    """The store as one operation uses it.

    :param give_up: when the operation has to be done, by ``time.monotonic()``.
    :param timeout: seconds that it had in the beginning.
    """

    schemes = ("django",)
    inline_size = 1000

    def __init__(
        self, url: str, cache: BaseCache, *, give_up: float, timeout: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(url, clock=clock)
        self._cache = cache
        self._give_up = give_up
        self._lease = math.ceil(timeout) + _MARGIN
        self._looks_first = False

    @property
    def identity(self) -> str:
        while (text := self._cache.get(_IDENTITY)) is None:
            self._cache.add(_IDENTITY, uuid.uuid4().hex, timeout=None)
            self._pause("what was added is not there")
        return str(text)

    def admit(self, key: str, owner: str, lease: float, **how: Any) -> Result | Claim:
        # Most find a result, or a claim that needs no mark: for these a look is enough.
        self._looks_first = True
        return super().admit(key, owner, lease, **how)

    def entries(
        self, prefix: str = "", *, numbers: Iterable[int] = range(BUCKETS)
    ) -> Iterator[tuple[str, Result | Claim]]:
        texts = self._cache.get_many([_BUCKET.format(number) for number in numbers])
        for text in texts.values():
            for key, record in _load(text).items():
                shown = self._shown(_entry(record)) if key.startswith(prefix) else None
                if shown is not None:
                    yield key, shown

    def _read(self, key: str) -> Entry:
        return _entry(_load(self._cache.get(_BUCKET.format(_number(key)))).get(key))

    def _exchange(self, key: str, decide: Decision[T]) -> tuple[T, Entry, Entry]:
        if self._looks_first:
            before = self._read(key)
            answer, after = decide(before, self._clock())
            if after == before:
                return answer, before, after
        with self._bucket_of(key) as bucket:
            before, now = _entry(bucket.records.get(key)), self._clock()
            answer, after = decide(before, now)
            if after != before:
                self._write(bucket, key, after, now)
        return answer, before, after

    @contextmanager
    def _bucket_of(self, key: str) -> Iterator[_Bucket]:
        """The bucket of *key*, that nobody else changes meanwhile."""
        number, token = _number(key), uuid.uuid4().hex
        bucket, mutex = _BUCKET.format(number), _MUTEX.format(number)
        while not self._cache.add(mutex, token, timeout=self._lease):
            self._pause("its bucket was changed by others all the time")
        sure = False
        try:
            yield _Bucket(bucket, mutex, token, _load(self._seen(bucket, mutex, token)))
            sure = True
        finally:
            # Later it can have ended, and be somebody else's.
            if time.monotonic() < self._give_up + 1:
                with suppress(Exception):
                    if sure or self._cache.get(mutex) == token:
                        self._cache.delete(mutex)

    def _seen(self, bucket: str, mutex: str, token: str) -> Any:
        """What is in *bucket* according to who knows of *token*, and so of all that was written before."""
        while (found := self._cache.get_many([mutex, bucket])).get(mutex) != token:
            self._pause("a mutex was lost")
        return found.get(bucket)

    def _write(self, bucket: _Bucket, key: str, entry: Entry, now: float) -> None:
        real = time.time()
        records = {
            each: record
            for each, record in bucket.records.items()
            if each != key and (record[0] is None or record[0] > real)
        }
        if entry:
            seconds = entry.seconds(now)
            payload = "" if entry.result is None else entry.result.payload.decode("latin-1")
            records[key] = [None if seconds is None else real + seconds, entry.dump(), payload]
        text = json.dumps(records) if records else None
        self._in_time("it took too long to decide")
        while True:
            if text is None:
                self._cache.delete(bucket.name)
            else:
                self._cache.set(bucket.name, text, timeout=self._timeout_of(records, real))
            # A database that is busy does not tell that nothing was written.
            if self._seen(bucket.name, bucket.mutex, bucket.token) == text:
                return
            self._pause("what was written is not there")

    def _timeout_of(self, records: _Records, real: float) -> int | None:
        ends = [end for end, _, _ in records.values() if end is not None]
        # A database cache deletes what has ended when it reads it, though it was written again meanwhile.
        if len(ends) < len(records) or isinstance(self._cache, BaseDatabaseCache):
            return None
        return _whole(max(ends) - real)

    def _read_pieces(self, pieces: Pieces) -> list[bytes] | None:
        names = [_PIECE.format(name) for name in pieces.names]
        found = self._cache.get_many(names)
        return [found[name].encode("latin-1") for name in names] if len(found) == len(names) else None

    def _write_pieces(self, pieces: Pieces, contents: list[bytes], seconds: float | None) -> None:
        timeout = _whole(seconds)
        for name, content in zip(pieces.names, contents, strict=True):
            # Not set(), which would not tell if it failed.
            while not self._cache.add(_PIECE.format(name), content.decode("latin-1"), timeout=timeout):
                self._pause("what was added is not there")

    def _drop_pieces(self, pieces: Pieces) -> None:
        with suppress(Exception):
            self._cache.delete_many([_PIECE.format(name) for name in pieces.names])

    def _in_time(self, otherwise: str) -> None:
        if time.monotonic() >= self._give_up:
            raise StoreError(f"{self.url}: {otherwise}")

    def _pause(self, otherwise: str) -> None:
        self._in_time(otherwise)
        time.sleep(random.uniform(0, _PAUSE))


class _Bucket(NamedTuple):
    name: str
    mutex: str
    token: str
    records: _Records


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=2).digest(), "big") % BUCKETS


def _whole(seconds: float | None) -> int | None:
    """As a timeout, of which most caches take whole seconds, and some one less."""
    return None if seconds is None else math.ceil(seconds) + 1


def _load(text: Any) -> _Records:
    if text is None:
        return {}
    try:
        records = json.loads(text)
        if isinstance(records, dict):
            return records
    except (ValueError, TypeError):
        pass
    raise StoreError(f"a bucket holds what this package did not write: {str(text)[:80]!r}")


def _entry(record: list[Any] | None) -> Entry:
    if record is None:
        return Entry()
    _, dumped, payload = record
    return Entry.load(dumped, payload.encode("latin-1"))
