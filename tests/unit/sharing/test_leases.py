"""Claims are renewed while their runs go on, and not for a moment longer."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from jobtastic_signals import Claim, StoreError
from jobtastic_signals.sharing.leases import RENEWALS, Lease
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.support.timers import call_at
from tests.support.servers import wait_until

LEASE = 30.0

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Watched(MemoryStore):
    """Remembers what was renewed, and fails when told."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.renewed: list[tuple[str, float]] = []
        self.error: Exception | None = None

    def renew(self, key: str, owner: str, delivery: str, lease: float, **how: Any) -> bool:
        self.renewed.append((owner, lease))
        if self.error is not None:
            raise self.error
        return super().renew(key, owner, delivery, lease, **how)


@pytest.fixture
def store(clock):
    return Watched(clock=clock)


@pytest.fixture
def guarded(store):
    return GuardedStore(lambda: store, "memory://watched", retry_after=0.0)


@pytest.fixture
def hold(guarded):
    """Claims a key and renews it, until the test is over."""
    held = []

    def hold(key="key", owner="owner", *, seconds=LEASE, longest=600.0):
        lease = Lease(guarded, key, owner, f"{owner}/1", seconds=seconds, longest=longest)
        guarded.claim(key, owner, f"{owner}/1", lease.seconds)
        lease.begin()
        held.append(lease)
        return lease

    yield hold
    for lease in held:
        lease.end()


def test_a_claim_outlives_its_lease_while_the_run_goes_on(hold, guarded, store, schedule):
    hold()
    schedule.advance(5 * LEASE)
    assert guarded.lookup("key").owner == "owner"
    assert store.renewed == [("owner", LEASE)] * 5 * RENEWALS


def test_it_is_renewed_no_more_when_the_run_has_ended(hold, guarded, store, schedule):
    lease = hold()
    schedule.advance(LEASE)
    lease.end()
    schedule.advance(LEASE)
    assert guarded.lookup("key") is None
    assert len(store.renewed) == RENEWALS


def test_it_is_never_longer_than_the_run_may_take(hold, guarded, store, schedule):
    hold(longest=61.0)
    schedule.advance(60.9)
    assert guarded.lookup("key") is not None
    schedule.advance(0.1)
    assert guarded.lookup("key") is None
    assert [lease for _, lease in store.renewed] == [30.0, 30.0, 30.0, 21.0]


def test_one_that_is_as_long_as_the_run_may_take_is_not_renewed(hold, guarded, store, schedule):
    assert hold(seconds=60.0, longest=20.0).seconds == 20.0
    schedule.advance(20.0)
    assert guarded.lookup("key") is None
    assert store.renewed == []


def test_a_claim_that_another_delivery_took_is_not_renewed(hold, guarded, store, schedule):
    hold()
    guarded.claim("key", "other", "other/1", 3600, lapsed=guarded.lookup("key"))
    schedule.advance(10 * LEASE)
    assert store.renewed == [("owner", LEASE)]
    assert guarded.lookup("key").owner == "other"


def test_a_claim_that_lapsed_and_that_nobody_took_is_regained(hold, guarded, store, schedule, clock):
    hold()
    claimed = guarded.lookup("key")
    clock.advance(10 * LEASE)  # As if the process was stopped.
    assert guarded.lookup("key") is None
    schedule.advance(0)
    regained = guarded.lookup("key")
    assert (regained.owner, regained.delivery) == ("owner", "owner/1")
    assert regained.since == claimed.since


def test_a_run_that_began_while_the_store_was_away_gets_its_claim_later(guarded, store, schedule, clock):
    lease = Lease(guarded, "key", "owner", "owner/1", seconds=LEASE, longest=600.0)
    began, store.error = clock.now, StoreError("gone")
    lease.begin()
    schedule.advance(LEASE)
    assert len(store.renewed) == RENEWALS
    assert guarded.lookup("key") is None
    store.error = None
    schedule.advance(LEASE)
    assert guarded.lookup("key") == Claim("owner", clock.now + LEASE, since=began, delivery="owner/1")


def test_a_store_that_fails_meanwhile_is_tried_again(hold, guarded, store, schedule):
    hold()
    store.error = StoreError("gone")
    schedule.advance(LEASE)
    assert len(store.renewed) == RENEWALS
    assert guarded.lookup("key") is None
    store.error = None
    schedule.advance(LEASE)
    assert guarded.lookup("key").owner == "owner"


# In a thread of its own.


@pytest.fixture
def short(monkeypatch, store) -> float:
    """A lease that is renewed ten times a second, in real time."""
    monkeypatch.setattr(store, "_clock", time.time)
    return 0.3


def test_one_thread_renews_them_all(hold, store, short):
    for n in range(20):
        hold(f"key-{n}", f"owner-{n}", seconds=short)
    wait_until(lambda: len({owner for owner, _ in store.renewed}) == 20, what="renewals")
    threads = [thread for thread in threading.enumerate() if thread.name == "jobtastic-leases"]
    assert len(threads) == 1
    assert threads[0].daemon


def test_a_result_backend_that_hangs_keeps_nobody_from_renewing(hold, store, short):
    """What is written in the background has another thread."""
    go_on = threading.Event()

    def hold_the_thread() -> None:
        go_on.wait(20)

    call_at(0, hold_the_thread)
    try:
        hold(seconds=short)
        wait_until(lambda: len(store.renewed) >= 3, what="renewals")
    finally:
        go_on.set()


@forks
def test_a_forked_child_renews_what_is_its_own_and_nothing_of_its_parents(hold, guarded, store, short):
    hold("parents", "parent", seconds=short)
    wait_until(lambda: store.renewed, what="a renewal")
    child = os.fork()
    if not child:
        store.renewed.clear()
        hold("childs", "child", seconds=short)
        wait_until(lambda: len(store.renewed) >= 2 * RENEWALS, what="renewals")
        os._exit(0 if {owner for owner, _ in store.renewed} == {"child"} else 1)
    assert os.waitpid(child, 0)[1] == 0
    renewed = len(store.renewed)
    wait_until(lambda: len(store.renewed) > renewed, what="a renewal by the parent")
