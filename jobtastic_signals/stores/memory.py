"""``memory://``: a dict, for tests and programs of one process."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from .cas import CompareAndSwapStore, Decision
from .entry import NOTHING, Entry

__all__ = ["MemoryStore"]

T = TypeVar("T")


class MemoryStore(CompareAndSwapStore):
    """Entries in a dict under a lock.

    Nothing is ever evicted, and a forked child goes on with a copy of its own: not for production.

    >>> store = MemoryStore()
    >>> store.claim("key", owner="me", delivery="me/1", lease=60).owner
    'me'
    >>> store.complete("key", "me", "me/1", b"42", ttl=None)
    True
    >>> store.lookup("key").payload
    b'42'
    """

    schemes: ClassVar[tuple[str, ...]] = ("memory",)

    def __init__(self, url: str = "memory://", **options: Any) -> None:
        super().__init__(url, **options)
        self._entries: dict[str, Entry] = {}
        self._identity = uuid.uuid4().hex
        self._locks: dict[int, threading.RLock] = {}

    @property
    def identity(self) -> str:
        return f"memory:{self._identity}:{os.getpid()}"

    def read(self, key: str) -> Entry:
        return self._entries.get(key, NOTHING)

    def exchange(self, key: str, decide: Decision[T]) -> T:
        with self.in_one_step():
            answer, after = decide(self.read(key), self._clock())
            self._entries[key] = after
            if not after:
                del self._entries[key]
            return answer

    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        with self.in_one_step():
            found = [(key, entry) for key, entry in self._entries.items() if key.startswith(prefix)]
        return iter(found)

    def in_one_step(self) -> threading.RLock:
        # One for each process: a child forked while another thread held the lock would wait for ever.
        return self._locks.setdefault(os.getpid(), threading.RLock())
