"""Starting threads of our own in processes that are not ours."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["start_thread"]


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
