"""Threads of this package in the processes of its users."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from .patience import Patience

__all__ = [
    "Work",
    "call_within",
    "close_django_connections",
    "close_with_threads",
    "in_thread",
    "start_thread",
]

T = TypeVar("T")

#: Seconds after which an idle thread ends.
IDLE = 60.0


def start_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run *work* in a thread that ends with the process, and that receives no signals.

    Signals are for the main thread. A pool's process blocks SIGTERM there while it holds the lock of its
    queue. If another thread received the signal, the process would end with the lock held, and no process of
    the pool could answer any more.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _no_signals():
        thread.start()
    return thread


class Work(Generic[T]):
    """A call of a function in another thread.

    :ivar outcome: what it returns or raises. It never gets cancelled.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self.outcome: Future[T] = Future()
        self.outcome.set_running_or_notify_cancel()
        self._function = function
        self._patience = Patience()

    @property
    def waited(self) -> float:
        """Seconds for which :meth:`wait` has waited, without time that this process lost."""
        return self._patience.spent

    def wait(self, seconds: float) -> bool:
        """Wait until it is done, for so many more seconds. Return whether it is done."""
        return self._patience.wait(self.outcome, seconds)

    def do(self) -> None:
        self._patience.thread = threading.get_native_id()
        try:
            value = self._function()
        except BaseException as error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(value)
        finally:
            del self._function  # It may refer to this work.


#: What closes the connections of a thread of :func:`in_thread` that ends.
_closers: list[Callable[[], object]] = []


def close_with_threads(close: Callable[[], object]) -> Callable[[], object]:
    """Call *close* in each thread of :func:`in_thread` when it ends. Return *close*, so this decorates it."""
    _closers.append(close)
    return close


class _ReusableThread:
    """A thread that waits for more work for a while, so that it keeps its connections."""

    def __init__(self, idle: list[_ReusableThread]) -> None:
        self._idle = idle
        self._work: queue.SimpleQueue[Work[Any]] = queue.SimpleQueue()
        start_thread("jobtastic-call", self._run)

    def start(self, work: Work[Any]) -> None:
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work.do()
            del work
            close_django_connections()
            self._idle.append(self)
        for close in _closers:
            with suppress(Exception):
                close()
        close_django_connections(all_of_them=True)

    def _next(self) -> Work[Any] | None:
        while True:
            try:
                return self._work.get(timeout=IDLE)
            except queue.Empty:
                with suppress(ValueError):  # It has just been given work.
                    self._idle.remove(self)
                    return None


def close_django_connections(*, all_of_them: bool = False) -> None:
    """Close the connections of this thread that are too old or broken, as Django does around each request.

    :param all_of_them: whether to close all, because the thread ends.
    """
    database, conf = sys.modules.get("django.db"), sys.modules.get("django.conf")
    if database is None or conf is None or not conf.settings.configured:
        return
    with suppress(Exception):
        database.connections.close_all() if all_of_them else database.close_old_connections()


# The idle threads of each process, the last used one last.
_idle: dict[int, list[_ReusableThread]] = {}


def in_thread(function: Callable[[], T]) -> Work[T]:
    """Call *function* in an idle thread or a new one."""
    work = Work(function)
    idle = _idle.setdefault(os.getpid(), [])
    try:
        thread = idle.pop()
    except IndexError:
        thread = _ReusableThread(idle)
    thread.start(work)
    return work


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """Call *function* in another thread. Return what it returns, or raise what it raises.

    :raises TimeoutError: if it waits for longer than *seconds*. The thread goes on.
    """
    work = in_thread(function)
    if not work.wait(seconds):
        raise TimeoutError(f"no answer within {seconds:g} s")
    return work.outcome.result()


@contextmanager
def _no_signals() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
