"""Threads of this package in the processes of its users."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import TypeVar

__all__ = ["call_within", "in_thread", "start_thread"]

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


class _ReusableThread:
    """A thread that waits for more work for a while, so that it keeps its connections."""

    def __init__(self, idle: list[_ReusableThread]) -> None:
        self._idle = idle
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        start_thread("jobtastic-call", self._run)

    def start(self, work: Callable[[], object]) -> None:
        self._work.put(work)

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE)
            except queue.Empty:
                with suppress(ValueError):  # It has just been given work.
                    self._idle.remove(self)
                    return
            else:
                work()
                del work
                self._idle.append(self)


# The idle threads of each process, the last used one last.
_idle: dict[int, list[_ReusableThread]] = {}


def in_thread(work: Callable[[], object]) -> None:
    """Call *work*, which never raises, in an idle thread or a new one."""
    idle = _idle.setdefault(os.getpid(), [])
    try:
        thread = idle.pop()
    except IndexError:
        thread = _ReusableThread(idle)
    thread.start(work)


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """Call *function* in another thread. Return what it returns, or raise what it raises.

    :raises TimeoutError: if it takes longer than *seconds*. The thread goes on.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    in_thread(work)
    wait([future], seconds)
    if not future.done():
        raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


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
