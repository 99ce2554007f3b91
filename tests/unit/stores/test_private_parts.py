"""Canaries: each private part of diskcache and redis-py that the stores use does what we use it for."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import diskcache
import pytest
from diskcache import core

from jobtastic_signals.stores.disk.files import WRITES_PER_CLEANING, _BytesDisk, _RecordCache


def test_diskcache_writes_large_values_through_the_method_that_we_wrap(tmp_path: Path) -> None:
    written = []

    class Disk(_BytesDisk):
        def _write(self, full_path: str, *rest: object) -> object:
            written.append(full_path)
            return super()._write(full_path, *rest)

    with diskcache.Cache(str(tmp_path), disk=Disk, disk_min_file_size=10) as cache:
        cache.set("key", b"x" * 100)
    assert len(written) == 1, "Disk.store no longer writes files through Disk._write"
    assert (tmp_path / core.DBNAME).exists(), "the database of a cache has another name"


def test_diskcache_marks_pickles_by_the_mode_that_we_refuse(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path)) as cache:
        cache.set("key", {"a": 1})
        ((mode,),) = cache._sql("SELECT mode FROM Cache").fetchall()
    assert mode == core.MODE_PICKLE


def test_diskcache_keeps_small_values_in_the_row_that_we_write(tmp_path: Path) -> None:
    with _RecordCache(str(tmp_path), disk=_BytesDisk) as cache:
        for number in range(WRITES_PER_CLEANING):
            cache.write(f"written-{number}", b"1", 100)
        cache.set("set", b"1", expire=100)
        rows = cache._sql(
            "SELECT raw, tag, size, mode, filename, value, access_count, round(expire_time - store_time), "
            "access_time = store_time FROM Cache"
        ).fetchall()
        assert len(rows) == WRITES_PER_CLEANING + 1
        assert len(set(rows)) == 1, "diskcache writes another row than we do"
        assert cache.get("written-1") == cache.record("set") == b"1"


def test_redis_py_has_the_socket_of_a_connection_where_we_poll_it() -> None:
    connections = pytest.importorskip("redis.connection")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        connection = connections.Connection(port=listener.getsockname()[1], protocol=2)
        assert connection._sock is None
        sock = connection._connect()
        try:
            assert isinstance(sock, socket.socket), "a connection no longer makes a socket in _connect()"
            assert "self._sock" in inspect.getsource(connections.AbstractConnection)
        finally:
            sock.close()
