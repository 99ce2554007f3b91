"""An app whose store has a clock that stands still, and renewals that are due by that clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.backends import cache
from kombu.utils.functional import LRUCache

from jobtastic_signals.sharing import leases
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.testing import Clock
from tests.support.unit_apps import NewApp, use_store


class Schedule:
    """Stands in for the thread that renews: what is due is called as the clock advances."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), function))

    def advance(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._due and self._due[0][0] <= end:
            self.clock.now, _, function = heapq.heappop(self._due)
            function()
        self.clock.now = end


@pytest.fixture
def schedule(clock, monkeypatch) -> Schedule:
    """Renewals and their clock, which is the store's as well."""
    schedule = Schedule(clock)
    monkeypatch.setattr(leases, "timers", schedule)
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=clock))
    return schedule


@pytest.fixture(autouse=True)
def results(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result backend in memory is empty at first; otherwise all apps of the process have one."""
    monkeypatch.setattr(cache, "_DUMMY_CLIENT_CACHE", LRUCache(limit=5000))


@pytest.fixture
def memory(clock: Clock) -> MemoryStore:
    """A store with the clock of the test."""
    return MemoryStore(clock=clock)


@pytest.fixture
def app(new_app: NewApp, memory: MemoryStore) -> Celery:
    """Shares through that store."""
    app = new_app()
    use_store(app, memory)
    return app
