"""Where the keys of a Redis store are: on one server, on the primary that sentinels know, or in a cluster.

The connections are redis-py's. Its clients are not used. They retry for seconds, and we have a quarter of one
in all. A cluster that hangs takes them one timeout for each node. Their pools have locks, which a fork can
leave locked for ever. And a command takes half as long again.
"""

from __future__ import annotations

import os
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from redis import RedisError
from redis.connection import AbstractConnection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ConnectionError, MovedError, ReadOnlyError, ResponseError

from .commands import pack

__all__ = [
    "Address",
    "Cluster",
    "Connector",
    "Guides",
    "OneServer",
    "Place",
    "SentinelPrimary",
    "Server",
    "Servers",
]

T = TypeVar("T")

Address = tuple[str, int]

#: The path of a socket if there is one, the host, the port and the number of the database.
Place = tuple[str | None, str, int, int]

#: How often a command follows a cluster that sends it elsewhere.
_REDIRECTIONS = 5


@dataclass(frozen=True)
class Connector:
    """A class of connections, and its arguments."""

    kind: Callable[..., AbstractConnection]
    options: dict[str, Any] = field(repr=False)  # With passwords.

    def connect(self, address: Address | None = None, **changes: Any) -> Line:
        where = {} if address is None else {"host": address[0], "port": address[1]}
        connection = self.kind(**{**self.options, **where, **changes})
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            raise
        return Line(connection)


class Line:
    """A connection of redis-py's, on which packed commands are answered. A refusal is an answer, too."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._waiting = select.poll() if hasattr(select, "poll") else None  # Not so on Windows.
        if self._waiting is not None:
            # No public way leads to the socket, and can_read() takes five times as long.
            self._waiting.register(connection._sock, select.POLLIN)  # type: ignore[arg-type]

    def ask(self, *commands: bytes) -> list[Any]:
        """Return the answers to commands that are sent together."""
        connection, answers = self._connection, list[Any]()
        connection.send_packed_command([b"".join(commands)], check_health=False)
        for _ in commands:
            try:
                answers.append(connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    def is_stale(self) -> bool:
        # One that the server closed, as by a restart, can be read: its end. So can one with TLS whose server
        # sent a ticket for the next handshake. redis-py tells the two apart, but takes five times as long.
        try:
            return (self._waiting is None or bool(self._waiting.poll(0))) and self._connection.can_read()
        except (RedisError, OSError):
            return True

    def close(self) -> None:
        self._connection.disconnect()


class Server:
    """The lines of one process to one server.

    Each is used by one thread at a time, and kept afterwards. There is no lock, so that a child may be
    forked at any time. Nothing is sent twice: where a line breaks, nobody knows what was done.
    """

    def __init__(self, connect: Callable[[], Line]) -> None:
        self._connect = connect
        self._idle: list[Line] = []

    def ask(self, *commands: bytes) -> list[Any]:
        """Return the answers to commands that are sent together."""
        line = self._take()
        try:
            answers = line.ask(*commands)
        except BaseException as error:
            line.close()  # An answer can still be under way on it.
            if isinstance(error, (RedisError, OSError)):
                self.close()  # The others will hardly do better.
            raise
        self._idle.append(line)
        for answer in answers:
            if isinstance(answer, ReadOnlyError):
                self.close()  # Another is the primary now, and found by connecting again.
        return answers

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _take(self) -> Line:
        while self._idle:
            try:
                line = self._idle.pop()
            except IndexError:
                break  # Another thread was faster.
            if not line.is_stale():
                return line
            line.close()
        return self._connect()


class Servers(ABC):
    """All servers of a store, for one process."""

    span_keys = True  #: Whether one command can change any two keys.
    place: Place | None = None  #: Where the only server is; ``None`` if that can change.

    def __init__(self) -> None:
        self.pid: int = os.getpid()

    @abstractmethod
    def ask(self, key: bytes, command: bytes) -> Any:
        """Return the answer to a packed *command* about *key*.

        :raises redis.RedisError: if there is none in time, or a refusal.
        """

    @abstractmethod
    def primaries(self) -> list[Server]:
        """Those that together have all keys."""

    @abstractmethod
    def close(self) -> None: ...


class OneServer(Servers):
    def __init__(self, connect: Callable[[], Line], place: Place | None = None) -> None:
        super().__init__()
        self.place = place
        self._server = Server(connect)

    def ask(self, key: bytes, command: bytes) -> Any:
        return _accepted(self._server.ask(command)[0])

    def primaries(self) -> list[Server]:
        return [self._server]

    def close(self) -> None:
        self._server.close()


class Guides:
    """Servers that know where the keys are: sentinels, or the nodes of a cluster."""

    def __init__(self, addresses: list[Address], connector: Connector, timeout: float) -> None:
        self._given = self._addresses = addresses
        self._connector = connector
        self._timeout = timeout

    def ask(self, command: bytes, read: Callable[[Address, Any], T]) -> T:
        """Return what *read* makes of the first answer. All servers together have the time of one."""
        errors, addresses = [], self._addresses
        end = time.monotonic() + self._timeout
        for number, address in enumerate(addresses):
            # A third of what is left, so that of two that hang both leave time for another.
            share = max(end - time.monotonic(), 0.01) / min(len(addresses) - number, 3)
            try:
                found = read(address, self._answer(address, command, share))
            except (RedisError, OSError) as error:
                errors.append(f"{address[0]}:{address[1]}: {error}")
            else:
                self._addresses = [address, *(other for other in addresses if other != address)]
                return found
        raise ConnectionError("nobody knows where the keys are: " + "; ".join(errors))

    def know(self, addresses: Iterable[Address]) -> None:
        """Ask these, too, from now on, instead of others that were known."""
        self._addresses = list(dict.fromkeys([self._addresses[0], *self._given, *addresses]))

    def _answer(self, address: Address, command: bytes, timeout: float) -> Any:
        line = self._connector.connect(address, socket_timeout=timeout, socket_connect_timeout=timeout)
        try:
            return _accepted(line.ask(command)[0])
        finally:
            line.close()


class SentinelPrimary(OneServer):
    """The server that the sentinels say is the primary, at the time of each new connection."""

    def __init__(self, connector: Connector, sentinels: Guides, name: str, other_sentinels: int) -> None:
        super().__init__(self._connect)
        self._connector = connector
        self._sentinels = sentinels
        self._question = pack(b"SENTINEL", b"MASTER", name.encode())
        self._other_sentinels = other_sentinels

    def _connect(self) -> Line:
        address = self._sentinels.ask(self._question, self._read)
        line = self._connector.connect(address)
        try:
            # Sentinels name one that is gone until they agree on the next, and it can come back as a replica.
            role = _accepted(line.ask(pack(b"ROLE"))[0])[0].decode()
            if role != "master":
                host, port = address
                raise ConnectionError(f"{host}:{port} is a {role}, which sentinels still call the master")
        except BaseException:
            line.close()
            raise
        return line

    def _read(self, sentinel: Address, answer: list[bytes]) -> Address:
        state = dict(zip(answer[::2], answer[1::2], strict=False))
        if {b"s_down", b"o_down"} & set(state[b"flags"].split(b",")):
            raise ConnectionError("the primary is down")
        if int(state[b"num-other-sentinels"]) < self._other_sentinels:
            raise ConnectionError("it sees too few others")
        return state[b"ip"].decode(), int(state[b"port"])


class Cluster(Servers):
    """The primaries of a cluster, each for its slots."""

    def __init__(self, connector: Connector, nodes: Guides) -> None:
        super().__init__()
        self.span_keys = False
        self._connector = connector
        self._nodes = nodes
        self._slots: list[Address | None] = []
        self._servers: dict[Address, Server] = {}

    def ask(self, key: bytes, command: bytes) -> Any:
        address = (self._slots or self._learn())[key_slot(key)]
        if address is None:
            self._slots = []
            raise ConnectionError("no node of the cluster has the slot of this key")
        try:
            answer = self._follow(command, address, self._at(address).ask(command)[0])
        except (RedisError, OSError):
            self._slots = []  # Another node may have taken its place.
            raise
        return _accepted(answer)

    def primaries(self) -> list[Server]:
        return [self._at(address) for address in dict.fromkeys(self._slots or self._learn()) if address]

    def close(self) -> None:
        for server in list(self._servers.values()):
            server.close()

    def _follow(self, command: bytes, asked: Address, answer: Any) -> Any:
        for _ in range(_REDIRECTIONS):
            if not isinstance(answer, AskError):  # A MovedError is one.
                break
            asked = (answer.host or asked[0], answer.port)
            if isinstance(answer, MovedError):
                self._slots = []
                (answer,) = self._at(asked).ask(command)
            else:
                _, answer = self._at(asked).ask(pack(b"ASKING"), command)
        return answer

    def _at(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers.setdefault(address, Server(partial(self._connector.connect, address)))
        return server

    def _learn(self) -> list[Address | None]:
        self._slots = slots = self._nodes.ask(pack(b"CLUSTER", b"SLOTS"), _slots)
        self._nodes.know(address for address in slots if address)
        return slots


def _slots(asked: Address, answer: list[list[Any]]) -> list[Address | None]:
    """Who has each slot."""
    slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    for first, last, (host, port, *_), *_ in answer:
        # A node that does not know its own name is where it was asked.
        address = (asked[0] if host in (None, b"", b"?") else host.decode(), port)
        slots[first : last + 1] = [address] * (last + 1 - first)
    return slots


def _accepted(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer
