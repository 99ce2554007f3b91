"""A limit on the streams of each task, so that one visitor cannot use up a server's threads."""

from __future__ import annotations

import os
import weakref
from typing import Any

__all__ = ["Place", "Places"]


class Place:
    """A place that a stream has taken. It is free again after :meth:`leave`, or when this object is gone."""

    def __init__(self, places: Places, taken: list[None], key: tuple[int, str]) -> None:
        # A server can drop a stream before it reads from it, and such a stream cannot clean up.
        self.leave: weakref.finalize[..., Any] = weakref.finalize(self, places.leave, taken, key)
        self.leave.atexit = False


class Places:
    """The places for the streams of each task, in each process.

    There is no lock, since a list can be appended to and popped from in one step. Where streams come and go
    at the same instant, one too many may be refused or admitted.

    :param most: the number of places for each task.

    >>> places = Places(1)
    >>> first = places.take("a")
    >>> places.take("a") is None
    True
    >>> first.leave()
    >>> places.take("a") is None
    False
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # An entry in a list for each place. A forked child has copies of its parent's streams, which nobody
        # reads.
        self._taken: dict[tuple[int, str], list[None]] = {}

    def take(self, task_id: str) -> Place | None:
        """Return a place for a stream of *task_id*; ``None`` if there is none left."""
        key = os.getpid(), task_id
        taken = self._taken.setdefault(key, [])
        taken.append(None)
        if len(taken) > self._most:
            taken.pop()
            return None
        return Place(self, taken, key)

    def leave(self, taken: list[None], key: tuple[int, str]) -> None:
        taken.pop()
        if not taken:
            self._taken.pop(key, None)
