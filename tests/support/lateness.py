"""How much of the time that something took is the fault of a busy machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def lateness() -> Iterator[Callable[[], float]]:
    """Gives a function: for how many seconds the machine kept a thread waiting that wanted little of it."""
    late, over = [0.0], threading.Event()

    def look() -> None:
        before = time.monotonic()
        while not over.wait(0.01):
            now = time.monotonic()
            late[0] += max(now - before - 0.02, 0.0)
            before = now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: late[0]
    finally:
        over.set()
        thread.join()
