"""``disk://``: diskcache in a folder, for all processes of one host that can write there.

Claims and results live in two caches below the folder. Claims are never evicted (diskcache's default policy
drops live ones under size pressure). Results are, oldest first, beyond ``size_limit``. A transaction on the
claims serialises every decision, and results are written before their claim goes.

Nothing is ever pickled or unpickled. diskcache by itself loads pickles from its folder, which runs whatever
somebody put there (CVE-2025-69872).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import diskcache
from diskcache.core import DBNAME, MODE_PICKLE

from ..errors import SettingError, StoreError
from . import rules
from .base import Claim, Result
from .cas import CompareAndSwapStore, Decision, Entry
from .records import warn_of_unreadable

__all__ = ["DiskStore"]

T = TypeVar("T")


class UnreadableError(StoreError):
    """There is something that this package did not write."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys of text (of bytes, if they are no caller's), values of bytes, and never a pickle."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._last = threading.local()

    def put(self, key: Any) -> Any:
        if type(key) not in (str, bytes):
            raise StoreError(f"a key is text, not {type(key).__name__}")
        return super().put(key)

    def get(self, key: Any, raw: Any) -> Any:
        # diskcache would unpickle a key that is not raw.
        return super().get(key, raw) if raw else bytes(key)

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> Any:
        if type(value) is not bytes:
            raise StoreError(f"a value is bytes, not {type(value).__name__}")
        stored = super().store(value, False, key=key)
        self._last.file = stored[2]
        return stored

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        if mode == MODE_PICKLE:
            raise UnreadableError("refused to unpickle a value: this package writes none")
        return super().fetch(mode, filename, value, read)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Remove the file of a value whose row cannot be written: nobody would know of it."""
        self._last.file = None
        try:
            yield
        except BaseException:
            if self._last.file is not None:
                self.remove(self._last.file)
            raise

    def _write(self, full_path: str, *rest: Any) -> Any:
        # diskcache has no public hook for a file that could not be written.
        try:
            return super()._write(full_path, *rest)
        except BaseException:
            with suppress(OSError):
                os.remove(full_path)  # As much of it as fitted on a full disk.
            raise


@dataclass(frozen=True)
class _Files:
    """Both caches, as one process has opened them."""

    claims: diskcache.Cache
    results: diskcache.Cache
    pid: int


class DiskStore(CompareAndSwapStore):
    """A folder, created with mode 0700 if it is not there.

    :param url: ``disk:///absolute/path``.
    :param size_limit: bytes that results may take, 1 GiB by default; the oldest go first.
    :param timeout: seconds to wait for another process that is writing.
    """

    schemes = ("disk",)
    looks_first = True

    def __init__(self, url: str, *, size_limit: int = 2**30, timeout: float = 5.0, **options: Any) -> None:
        super().__init__(url, **options)
        for name, number in (("size_limit", size_limit), ("timeout", timeout)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or number <= 0:
                raise TypeError(f"{name}={number!r} is not a positive number")
        self.folder = _folder_of(url)
        self._size_limit = size_limit
        self._timeout = timeout
        self._opened: _Files | None = None
        self._identity: str | None = None
        # The files that this thread has a transaction on.
        self._step = threading.local()

    @property
    def identity(self) -> str:
        # Not the path: in two containers the same path is two folders.
        if self._identity is None:
            with self.in_one_step() as files:
                files.claims.add(_IDENTITY, uuid.uuid4().hex.encode(), retry=False)
                self._identity = f"disk:{files.claims[_IDENTITY].decode()}"
        return self._identity

    def lookup(self, key: str) -> Result | Claim | None:
        # Without a transaction, which costs five times as much. Results are written before their claim goes.
        # So if the second look finds no result either, there was neither when there was no claim.
        files = self._files()
        return (
            self._found(files.results, key)
            or self._found(files.claims, key)
            or self._found(files.results, key)
        )

    def read(self, key: str) -> Entry:
        # If the claim is the same afterwards, it was there when the result was read.
        files = self._files()
        claim = self._record(files.claims, key)
        while True:
            result = self._record(files.results, key)
            before, claim = claim, claim and self._record(files.claims, key)
            if claim == before:
                return self._entry(key, claim, result)

    def exchange(self, key: str, decide: Decision[T]) -> T:
        with self.in_one_step() as files:
            before = self._entry(key, self._record(files.claims, key), self._record(files.results, key))
            now = self._clock()
            answer, after = decide(before, now)
            if after.result != before.result:
                with files.results.disk.all_or_nothing():
                    self._write(files.results, key, Entry(None, after.result), now)
            if after.claim != before.claim:
                self._write(files.claims, key, Entry(after.claim), now)
            return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        files = self._files()
        for key in {*files.results.iterkeys(), *files.claims.iterkeys()}:
            if not isinstance(key, str):
                if key != _IDENTITY:
                    warn_of_unreadable(self.url, "", key, ValueError("a key that is no text"))
            elif key.startswith(prefix):
                yield key, self.read(key)

    @contextmanager
    def in_one_step(self) -> Iterator[_Files]:
        """Keep everybody else from changing anything."""
        files: _Files | None = getattr(self._step, "files", None)
        if files is not None:
            yield files
            return
        files = self._files()
        try:
            with files.claims.transact(retry=False):
                self._step.files = files
                try:
                    yield files
                finally:
                    del self._step.files
        except diskcache.Timeout as error:
            # Raised for whatever keeps a transaction from beginning, and without a word.
            raise StoreError(f"{self.folder} cannot be written: {error.__context__}") from error

    def close(self) -> None:
        files, self._opened, self._identity = self._opened, None, None
        if files is not None:
            files.claims.close()
            files.results.close()

    def _files(self) -> _Files:
        # An operation asks once, and goes on with that whatever other threads open or close meanwhile.
        files = self._opened
        if files is None or files.pid != os.getpid():
            # Those of the parent are closed first: SQLite would take the parent's locks for its own. And
            # diskcache could take a thread of this process for one that was in a transaction there.
            self.close()
            files = self._opened = self._open()
        return files

    def _open(self) -> _Files:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._wait_for_writers("results")
        self._wait_for_writers("claims")
        shared = {"timeout": self._timeout, "disk": BytesDisk}
        results = diskcache.Cache(
            str(self.folder / "results"),
            size_limit=self._size_limit,
            eviction_policy="least-recently-stored",
            **shared,
        )
        claims = diskcache.Cache(str(self.folder / "claims"), eviction_policy="none", **shared)
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

    def _found(self, cache: diskcache.Cache, key: str) -> Result | Claim | None:
        part = self.load(key, self._record(cache, key))
        # By a later time: by an earlier one, what has been stored since would live too long.
        return rules.lookup(part, self._clock())

    def _record(self, cache: diskcache.Cache, key: str) -> bytes | None:
        try:
            record: bytes | None = cache.get(key, retry=False)
        except UnreadableError as error:
            warn_of_unreadable(self.url, key, "", error)
            return None
        return record

    def _entry(self, key: str, claim: bytes | None, result: bytes | None) -> Entry:
        # A power cut can leave a row without what should be in its file. That is no record.
        return Entry(self.load(key, claim).claim, self.load(key, result).result)

    def _write(self, cache: diskcache.Cache, key: str, part: Entry, now: float) -> None:
        if part:
            cache.set(key, self.dump(part), expire=part.seconds_left(now), retry=False)
        else:
            cache.delete(key, retry=False)


#: The key of the folder's identity among the claims; theirs are text.
_IDENTITY = b"identity"


def _folder_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise SettingError(
            f"jobtastic_store={url!r} names no folder; write disk:///absolute/path, or disk:// alone for "
            "the default folder of this user"
        )
    return Path(unquote(parts.path))
