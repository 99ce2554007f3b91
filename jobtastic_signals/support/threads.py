"""Threads of our own in processes that are not ours."""

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

#: Seconds after which a thread that nobody needs ends.
IDLE = 60.0


def start_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run *work* in a thread that ends with the process, and takes no signals.

    Those are for the main thread, when that does not block them. A pool's process blocks SIGTERM while it
    holds the lock of its queue. Taken by another thread, it would end the process in the midst of that, and
    no process of the pool could answer any more.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _no_signals():
        thread.start()
    return thread


class _Kept:
    """A thread that waits for the next work, for a while: what it has of its own is not made each time."""

    def __init__(self, idle: list[_Kept]) -> None:
        self._idle = idle
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        start_thread("jobtastic-call", self._run)

    def take(self, work: Callable[[], object]) -> None:
        self._work.put(work)

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE)
            except queue.Empty:
                with suppress(ValueError):  # Somebody has just taken it.
                    self._idle.remove(self)
                    return
            else:
                work()
                del work
                self._idle.append(self)


# For each process, the threads that wait for work, the last used one last.
_idle: dict[int, list[_Kept]] = {}


def in_thread(work: Callable[[], object]) -> None:
    """Call *work*, which never raises, in a thread that nobody else needs now."""
    idle = _idle.setdefault(os.getpid(), [])
    try:
        thread = idle.pop()
    except IndexError:
        thread = _Kept(idle)
    thread.take(work)


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """What *function* returns or raises, called in another thread.

    :raises TimeoutError: if it takes longer than *seconds*; the thread goes on.
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
