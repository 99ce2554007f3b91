"""The leases of calls and runs: how long, until when, and what a run that lost its claim may still do."""

from __future__ import annotations

import pytest

from jobtastic_signals import Claim, SettingError
from jobtastic_signals.results.payload import dumps
from jobtastic_signals.sharing.leases import Lease
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import deliver, entry_of, key_of, published, store_of, use_store, work_off


@pytest.fixture
def begun(monkeypatch) -> list[Lease]:
    """The leases that runs begin."""
    leases_of_runs: list[Lease] = []
    original = Lease.begin

    def begin(self):
        if self not in leases_of_runs:
            leases_of_runs.append(self)
        original(self)

    monkeypatch.setattr(Lease, "begin", begin)
    return leases_of_runs


@pytest.mark.parametrize(("timeout", "expected"), [(600, 30), (5, 5)])
def test_a_call_and_its_run_claim_for_a_lease_that_is_never_longer_than_the_timeout(
    new_app, clock, timeout, expected
):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))
    seen = []

    @app.task(herd_avoidance_timeout=timeout)
    def double(n):
        seen.append(entry_of(double, n).expires - clock.now)
        return n * 2

    double.delay(1)
    assert entry_of(double, 1).expires - clock.now == expected
    clock.advance(1)
    work_off(app)
    assert seen == [expected]


def test_the_lease_is_a_setting(new_app, begun, schedule, clock):
    app = new_app(jobtastic_lease=0.3)
    use_store(app, MemoryStore(clock=clock))
    seen = []

    @app.task(herd_avoidance_timeout=60)
    def slow(n):
        schedule.advance(0.5)
        seen.append(entry_of(slow, n))

    slow.delay(1)
    work_off(app)
    assert [type(entry) for entry in seen] == [Claim]
    assert entry_of(slow, 1) is None
    assert [(lease.seconds, lease._ended) for lease in begun] == [(0.3, True)]


@pytest.mark.parametrize("ends", [ValueError("wrong"), None])
def test_no_lease_is_renewed_after_its_run(new_app, begun, ends):
    app = new_app()

    @app.task(herd_avoidance_timeout=60)
    def task(n):
        if ends is not None:
            raise ends

    task.delay(1)
    work_off(app)
    assert [lease._ended for lease in begun] == [True]


def test_a_retry_ends_the_lease_of_the_run_and_leaves_a_queued_claim_that_is_not_renewed(
    new_app, begun, schedule, clock
):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))

    @app.task(bind=True, herd_avoidance_timeout=60)
    def stubborn(self, n):
        raise self.retry(countdown=10)

    first = stubborn.delay(1)
    deliver(app, published(app)[0])
    assert [lease._ended for lease in begun] == [True]
    assert entry_of(stubborn, 1) == Claim(first.id, clock.now + 30, since=clock.now)
    schedule.advance(30)
    assert entry_of(stubborn, 1) is None


@pytest.mark.parametrize("lease", [0, -1, "30", True, float("inf")])
def test_a_wrong_lease_is_refused(new_app, lease):
    app = new_app(jobtastic_lease=lease)

    @app.task(herd_avoidance_timeout=60)
    def double(n): ...

    with pytest.raises(SettingError, match="a number of seconds above 0"):
        double.delay(1)


def test_a_run_that_lost_its_claim_to_another_delivery_stores_nothing(new_app, clock):
    """Two run at once: the late one's result is dropped."""
    app = new_app()
    use_store(app, MemoryStore(clock=clock))

    @app.task(herd_avoidance_timeout=60, cache_duration=60)
    def slow(n):
        clock.advance(31)
        store, key = store_of(app), key_of(slow, n)
        assert store.claim(key, "thief", "thief/1", 60).owner == "thief"
        assert store.complete(key, "thief", "thief/1", dumps(app, "early"), ttl=None)
        return "late"

    first = slow.delay(1)
    work_off(app)
    assert first.get() == "late"
    assert entry_of(slow, 1).owner == "thief"
    assert slow.delay(1).get() == "early"


def test_a_run_that_lost_its_claim_leaves_that_of_the_delivery_which_took_it(new_app, clock):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))

    @app.task(herd_avoidance_timeout=60, cache_duration=60)
    def slow(n):
        clock.advance(31)
        store_of(app).claim(key_of(slow, n), slow.request.id, "thief/1", 60)
        return "late"

    slow.delay(1)
    work_off(app)
    assert entry_of(slow, 1).delivery == "thief/1"
