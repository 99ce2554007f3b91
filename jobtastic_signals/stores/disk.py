"""``disk://``: diskcache in a folder, for all processes of one host that can write there.

Claims and results live in two caches below the folder. Claims are never evicted (diskcache's default
policy drops live ones under size pressure); results are, oldest first, beyond ``size_limit``. A
transaction on the claims serialises every decision, and results are written before their claim goes.

Nothing is ever pickled or unpickled: diskcache by itself loads pickles from its folder, which runs
whatever somebody put there (CVE-2025-69872).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import diskcache
from diskcache.core import DBNAME, MODE_PICKLE

from ..errors import SettingError, StoreError
from .base import Claim, Result, Store
from .rules import LAPSED_CLAIMS, admitted, kept_until, may_settle, until

__all__ = ["DiskStore"]


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys of text (or bytes, for what is none of the callers'), values of bytes, and never a pickle."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._last = threading.local()

    def put(self, key: Any) -> Any:
        if type(key) not in (str, bytes):
            raise StoreError(f"a key is text, not {type(key).__name__}")
        return super().put(key)

    def get(self, key: Any, raw: Any) -> Any:
        if not raw:
            raise StoreError("refused to unpickle a key: this package writes none")
        return super().get(key, raw)

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> Any:
        if type(value) is not bytes:
            raise StoreError(f"a value is bytes, not {type(value).__name__}")
        stored = super().store(value, False, key=key)
        self._last.file = stored[2]
        return stored

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        if mode == MODE_PICKLE:
            raise StoreError("refused to unpickle a value: this package writes none")
        return super().fetch(mode, filename, value, read)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """In it, a value whose row cannot be written leaves no file, of which nobody would know."""
        self._last.file = None
        try:
            yield
        except BaseException:
            if self._last.file is not None:
                self.remove(self._last.file)
            raise

    def _write(self, full_path: str, *rest: Any) -> Any:
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

    def claim(self, key: str) -> Claim | None:
        stored = self.claims.get(key, retry=False)
        return None if stored is None else Claim(*json.loads(stored))

    def live_claim(self, key: str, now: float) -> Claim | None:
        claim = self.claim(key)
        return claim if claim is not None and now < claim.expires else None

    def write_claim(self, key: str, claim: Claim, now: float) -> None:
        stored = json.dumps([claim.owner, claim.expires, claim.waited]).encode()
        # A lapsed claim stays for a while, since it is still its owner's, and tells who was before.
        self.claims.set(key, stored, expire=LAPSED_CLAIMS + claim.expires - now, retry=False)

    def drop_claim(self, key: str) -> None:
        self.claims.delete(key, retry=False)

    def result(self, key: str) -> Result | None:
        stored = self.results.get(key, retry=False)
        if stored is None:
            return None
        head, _, payload = stored.partition(b"\n")
        try:
            owner, expires, kept = json.loads(head)
        except ValueError:
            return None  # A power cut can leave the row without what should be in its file.
        return Result(owner, payload, expires, kept)

    def answering(self, key: str, now: float) -> Result | None:
        result = self.result(key)
        return result if result is not None and result.answers(None, now) else None

    def write_result(self, key: str, result: Result, now: float) -> None:
        head = json.dumps([result.owner, result.expires, result.kept]).encode()
        expire = None if result.kept is None else result.kept - now
        with self.results.disk.all_or_nothing():
            self.results.set(key, head + b"\n" + result.payload, expire=expire, retry=False)


class DiskStore(Store):
    """A folder, created with mode 0700 if it is not there.

    :param url: ``disk:///absolute/path``.
    :param size_limit: bytes that results may take, 1 GiB by default; the oldest go first.
    :param timeout: seconds to wait for another process that is writing.
    """

    schemes = ("disk",)

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

    @property
    def identity(self) -> str:
        # Not the path: in two containers the same path is two folders.
        if self._identity is None:
            with self._exclusively() as files:
                files.claims.add(_IDENTITY, uuid.uuid4().hex.encode(), retry=False)
                self._identity = f"disk:{files.claims[_IDENTITY].decode()}"
        return self._identity

    def lookup(self, key: str) -> Result | Claim | None:
        # Without the transaction, which costs five times as much. Results are written before their claim
        # goes, so where the second look finds no result either, there was neither when there was no claim.
        files, now = self._files(), self._clock()
        return files.answering(key, now) or files.live_claim(key, now) or files.answering(key, now)

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
        with self._exclusively() as files:
            now = self._clock()
            result = files.result(key)
            if result is not None and result.answers(waited_for, now):
                return result
            before = files.claim(key)
            claim = admitted(before, owner, lease, stale, now, waits=waits)
            if claim != before:
                files.write_claim(key, claim, now)
            return claim

    def extend(self, key: str, owner: str, lease: float) -> bool:
        with self._exclusively() as files:
            now = self._clock()
            claim = files.live_claim(key, now)
            if claim is None or claim.owner != owner:
                return False
            files.write_claim(key, replace(claim, expires=now + lease), now)
            return True

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        with self._exclusively() as files:
            now = self._clock()
            claim = files.claim(key)
            if not may_settle(claim, files.result(key), owner, now):
                return False
            kept = kept_until(claim, owner, ttl, handover, now)
            if kept is None or kept > now:
                files.write_result(key, Result(owner, payload, until(ttl, now), kept), now)
            if claim is not None and claim.owner == owner:
                files.drop_claim(key)
            return True

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        with self._exclusively() as files:
            claim = files.claim(key)
            if claim is None or claim.owner != owner or (unless_waited and claim.waited):
                return False
            files.drop_claim(key)
            return True

    def forget(self, key: str) -> bool:
        with self._exclusively() as files:
            known = files.answering(key, self._clock()) is not None
            files.results.delete(key, retry=False)
            return known

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        files = self._files()
        for key in {*files.results.iterkeys(), *files.claims.iterkeys()}:
            entry = self.lookup(key) if key != _IDENTITY and key.startswith(prefix) else None
            if entry is not None:
                yield key, entry

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

    @contextmanager
    def _exclusively(self) -> Iterator[_Files]:
        files = self._files()
        try:
            with files.claims.transact(retry=False):
                yield files
        except diskcache.Timeout as error:
            # Raised for whatever keeps a transaction from beginning, and without a word.
            raise StoreError(f"{self.folder} cannot be written: {error.__context__}") from error


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
