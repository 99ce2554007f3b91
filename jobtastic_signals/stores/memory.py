"""``memory://``: a dict, for tests and programs of one process."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .base import Claim, Result, Store
from .rules import admitted, kept_until, may_settle, until

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """Claims and results in two dicts under one lock.

    Nothing is ever evicted, and a forked child goes on with a copy of its own: not for production.

    >>> store = MemoryStore()
    >>> store.admit("key", "me", lease=60).owner
    'me'
    >>> store.settle("key", "me", b"42", ttl=None)
    True
    >>> store.lookup("key").payload
    b'42'
    """

    schemes = ("memory",)

    def __init__(self, url: str = "memory://", **options: Any) -> None:
        super().__init__(url, **options)
        self._claims: dict[str, Claim] = {}
        self._results: dict[str, Result] = {}
        self._identity = uuid.uuid4().hex
        self._locks: dict[int, threading.Lock] = {}

    @property
    def identity(self) -> str:
        return f"memory:{self._identity}:{os.getpid()}"

    def lookup(self, key: str) -> Result | Claim | None:
        with self._exclusively():
            return self._lookup(key, self._clock())

    def admit(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        waited_for: str | None = None,
        stale: str | None = None,
        waits: bool = True,
    ) -> Result | Claim:
        with self._exclusively():
            now = self._clock()
            result = self._results.get(key)
            if result is not None and result.answers(waited_for, now):
                return result
            claim = admitted(self._claims.get(key), owner, lease, stale, now, waits=waits)
            self._claims[key] = replace(claim, previous=None)
            return claim

    def extend(self, key: str, owner: str, lease: float) -> bool:
        with self._exclusively():
            now = self._clock()
            claim = self._claims.get(key)
            if claim is None or claim.owner != owner or claim.expires <= now:
                return False
            self._claims[key] = replace(claim, expires=now + lease)
            return True

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        with self._exclusively():
            now = self._clock()
            claim = self._claims.get(key)
            if not may_settle(claim, self._results.get(key), owner, now):
                return False
            kept = kept_until(claim, owner, ttl, handover, now)
            if kept is None or kept > now:
                self._results[key] = Result(owner, payload, until(ttl, now), kept)
            if claim is not None and claim.owner == owner:
                del self._claims[key]
            return True

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        with self._exclusively():
            claim = self._claims.get(key)
            if claim is None or claim.owner != owner or (unless_waited and claim.waited):
                return False
            del self._claims[key]
            return True

    def forget(self, key: str) -> bool:
        with self._exclusively():
            result = self._results.pop(key, None)
            return result is not None and result.answers(None, self._clock())

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        with self._exclusively():
            now = self._clock()
            keys = [key for key in {**self._results, **self._claims} if key.startswith(prefix)]
            found = [(key, self._lookup(key, now)) for key in keys]
        return iter([(key, entry) for key, entry in found if entry is not None])

    def _lookup(self, key: str, now: float) -> Result | Claim | None:
        result = self._results.get(key)
        if result is not None and result.answers(None, now):
            return result
        claim = self._claims.get(key)
        return claim if claim is not None and now < claim.expires else None

    def _exclusively(self) -> threading.Lock:
        # One for each process: a child forked while another thread held the lock would wait for ever.
        return self._locks.setdefault(os.getpid(), threading.Lock())
