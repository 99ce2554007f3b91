"""Addresses on which a server is missing, or as good as missing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import wait_until


@dataclass
class Address:
    """A port, and the connections that were accepted there, by who has connected."""

    port: int
    accepted: dict[object, socket.socket] = field(default_factory=dict)
    listener: socket.socket | None = None

    def count(self) -> int:
        """Return how many have connected by now. Those that were not accepted yet are accepted first."""
        if self.listener is not None:
            with socket.create_connection(("127.0.0.1", self.port)) as last:
                wait_until(lambda: last.getsockname() in self.accepted, what="the last one")
                self.accepted.pop(last.getsockname()).close()
        return len(self.accepted)

    def close(self) -> None:
        """Refuse everybody from now on, those that were accepted too."""
        if self.listener is not None:
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for connection in self.accepted.values():
            connection.close()


@contextmanager
def refusing() -> Iterator[Address]:
    """Nobody listens there, and nobody else gets the port meanwhile."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield Address(bound.getsockname()[1])


@contextmanager
def unaccepting() -> Iterator[Address]:
    """A listener that never accepts, and whose queue is full: who connects hears nothing."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        try:
            yield Address(port)
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def silent() -> Iterator[Address]:
    """Accepts everybody, and says nothing."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        address = Address(listener.getsockname()[1], listener=listener)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, peer = listener.accept()
                    address.accepted[peer] = connection

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield address
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            address.close()


DEAD = {"refused": refusing, "never accepts": unaccepting, "silent": silent}


def connections_to(*ports: int | None) -> set[str]:
    """The sockets of this process that are connected to servers at these ports of this machine."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            own.add(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    there = {
        f"socket:[{row[9]}]" for row in rows if int(row[2].rpartition(":")[2], 16) in ports and row[3] == "01"
    }
    return own & there
