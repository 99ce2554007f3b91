"""Starting threads of our own in processes that are not ours."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["call_within", "start_thread"]

T = TypeVar("T")


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


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """What *function* returns or raises, called in a thread of its own.

    :raises TimeoutError: if it takes longer than *seconds*; the thread goes on.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    start_thread("jobtastic-call", work)
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
