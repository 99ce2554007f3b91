"""The files of diskcache, as this package lets it read and write them.

diskcache by itself loads pickles from its folder, which runs whatever somebody put there (CVE-2025-69872). It
also reads and removes any file whose name is in its database. So values and keys are never unpickled here,
and names of files that are not its own are refused.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_BINARY, MODE_PICKLE, MODE_RAW

from ...errors import StoreError
from ...support.pauses import pause
from .folder import make_folders

__all__ = ["UnreadableError", "_BytesDisk", "_RecordCache", "text_or_bytes"]


class UnreadableError(StoreError):
    """There is something that this package did not write."""


class _BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys of text (of bytes, if they are no caller's), values of bytes, and never a pickle."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._step = _Step()

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
        if self._step.goes_on and stored[2] is not None:
            self._step.written.append(stored[2])
        return stored

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        if mode == MODE_PICKLE:
            raise UnreadableError("refused to unpickle a value: this package writes none")
        if mode == MODE_BINARY and not _is_own(filename):
            raise UnreadableError("its file has a name that this package did not give")
        if mode not in (MODE_RAW, MODE_BINARY) or (mode == MODE_RAW and type(value) is not bytes):
            raise UnreadableError("a value that is not bytes")
        return super().fetch(mode, filename, value, read)

    def filename(self, key: Any = diskcache.UNKNOWN, value: Any = diskcache.UNKNOWN) -> Any:
        name, full_path = super().filename(key, value)
        make_folders(Path(full_path).parent)
        return name, full_path

    def remove(self, file_path: Any) -> None:
        if self._step.goes_on:
            self._step.unneeded.append(file_path)
        elif _is_own(file_path):
            super().remove(file_path)

    def begin(self) -> None:
        """Keep all files until :meth:`end`."""
        self._step.__init__()  # type: ignore[misc]
        self._step.goes_on = True

    def end(self, *, committed: bool) -> None:
        """Remove the files that no row names, now that the rows are written, or are not."""
        step = self._step
        if step.goes_on:
            step.goes_on = False
            for file in step.unneeded if committed else step.written:
                self.remove(file)

    def _write(self, full_path: str, *rest: Any) -> Any:
        # diskcache has no public hook for a file that could not be written.
        try:
            return super()._write(full_path, *rest)
        except BaseException:
            with suppress(OSError):
                os.remove(full_path)  # As much of it as fitted on a full disk.
            raise


class _Step(threading.local):
    """The files of a transaction of this thread: those that it wrote, and those that it needs no more."""

    def __init__(self) -> None:
        self.goes_on = False
        self.written: list[str] = []
        self.unneeded: list[Any] = []


#: Each process leaves its first write of so many to diskcache, which then removes up to ten entries that have
#: expired, or are too much.
WRITES_PER_CLEANING = 8

_READ = "SELECT mode, value FROM Cache WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?)"

_WRITE = (
    "INSERT INTO Cache(key, raw, store_time, expire_time, access_time, access_count, size, mode, value) "
    "VALUES (?1, 1, ?2, ?3, ?2, 0, 0, ?4, ?5) "
    "ON CONFLICT (key, raw) DO UPDATE SET store_time = ?2, expire_time = ?3, mode = ?4, value = ?5 "
    "WHERE filename IS NULL"
)

#: Seconds between two attempts to get a lock. SQLite's own sleeps grow to 100 ms, and a transaction takes
#: 0.1 ms.
_SHORTEST_SLEEP, _LONGEST_SLEEP = 0.0002, 0.001

_DROP = "DELETE FROM Cache WHERE key = ? AND raw = 1 AND filename IS NULL"


class _RecordCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache of records, in which a text that is no UTF-8 is bytes. Otherwise one such row fails all reads.

    Small records are read and written by one statement, which takes a third of the time of diskcache's own.
    What has a file is left to diskcache.
    """

    _writes = 0

    _txn_id: int | None

    def __init__(self, directory: str, *, patience: float | None = None, **settings: Any) -> None:
        """Open it.

        :param patience: seconds to wait for a lock, by shorter sleeps than SQLite's.
        """
        self._patience = patience
        super().__init__(directory, **settings)
        # Without the property of diskcache, which every operation would pass several times.
        self._bytes_disk: _BytesDisk = self.disk

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is in a transaction."""
        return bool(self._con.in_transaction)

    def begin(self) -> None:
        """Begin a transaction of this thread, which keeps other writers away."""
        self._execute("BEGIN IMMEDIATE")
        # diskcache's own operations of this thread join the transaction by this.
        self._txn_id = threading.get_ident()
        self._bytes_disk.begin()

    def end(self, *, commits: bool) -> None:
        """End the transaction of this thread, if there is one."""
        connection = self._con
        if connection.in_transaction:
            self._txn_id = None
            connection.execute("COMMIT" if commits else "ROLLBACK")
        self._bytes_disk.end(committed=commits)  # SQLite ends some transactions by itself, as on a full disk.

    def record(self, key: str | bytes) -> bytes | None:
        """Do ``get``."""
        for mode, value in self._execute(_READ, (key, time.time())).fetchall():
            if mode != MODE_RAW or type(value) is not bytes:
                return self.get(key, retry=False)  # type: ignore[no-any-return]
            return value
        return None

    def write(self, key: str, record: bytes, seconds: float | None) -> None:
        """Do ``set``, for so many seconds."""
        cleans, self._writes = self._writes % WRITES_PER_CLEANING == 0, self._writes + 1
        if not cleans and len(record) < self._bytes_disk.min_file_size:
            now = time.time()
            ends = None if seconds is None else now + seconds
            if self._con.execute(_WRITE, (key, now, ends, MODE_RAW, record)).rowcount:
                return
        self.set(key, record, expire=seconds, retry=False)

    def drop(self, key: str) -> None:
        """Do ``delete``."""
        if not self._con.execute(_DROP, (key,)).rowcount:
            self.delete(key, retry=False)

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Execute *statement* as soon as the database is not locked, or raise when patience ends."""
        ends = None
        while True:
            try:
                return self._con.execute(statement, parameters)
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                ends = now + (self._patience or 0) if ends is None else ends
                if str(error) != "database is locked" or now >= ends:
                    raise
            pause(_LONGEST_SLEEP, _SHORTEST_SLEEP)

    @property
    def _con(self) -> Any:
        # diskcache has no public way to its connections. It asks each time which process this is, by a call
        # of the system. A store does that once for an operation, and opens new caches in a child.
        connection = getattr(self._local, "con", None)
        if connection is None or connection.text_factory is not text_or_bytes:
            connection = super()._con
            connection.text_factory = text_or_bytes
            if self._patience is not None:
                connection.execute("PRAGMA busy_timeout = 0")
        return connection


_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")


def _is_own(filename: object) -> bool:
    """Return whether *filename* is one that diskcache gives, so it does not lead out of its folder."""
    return isinstance(filename, str) and _FILE.fullmatch(filename) is not None


def text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
