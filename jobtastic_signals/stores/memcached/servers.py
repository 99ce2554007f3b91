"""Connections to Memcached servers, which are kept, and used by one thread at a time."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeAlias

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from ...errors import StoreError
from ...support.shown import shown

__all__ = ["Address", "Server"]

#: Host and port, or the path of a Unix socket.
Address: TypeAlias = tuple[str, int] | str


class Server:
    """A Memcached server.

    :param timeout: seconds for connecting, and for each answer.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self.name: str = address if isinstance(address, str) else "{}:{}".format(*address)
        self._address = address
        self._timeout = timeout
        self._kept: deque[Client] = deque()
        self._pid = os.getpid()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Take a client that nobody else uses meanwhile. Its connection is kept, unless anything goes wrong.

        :raises StoreError: for what the server does, or does not do in time.
        """
        client, done = self._take(), False
        try:
            if client.sock is None:
                # pymemcache by itself tries but one of a host's addresses.
                client.sock = self._connect()
            yield client
            done = True
        except (OSError, MemcacheError) as error:
            raise self._failure(error) from error
        finally:
            # After whatever else may end this, as a time limit, the rest of an answer is still to come.
            if done:
                self._kept.append(client)
            else:
                client.close()

    def names(self, prefix: str) -> list[str]:
        """Those of all items that start with *prefix*, which may hold letters, digits and dashes only."""
        give_up = time.monotonic() + self._timeout
        try:
            while (names := self._dumped_names(prefix)) is None:
                if time.monotonic() > give_up:
                    raise StoreError(f"{self.name}: others list its items")
                time.sleep(0.01)
        except OSError as error:
            raise self._failure(error) from error
        return names

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self._kept.pop().close()

    def _take(self) -> Client:
        if self._pid != os.getpid():
            # The parent goes on with its connections; to close them here takes nothing from it.
            self.close()
            self._pid = os.getpid()
        try:
            client = self._kept.pop()
        except IndexError:
            return Client(self._address, default_noreply=False)
        if client.sock is not None and _is_over(client.sock):
            client.close()
        return client

    def _connect(self) -> socket.socket:
        if isinstance(self._address, str):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout)
            connection.connect(self._address)
            return connection
        connection = socket.create_connection(self._address, self._timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _dumped_names(self, prefix: str) -> list[str] | None:
        # Not through pymemcache: version 4 loses all but the end of an answer that comes in parts. And not
        # "all": that walks the lists of what was used when, and misses items that are moved there meanwhile.
        names = []
        with closing(self._connect()) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"lru_crawler metadump hash\r\n")
            for line in answer:
                if line.startswith(b"key="):
                    name = line[4:].partition(b" ")[0].decode()
                    if name.startswith(prefix):
                        names.append(name)
                elif line.startswith(b"END"):
                    return names
                elif line.startswith(b"BUSY"):
                    return None
                else:
                    break
        raise StoreError(f"{self.name} does not list its items: {shown(line.strip())}")

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{self.name}: {error or type(error).__name__}")


def _is_over(connection: socket.socket) -> bool:
    """Return whether the server has closed an idle *connection*, or has sent what nobody asked for."""
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        connection.settimeout(timeout)
        return False
    except OSError:
        return True
    return True
