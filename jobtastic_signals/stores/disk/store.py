"""``disk://``: diskcache in a folder, for all processes of one host that can write there.

Claims and results live in two caches below the folder. Claims are never evicted (diskcache's default policy
drops live ones under size pressure). Results are, oldest first, beyond ``size_limit``. A transaction on the
claims serialises every decision, and results are written before their claim goes.

Nothing is ever pickled or unpickled, and no file outside the folder is read or removed: see :mod:`.files`.
Only this user can write to the folder: see :mod:`.folder`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import diskcache
from diskcache.core import DBNAME

from ...errors import StoreError
from ...support.forks import fork_gate
from ...support.safe_text import safe_repr
from .. import rules
from ..cas import CompareAndSwapStore, Decision
from ..entry import Claim, Entry, Result
from ..numbers import positive
from ..records import is_identity, warn_of_unreadable
from ..values import replace
from .files import UnreadableError, _BytesDisk, _RecordCache, text_or_bytes
from .folder import check_folder, folder_of, make_folders

__all__ = ["DiskStore"]

T = TypeVar("T")


@dataclass(frozen=True)
class _Files:
    """Both caches, as one process has opened them."""

    claims: _RecordCache
    results: _RecordCache
    pid: int

    def commit(self) -> None:
        # Results are written before their claim goes.
        self.results.end(commits=True)
        self.claims.end(commits=True)

    def roll_back(self) -> None:
        try:
            self.results.end(commits=False)
        finally:
            self.claims.end(commits=False)


class DiskStore(CompareAndSwapStore):
    """A folder, created with mode 0700 if it is not there.

    It is refused if anybody but this user could write to it, or put another one in its place.

    :param url: ``disk:///absolute/path``.
    :param size_limit: bytes that the folder may take, 1 GiB by default; the oldest results go first. Below
        50 MB, the files of SQLite can take more than that.
    :param timeout: seconds to wait for another process that is writing.
    :param trust_folder: use the folder whoever else can write to it.
    """

    schemes: ClassVar[tuple[str, ...]] = ("disk",)
    looks_first = True
    exchanges_alone = True

    def __init__(
        self,
        url: str,
        *,
        size_limit: int = 2**30,
        timeout: float = 5.0,
        trust_folder: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(url, **options)
        if trust_folder not in (True, False):
            raise TypeError(f"trust_folder={safe_repr(trust_folder)} is neither True nor False")
        self.folder: Path = folder_of(url)
        self._size_limit = positive("size_limit", size_limit)
        self._timeout = positive("timeout", timeout)
        self._trusts_folder = bool(trust_folder)
        self._opened: _Files | None = None
        self._identity: str | None = None
        # The files that this thread has a transaction on.
        self._step = threading.local()
        self._gate = fork_gate()

    @property
    def identity(self) -> str:
        # Not the path: in two containers the same path is two folders.
        if self._identity is None:
            with self.in_one_step() as files:
                identity = self._record(files.claims, _IDENTITY)
                if identity is None or not is_identity(identity):
                    identity = uuid.uuid4().hex.encode()
                    files.claims.set(_IDENTITY, identity, retry=False)
                self._identity = f"disk:{identity.decode()}"
        return self._identity

    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Result | Claim | None:
        # Without a transaction, which costs five times as much. Results are written before their claim goes.
        # So if the second look finds no result either, there was neither when there was no claim.
        files = self._files()
        with self._gate.lock():
            return (
                self._found(files.results, key, scopes)
                or self._found(files.claims, key, scopes)
                or self._found(files.results, key, scopes)
            )

    def first_look(self, key: str, scopes: Sequence[str]) -> Result | Claim | None:
        # The transaction looks at the claim anyway.
        files = self._files()
        with self._gate.lock():
            record = self._record(files.results, key)
            return None if record is None else self._answer(key, record, scopes)

    def read(self, key: str) -> Entry:
        # If the claim is the same afterwards, it was there when the result was read.
        files = self._files()
        claim = self._record(files.claims, key)
        while True:
            result = self._record(files.results, key)
            before, claim = claim, claim and self._record(files.claims, key)
            if claim == before:
                return self._entry(key, claim, result)

    def read_mark(self, scope: str) -> Entry:
        # It is never in the results, which may be evicted.
        return self.load(scope, self._record(self._files().claims, scope))

    def exchange(self, key: str, decide: Decision[T]) -> T:
        with self.in_one_step() as files:
            before = self._entry(key, self._record(files.claims, key), self._record(files.results, key))
            now = self._clock()
            answer, after = decide(before, now)
            if after.result is not before.result:
                if not files.results.is_in_transaction:
                    files.results.begin()
                self._write(files.results, key, Entry(None, after.result), now)
            if _beside_result(after) != _beside_result(before):
                part = after if after.result is None else replace(after, result=None)
                self._write(files.claims, key, part, now)
            return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        files = self._files()
        for raw in {*self._keys(files.results), *self._keys(files.claims)}:
            key = text_or_bytes(raw) if isinstance(raw, bytes) else raw
            if not isinstance(key, str):
                warn_of_unreadable(self.url, "", key, ValueError("a key that is no text"))
            elif key.startswith(prefix):
                yield key, self.read(key)

    @contextmanager
    def in_one_step(self) -> Iterator[_Files]:
        """Keep everybody else from changing anything."""
        files: _Files | None = getattr(self._step, "files", None)
        if files is not None and files.pid == os.getpid():
            yield files
            return
        files = self._files()
        try:
            with self._gate.lock():
                try:
                    files.claims.begin()
                    self._step.files = files
                    yield files
                    files.commit()
                except BaseException:
                    files.roll_back()
                    raise
                finally:
                    self._step.files = None
        except (diskcache.Timeout, sqlite3.OperationalError) as error:
            # diskcache raises its own for whatever keeps a transaction from beginning, and without a word.
            reason = error.__context__ if isinstance(error, diskcache.Timeout) else error
            raise StoreError(f"{self.folder} cannot be written: {reason}") from error

    def close(self) -> None:
        files, self._opened, self._identity = self._opened, None, None
        if files is not None:
            with self._gate.lock():
                files.claims.close()
                files.results.close()

    def _files(self) -> _Files:
        # An operation asks once, and goes on with that whatever other threads open or close meanwhile.
        files = self._opened
        if files is None or files.pid != os.getpid():
            # Those of the parent are closed first: SQLite would take the parent's locks for its own. And
            # diskcache could take a thread of this process for one that was in a transaction there.
            self.close()
            with self._gate.lock():
                files = self._opened = self._open()
        return files

    def _open(self) -> _Files:
        make_folders(self.folder)
        if not self._trusts_folder:
            check_folder(self.folder, tuple(_CONTENTS))
        for cache in ("results", "claims"):
            make_folders(self.folder / cache)
        self._wait_for_writers("results")
        self._wait_for_writers("claims")
        results = _RecordCache(
            str(self.folder / "results"),
            timeout=self._timeout,
            disk=_BytesDisk,
            sqlite_cache_size=_CACHED_PAGES,
            size_limit=max(self._size_limit - _BESIDE_RESULTS, self._size_limit // 2),
            eviction_policy="least-recently-stored",
        )
        # All processes wait for these. So they are written back, which waits for the disk, four times less
        # often than by default.
        claims = _RecordCache(
            str(self.folder / "claims"),
            patience=self._timeout,
            timeout=self._timeout,
            disk=_BytesDisk,
            eviction_policy="none",
            sqlite_cache_size=_CACHED_PAGES,
            sqlite_wal_autocheckpoint=4000,
        )
        return _Files(claims, results, os.getpid())

    def _wait_for_writers(self, cache: str) -> None:
        # Opening writes, and diskcache would wait a minute for that, whatever the timeout.
        database = self.folder / cache / DBNAME
        if database.exists():
            with closing(
                sqlite3.connect(database, timeout=self._timeout, isolation_level=None)
            ) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    raise StoreError(f"{self.folder} cannot be written: {error}") from error

    def _found(self, cache: _RecordCache, key: str, scopes: Sequence[str]) -> Result | Claim | None:
        return self._answer(key, self._record(cache, key), scopes)

    def _answer(self, key: str, record: bytes | None, scopes: Sequence[str]) -> Result | Claim | None:
        part = self.load(key, record)
        # By a later time: by an earlier one, what has been stored since would live too long.
        return rules.lookup(part, self._clock(), forgotten=self._forgotten(part, scopes))

    def _keys(self, cache: _RecordCache) -> list[Any]:
        """Return the keys of a cache as they are in its database: those that are text are bytes."""
        # Not by diskcache, which would go on after a key that is no text, and miss others.
        path = Path(cache.directory) / DBNAME
        with self._gate.lock(), closing(sqlite3.connect(path, timeout=self._timeout)) as connection:
            rows = connection.execute(
                "SELECT CASE typeof(key) WHEN 'text' THEN CAST(key AS BLOB) ELSE 0 END FROM Cache "
                "WHERE NOT (typeof(key) = 'blob' AND key = ?)",
                (_IDENTITY,),
            )
            return [key for (key,) in rows]

    def _record(self, cache: _RecordCache, key: str | bytes) -> bytes | None:
        try:
            with self._gate.lock():
                return cache.record(key)
        except UnreadableError as error:
            warn_of_unreadable(self.url, str(key), "", error)
            return None

    def _entry(self, key: str, claim: bytes | None, result: bytes | None) -> Entry:
        # A power cut can leave a row without what should be in its file. That is no record.
        entry, known = self.load(key, claim), self.load(key, result).result
        return entry if entry.result is known else replace(entry, result=known)

    def _write(self, cache: _RecordCache, key: str, part: Entry, now: float) -> None:
        if part:
            cache.write(key, self.dump(part), part.seconds_left(now))
        else:
            cache.drop(key)


#: What is in the folder, and could have been there before.
_CONTENTS = [
    f"{cache}{name}"
    for cache in ("results", "claims")
    for name in ("", *(f"/{DBNAME}{end}" for end in ("", "-wal", "-shm")))
]

#: Pages of 4 KB that a process keeps of each database. With the 8192 of diskcache it takes 8 MB more after
#: 12 000 keys, and is no faster: it reads from mapped memory, and what another process writes drops them.
_CACHED_PAGES = 256

#: Bytes that diskcache does not count: the files in which SQLite writes ahead (4 MB for results, 16 MB for
#: claims), and what is written between two cleanings.
_BESIDE_RESULTS = 24_000_000

#: The key of the folder's identity among the claims; theirs are text.
_IDENTITY = b"identity"


def _beside_result(entry: Entry) -> tuple[object, ...]:
    return entry.claim, entry.next, entry.forgotten, entry.counts
