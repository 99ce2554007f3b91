"""The work of progress at result backends and the store, which can hang: one job after the other in a thread.

A body waits for that work for a moment at most, and the timers never do. Each process has its own queue,
whose thread comes from :mod:`..support.threads` while there is work.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from ..support.threads import close_django_connections, in_thread

__all__ = ["hand_over", "watch_forks", "with_connections"]

logger: logging.Logger = logging.getLogger(__name__)

Job = Callable[[], None]
T = TypeVar("T")
U = TypeVar("U")

#: Seconds within which a call fails that uses a closed connection.
AT_ONCE = 1.0


class _Queue:
    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        # Only ever tried, and never waited for: a signal handler or the garbage collector may add a job at
        # any point of the program.
        self._turn = threading.Lock()

    def add(self, job: Job) -> None:
        self._jobs.put(job)
        if self._turn.acquire(blocking=False):
            try:
                in_thread(self._work)
            except BaseException:
                self._turn.release()
                raise

    def _work(self) -> None:
        while True:
            while not self._jobs.empty():
                _do(self._jobs.get())
            self._turn.release()
            # A job that was added just before that found nobody to do it.
            if self._jobs.empty() or not self._turn.acquire(blocking=False):
                return


def _do(job: Job) -> None:
    try:
        job()
    except BaseException:  # Such as SystemExit, from a receiver of our event.
        logger.exception("progress failed in the background")


# One for each process: in a forked child nobody works at what the parent has queued.
_queues: dict[int, _Queue] = {}


def hand_over(job: Job) -> None:
    """Let the background thread of this process call *job*.

    :raises RuntimeError: if no thread can start any more, because the interpreter shuts down.
    """
    pid = os.getpid()
    waiting = _queues.get(pid)
    if waiting is None:
        waiting = _queues.setdefault(pid, _Queue())
    waiting.add(job)


def with_connections(function: Callable[[T], U], argument: T, are_ours: bool) -> U:
    """Return ``function(argument)``, which uses connections that this thread has kept.

    A server may have closed them since: such a call fails at once, and is tried once more. Django looks after
    its connections at each request, and never in a thread that it did not start.

    :param are_ours: whether this is a thread of ours. In any other, the connections are left alone: the body
        may be reading rows from them.
    :raises Exception: what the function raises.
    """
    if not are_ours:
        return function(argument)
    start = time.monotonic()
    try:
        close_django_connections()
        return function(argument)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        if time.monotonic() - start > AT_ONCE:
            raise
    close_django_connections()
    return function(argument)


@lru_cache(maxsize=1)
def watch_forks(in_parent: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Call these functions after each fork from now on, however often this is called with them."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=in_parent, after_in_child=in_child)
