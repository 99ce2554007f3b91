"""Servers and workers that all tests of a session share, also in the processes of pytest-xdist.

They are children of the process that started the session. It starts each when a test first asks for it, and
ends them all when the last test has ended. A process of pytest-xdist asks through a Unix socket.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import rabbitmq_server, redis_server
from tests.support.workers.projects import start_project

#: Where the socket is, in the environment of the processes of pytest-xdist.
ADDRESS = "JOBTASTIC_TESTS_SHARED"

#: What a test may raise for a server that is not installed.
OUTCOMES: dict[str, Callable[[str], Any]] = {"skip": pytest.skip, "fail": pytest.fail}


class Shared:
    """What the session has started so far."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="jobtastic-tests-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._started: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._databases = itertools.count()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Answer one of the requests ``redis``, ``rabbitmq`` and ``project``."""
        return getattr(self, what)(*arguments)

    def redis(self) -> str:
        """Return the URL of a database of Redis that nobody else uses."""
        return f"{self._once('redis', self._start_redis)}/{next(self._databases)}"

    def rabbitmq(self) -> str:
        return self._once("rabbitmq", lambda folder: self._stack.enter_context(rabbitmq_server(folder)))

    def project(self, setup: str) -> dict[str, Any]:
        """Return what :func:`create_app` needs for the project of *setup*, and where its worker logs."""
        return self._once(setup, lambda folder: start_project(setup, folder, self, self._stack))

    def close(self) -> None:
        self._stack.close()

    def _start_redis(self, folder: Path) -> str:
        return self._stack.enter_context(redis_server(folder, "--databases", "2000"))

    def _once(self, name: str, start: Callable[[Path], Any]) -> Any:
        with self._locks.setdefault(name, threading.Lock()):
            if name not in self._started:
                folder = self.folder / name
                folder.mkdir()
                self._started[name] = start(folder)
            return self._started[name]

    def serve(self) -> None:
        """Answer other processes from now on, in threads."""
        listener = Listener(str(self.folder / "socket"), "AF_UNIX", backlog=64)
        self._stack.callback(listener.close)
        os.environ[ADDRESS] = str(self.folder / "socket")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection = listener.accept()
                    threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError):
            request = connection.recv()
            try:
                answer = ("value", self.ask(*request))
            except pytest.skip.Exception as outcome:
                answer = ("skip", outcome.msg)
            except BaseException as error:
                answer = ("fail", f"{request} failed: {error!r}")
            connection.send(answer)


class Remote:
    """The same, asked from a process of pytest-xdist."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.folder = Path(address).parent

    def ask(self, *request: Any) -> Any:
        with Client(self._address, "AF_UNIX") as connection:
            connection.send(request)
            kind, value = connection.recv()
        return value if kind == "value" else OUTCOMES[kind](value)

    def redis(self) -> str:
        return self.ask("redis")

    def rabbitmq(self) -> str:
        return self.ask("rabbitmq")

    def project(self, setup: str) -> dict[str, Any]:
        return self.ask("project", setup)
