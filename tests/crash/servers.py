"""Servers of the harness's own. Each can be killed, stalled and emptied."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import kombu
import pytest
import redis

__all__ = ["Memcached", "RabbitMQ", "Redis", "Server", "wait_until"]

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"

#: Seconds after which something counts as stuck. Nothing that works takes a fraction of it.
PATIENCE = float(os.environ.get("CRASH_PATIENCE", 90))

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], what: str, *, patience: float = PATIENCE, every: float = 0.03
) -> T:
    """Return the first true value of *condition*.

    :raises AssertionError: if there is none in time.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(every)
    return value


def need(program: str) -> str:
    """Return the path of *program*. Without it tests fail in CI, and are skipped elsewhere."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return str(found)


def spawn(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start *command* in a process group of its own."""
    # Celery would prefer such variables to what an app says.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**inherited, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group of *process*."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Server:
    """A server on a port of its own, which it keeps when it starts again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        folder.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._start_somewhere()

    def command(self) -> list[str]:
        """Return what starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what it finds in its environment."""
        return {}

    def is_mine(self) -> bool:
        """Return whether this server answers at its port, and not somebody else's."""
        raise NotImplementedError

    def start(self) -> bool:
        """Start it. Return whether it came up; another process may have its port."""
        self.process = spawn(self.command(), self.folder / "log", self.environment())
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, redis.RedisError, kombu.exceptions.OperationalError):
                if self.is_mine():
                    return True
            time.sleep(0.02)
        end(self.process)
        return False

    def kill(self) -> None:
        """Kill it, without a chance to save anything."""
        if self.process is not None:
            end(self.process)

    def restart(self) -> None:
        """Kill it and start it again, with whatever it has kept."""
        self.kill()
        wait_until(self.start, f"{type(self).__name__} starting again on its port")

    def stall(self) -> None:
        """Stop it. It accepts connections, and answers nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def _start_somewhere(self) -> None:
        for _ in range(20):
            self.port = random.randint(20_000, 23_900)
            if self.start():
                return
        pytest.fail(f"{type(self).__name__} does not start: {(self.folder / 'log').read_text()[-2000:]}")


class Redis(Server):
    """A Redis that keeps its data when it is killed."""

    def command(self) -> list[str]:
        return [
            *[
                need("redis-server"),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.folder),
            ],
            # What was written before the process died is there: only a power cut loses it.
            *["--save", "", "--appendonly", "yes", "--appendfsync", "no"],
        ]

    def url(self, database: int = 0) -> str:
        """Return the URL of a database."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> Any:
        """Return a client, to be closed."""
        return redis.Redis(port=self.port, db=database, socket_timeout=20, protocol=2)

    def is_mine(self) -> bool:
        assert self.process is not None
        with self.client() as client:
            return bool(client.info("server")["process_id"] == self.process.pid)

    def empty(self) -> None:
        """Drop everything."""
        with self.client() as client:
            client.flushall()


class Memcached(Server):
    """A Memcached."""

    def command(self) -> list[str]:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [need("memcached"), *user, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64"]

    def url(self) -> str:
        """Return its URL."""
        return f"memcached://127.0.0.1:{self.port}"

    def is_mine(self) -> bool:
        assert self.process is not None
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"stats\r\n")
            return f"STAT pid {self.process.pid}\r\n".encode() in connection.recv(65536)


class RabbitMQ(Server):
    """A RabbitMQ node with a port mapper of its own."""

    _mapper: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        need(RABBITMQ)
        return [RABBITMQ]

    def environment(self) -> dict[str, str]:
        # It needs two more ports, all below those that the system gives to clients.
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.port + 4_000),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
            "RABBITMQ_NODENAME": f"crash{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.port + 8_000),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log-files"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def start(self) -> bool:
        if self._mapper is None or self._mapper.poll() is not None:
            mapper = [need("epmd"), "-port", str(self.port + 4_000), "-address", "127.0.0.1"]
            self._mapper = spawn(mapper, self.folder / "log")
        return super().start()

    def kill(self) -> None:
        super().kill()
        if self._mapper is not None:
            end(self._mapper)

    def url(self) -> str:
        """Return its URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def is_mine(self) -> bool:
        # Its name carries the port, so a stranger would not know the node.
        with kombu.Connection(self.url(), connect_timeout=5) as connection:
            properties = connection.connect() and connection.connection.server_properties
            return f"crash{self.port}@" in str(properties.get("cluster_name", ""))
