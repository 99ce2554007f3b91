"""A few threads in each process that read the statuses for all requests.

Celery gives each thread its own result backend, with its own connection. Some servers start a thread or a
greenlet for each request, and there each poll would open a connection.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from ..support.threads import start_thread

__all__ = ["Readers"]

T = TypeVar("T")


class Readers:
    """Threads that call functions. They start when they are needed, and end with the process.

    A process has none before its first call, and neither has a forked child. A ``ThreadPoolExecutor`` that
    was used before a fork would wait for threads that the child does not have. Its locks can also be older
    than gevent's patches, and it keeps a process from ending while a result backend hangs.

    :param most: the number of threads in each process.

    >>> Readers(2).submit(lambda: 42).result()
    42
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads: dict[int, _Threads] = {}

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Return a future for what *function* returns in one of the threads."""
        pid = os.getpid()
        threads = self._threads.get(pid) or self._threads.setdefault(pid, _Threads(self._most))
        future: Future[T] = Future()
        threads.put(partial(_settle, future, function))
        return future


class _Threads:
    def __init__(self, most: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # An entry for each thread that waits for work, and for each that may still start. They are taken
        # without a lock.
        self._idle: list[None] = []
        self._startable = [None] * most

    def put(self, work: Callable[[], None]) -> None:
        self._work.put(work)
        if not _take(self._idle) and _take(self._startable):
            try:
                start_thread("jobtastic-status", self._run)
            except BaseException:
                self._startable.append(None)
                raise

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                self._idle.append(None)
                work = self._work.get()
            work()
            del work  # It holds what it has read.


def _take(entries: list[None]) -> bool:
    try:
        entries.pop()
    except IndexError:
        return False
    return True


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
