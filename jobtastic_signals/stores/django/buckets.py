"""Claims and results in a Django cache, which has only one atomic operation: ``add``.

Keys are hashed into buckets. A bucket is one value of the cache: JSON text with the entries of its keys.
Whoever changes the bucket adds a *mutex* beside it, with a random text of its own. A cache can lose the
mutex, like anything else, and a replica may answer with an older value. So the mutex is read with the bucket,
and again with what was written. Whoever does not see its own text was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache

from ...errors import StoreError
from ...support.pauses import pause
from ..cas import CompareAndSwapStore, Decision, Pieces
from ..entry import Entry
from ..records import is_identity, warn_of_unreadable
from .caches import UNREADABLE

__all__ = ["BUCKETS", "Buckets"]

T = TypeVar("T")

BUCKETS = 4096

_BUCKET = "jobtastic-bucket-{:03x}"
_MUTEX = "jobtastic-mutex-{:03x}"
_PIECE = "jobtastic-piece-{}"
_IDENTITY = "jobtastic-identity"

#: Seconds between two tries, at most.
_PAUSE = 0.01

#: Seconds for which a mutex lives longer than an operation may take. A database counts whole ones only.
_MARGIN = 3


class _Record(NamedTuple):
    """What a bucket holds of a key.

    :ivar ends: when it may go, a Unix time of this very host; ``None`` for never.
    :ivar entry: the record of its entry. In the bucket each byte of it is a character.
    """

    ends: float | None
    entry: bytes

    @classmethod
    def of(cls, ends: Any, text: Any) -> _Record:
        """Return what stands in a bucket as a list."""
        return cls(None if ends is None else float(ends), text.encode("latin-1"))


_Records: TypeAlias = dict[str, _Record]


class Buckets(CompareAndSwapStore):
    """The store as one operation uses it.

    :param give_up: when the operation has to be done, by ``time.monotonic()``.
    :param timeout: seconds that it had in the beginning.
    """

    schemes: ClassVar[tuple[str, ...]] = ("django",)
    inline_size: ClassVar[int] = 1000
    looks_first = True

    #: The buckets that :meth:`scan` reads.
    numbers: Iterable[int] = range(BUCKETS)

    def __init__(
        self, url: str, cache: BaseCache, *, give_up: float, timeout: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(url, clock=clock)
        self._cache = cache
        self._give_up, self._timeout = give_up, timeout
        self._lease = math.ceil(timeout) + _MARGIN

    @property
    def identity(self) -> str:
        self._cache.add(_IDENTITY, uuid.uuid4().hex, timeout=None)
        while not is_identity(text := self._value(_IDENTITY)):
            if text is not None or self._is_late():
                self._cache.delete(_IDENTITY)
            self._pause("what was added is not there")
            self._cache.add(_IDENTITY, uuid.uuid4().hex, timeout=None)
        return str(text)

    def read(self, key: str) -> Entry:
        bucket = _BUCKET.format(_number(key))
        return self._entry(key, self._records(bucket, self._value(bucket)))

    def exchange(self, key: str, decide: Decision[T]) -> T:
        with self._bucket_of(key) as bucket:
            before, now = self._entry(key, bucket.records), self._clock()
            answer, after = decide(before, now)
            if after != before:
                self._write(bucket, key, after, now)
            return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        for name, text in self._cache.get_many(map(_BUCKET.format, self.numbers)).items():
            records = self._records(name, text)
            yield from ((key, self._entry(key, records)) for key in records if key.startswith(prefix))

    @contextmanager
    def _bucket_of(self, key: str) -> Iterator[_Bucket]:
        """Keep everybody else from changing the bucket of *key*."""
        number, token = _number(key), uuid.uuid4().hex
        bucket, mutex = _BUCKET.format(number), _MUTEX.format(number)
        while not self._cache.add(mutex, token, timeout=self._lease):
            # By now the last one may have been released. What is no mutex would never end.
            if self._is_late() and not is_identity(found := self._value(mutex)) and found is not None:
                self._cache.delete(mutex)
            self._pause("its bucket was changed by others all the time")
        sure = False
        try:
            yield _Bucket(bucket, mutex, token, self._records(bucket, self._seen(bucket, mutex, token)))
            sure = True
        finally:
            # Later it can have ended, and be somebody else's.
            if time.monotonic() < self._give_up + 1:
                with suppress(Exception):
                    if sure or self._value(mutex) == token:
                        self._cache.delete(mutex)

    def _seen(self, bucket: str, mutex: str, token: str) -> Any:
        """Return *bucket* as a server has it that knows of *token*, and so of all that was written before."""
        while (found := self._cache.get_many([mutex, bucket])).get(mutex) != token:
            self._pause("a mutex was lost")
        if found.get(bucket) is UNREADABLE:
            self._cache.delete(bucket)  # Not every backend can write over it.
        return found.get(bucket)

    def _write(self, bucket: _Bucket, key: str, entry: Entry, now: float) -> None:
        real = time.time()
        records = {
            each: record
            for each, record in bucket.records.items()
            if each != key and (record.ends is None or record.ends > real)
        }
        if entry:
            seconds = entry.seconds_left(now)
            ends = None if seconds is None else real + seconds
            records[key] = _Record(ends, self.dump(entry))
        lists = {each: [ends, record.decode("latin-1")] for each, (ends, record) in records.items()}
        text = json.dumps(lists) if lists else None
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
        ends = [record.ends for record in records.values() if record.ends is not None]
        # A database cache deletes what has ended when it reads it, though it was written again meanwhile.
        if len(ends) < len(records) or isinstance(self._cache, BaseDatabaseCache):
            return None
        return _whole(max(ends) - real)

    def read_pieces(self, pieces: Pieces) -> list[bytes] | None:
        names = [_PIECE.format(name) for name in pieces.names]
        found = self._cache.get_many(names)
        try:
            return [found[name].encode("latin-1") for name in names]
        except (LookupError, AttributeError, UnicodeEncodeError):
            return None

    def write_pieces(self, pieces: Pieces, contents: list[bytes], seconds: float | None) -> None:
        timeout = _whole(seconds)
        for name, content in zip(pieces.names, contents, strict=True):
            # Not set(), which would not tell if it failed.
            while not self._cache.add(_PIECE.format(name), content.decode("latin-1"), timeout=timeout):
                self._pause("what was added is not there")

    def drop_pieces(self, pieces: Pieces) -> None:
        with suppress(Exception):
            self._cache.delete_many([_PIECE.format(name) for name in pieces.names])

    def _records(self, bucket: str, text: Any) -> _Records:
        """Return what is known of each key of a bucket. What cannot be read is left out, and logged."""
        found: _Records = {}
        try:
            items = [] if text is None else json.loads(text).items()
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            warn_of_unreadable(self.url, bucket, text, error)
            return found
        for key, fields in items:
            try:
                found[key] = _Record.of(*fields)
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                warn_of_unreadable(self.url, key, fields, error)
        return found

    def _value(self, name: str) -> Any:
        # Redis says that a value of another type is an error, unless it is asked for many.
        return self._cache.get_many([name]).get(name)

    def _is_late(self) -> bool:
        """Return whether more than half of the time is over."""
        return time.monotonic() > self._give_up - self._timeout / 2

    def _entry(self, key: str, records: _Records) -> Entry:
        return self.load(key, records[key].entry) if key in records else Entry()

    def _in_time(self, otherwise: str) -> None:
        if time.monotonic() >= self._give_up:
            raise StoreError(f"{self.url}: {otherwise}")

    def _pause(self, otherwise: str) -> None:
        self._in_time(otherwise)
        pause(_PAUSE)


class _Bucket(NamedTuple):
    name: str
    mutex: str
    token: str
    records: _Records


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=2).digest(), "big") % BUCKETS


def _whole(seconds: float | None) -> int | None:
    """Return *seconds* as a timeout. Most caches take whole seconds, and some end one earlier."""
    return None if seconds is None else math.ceil(seconds) + 1
