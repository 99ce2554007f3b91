"""The fixtures of the suite, and short ways to use a store and to say what is expected of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from ...stores import Claim, Result, Store
from ..clock import Clock

__all__ = [
    "LATER",
    "LEASE",
    "Fixtures",
    "Make",
    "MakeStore",
    "complete",
    "delivery_of",
    "payload_of",
    "put",
    "queue",
    "queued",
    "renew",
    "result_of",
    "run",
    "running",
]

MakeStore = Callable[[Callable[[], float]], Store]

#: :func:`queue` or :func:`run`.
Make = Callable[..., Any]

LEASE, LATER = 60.0, 30.0


class Fixtures:
    """Base of all parts of the suite."""

    #: How many sequences of operations are compared with a dict, and of how many steps each.
    examples: int = 30
    steps: int = 30

    #: How often each race is run.
    rounds = 7

    #: Bytes of the largest payload.
    largest = 10_000_000

    #: Whether a forked child goes on with the same storage, and not with a copy of its own.
    shared_by_processes = True

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return a function that makes the store, given a clock, on storage that is empty."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture make_store: a function that is given a clock, and "
            "returns a store on empty storage"
        )

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock of ``store``. It stands until a test advances it."""
        return Clock()

    @pytest.fixture
    def store(self, make_store: MakeStore, clock: Clock) -> Iterator[Store]:
        """Return the store under test."""
        with closing(make_store(clock)) as store:
            yield store

    @pytest.fixture
    def ticking(self, make_store: MakeStore) -> Iterator[Store]:
        """Return a store that goes by the real clock."""
        with closing(make_store(time.time)) as store:
            yield store

    @pytest.fixture
    def lapsed(self, store: Store, clock: Clock) -> None:
        """Leave a running claim of ``"late"`` on ``"key"`` that has just lapsed."""
        run(store, "late")
        clock.advance(LEASE)

    @pytest.fixture
    def waited(self, store: Store) -> None:
        """Leave a live running claim of ``"owner"`` on ``"key"`` that ``"waiter"`` waits for."""
        run(store, "owner")
        run(store, "waiter")


def delivery_of(owner: str, number: int = 1) -> str:
    """Return the token of a delivery of *owner*'s message."""
    return f"{owner}/{number}"


def queue(store: Store, owner: str, key: str = "key", lease: float = LEASE, **options: Any) -> Any:
    """Look *key* up for a call, or claim it for the call's message."""
    return store.lookup_or_claim(key, owner, lease, **options)


def run(store: Store, owner: str, key: str = "key", lease: float = LEASE, **options: Any) -> Any:
    """Claim *key* for the first delivery of *owner*."""
    return store.claim(key, owner, delivery_of(owner), lease, **options)


def renew(store: Store, owner: str, key: str = "key", lease: float = LEASE, **options: Any) -> bool:
    """Renew the claim of the first delivery of *owner*."""
    return store.renew(key, owner, delivery_of(owner), lease, **options)


def complete(
    store: Store,
    owner: str,
    payload: bytes = b"42",
    ttl: float | None = None,
    key: str = "key",
    **options: Any,
) -> bool:
    """Store a result of the first delivery of *owner*."""
    return store.complete(key, owner, delivery_of(owner), payload, ttl=ttl, **options)


def put(
    store: Store, key: str, payload: bytes = b"42", ttl: float | None = None, owner: str = "owner"
) -> bool:
    """Store a result that no run computed."""
    return store.complete(key, owner, None, payload, ttl=ttl)


def queued(owner: str, since: float, lease: float = LEASE, **fields: Any) -> Claim:
    """Return the queued claim that *owner* made then."""
    return Claim(owner, since + lease, since, **fields)


def running(owner: str, since: float, lease: float = LEASE, **fields: Any) -> Claim:
    """Return the claim of the first delivery of *owner*, which began then."""
    return Claim(owner, since + lease, since, **{"delivery": delivery_of(owner), **fields})


def result_of(
    owner: str, now: float, payload: bytes = b"42", ttl: float | None = None, **fields: Any
) -> Result:
    """Return a result that was stored *now*, at the end of a run that took no time."""
    end = None if ttl is None else now + ttl
    given = {"state": "SUCCESS", "began": now, "ended": now, "expires": end, "kept": end, **fields}
    return Result(owner, payload, **given)


def payload_of(entry: Result | Claim | None) -> bytes:
    """Return the payload of what should be a result."""
    assert isinstance(entry, Result)
    return entry.payload
