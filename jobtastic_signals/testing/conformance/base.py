"""What the tests of the suite begin with: a store, its clock, and claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from ...stores import Claim, Result, Store
from ..clock import Clock

__all__ = ["LATER", "LEASE", "Fixtures", "MakeStore", "payload_of"]

MakeStore = Callable[[Callable[[], float]], Store]

LEASE, LATER = 60.0, 30.0


class Fixtures:
    """Base of all parts of the suite."""

    #: How many sequences of operations are compared with a dict, and of how many steps each.
    examples, steps = 30, 30

    #: How often each race is run.
    rounds = 10

    #: Bytes of the largest payload.
    largest = 10_000_000

    #: Whether a forked child goes on with the same storage, and not with a copy of its own.
    shared_by_processes = True

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Given a clock, makes the store on storage that is empty."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture make_store: a function that is given a clock, and "
            "returns a store on empty storage"
        )

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, make_store: MakeStore, clock: Clock) -> Iterator[Store]:
        with closing(make_store(clock)) as store:
            yield store

    @pytest.fixture
    def ticking(self, make_store: MakeStore) -> Iterator[Store]:
        """A store by the real clock."""
        with closing(make_store(time.time)) as store:
            yield store

    @pytest.fixture
    def lapsed(self, store: Store, clock: Clock) -> None:
        """A claim of ``"late"`` on ``"key"`` that has just lapsed."""
        store.admit("key", "late", LEASE)
        clock.advance(LEASE)

    @pytest.fixture
    def waited(self, store: Store) -> None:
        """A live claim of ``"owner"`` on ``"key"`` that ``"waiter"`` waits for."""
        store.admit("key", "owner", LEASE)
        store.admit("key", "waiter", LEASE)


def payload_of(entry: Result | Claim | None) -> bytes:
    assert isinstance(entry, Result)
    return entry.payload
