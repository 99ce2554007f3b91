"""A claim is renewed while its run goes on, and not for a moment longer."""

from __future__ import annotations

import os
import threading
import time

import pytest
from celery.exceptions import Retry

from jobtastic_signals import Claim, StoreError, events
from jobtastic_signals.sharing import leases
from jobtastic_signals.sharing.leases import Lease
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore

from . import unit_apps
from .unit_apps import deliver, entry_of, published, store_of, work_off
from .workers.servers import wait_until

new_app = unit_apps.new_app

SHORT = 0.3

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Watched(MemoryStore):
    """Remembers what was extended, and fails when told."""

    def __init__(self):
        super().__init__()
        self.extended, self.error = [], None

    def extend(self, key, owner, lease):
        self.extended.append((time.monotonic(), lease))
        if self.error is not None:
            raise self.error
        return super().extend(key, owner, lease)


@pytest.fixture
def store():
    return Watched()


@pytest.fixture
def guarded(store):
    return GuardedStore(lambda: store, "memory://watched")


@pytest.fixture
def hold(guarded):
    """Claims a key and renews it, until the test is over."""
    held = []

    def hold(key="key", owner="owner", *, seconds=SHORT, longest=60.0):
        lease = Lease(guarded, key, owner, seconds=seconds, longest=longest)
        guarded.admit(key, owner, lease.seconds)
        lease.begin()
        held.append(lease)
        return lease

    yield hold
    for lease in held:
        lease.end()


def test_a_claim_outlives_its_lease_while_the_run_goes_on(hold, guarded, store):
    hold()
    began = time.monotonic()
    wait_until(lambda: len(store.extended) >= 6, what="renewals")
    assert time.monotonic() - began > SHORT
    assert guarded.lookup("key").owner == "owner"
    assert {lease for _, lease in store.extended} == {SHORT}


def test_it_is_renewed_no_more_when_the_run_has_ended(hold, guarded, store):
    lease = hold()
    wait_until(lambda: store.extended, what="a renewal")
    lease.end()
    renewed = len(store.extended)
    wait_until(lambda: guarded.lookup("key") is None, what="the end of the lease")
    assert len(store.extended) == renewed


def test_it_is_never_longer_than_the_run_may_take(hold, guarded, store):
    began = time.monotonic()
    # The last renewal is due at 0.4, when there is less left than another SHORT.
    hold(longest=0.61)
    wait_until(lambda: guarded.lookup("key") is None, what="the end of the lease")
    assert time.monotonic() - began == pytest.approx(0.61, abs=0.3)
    assert all(at + lease <= began + 0.69 for at, lease in store.extended)
    assert store.extended


def test_one_that_is_as_long_as_the_run_may_take_is_not_renewed(hold, guarded, store):
    assert hold(seconds=60.0, longest=0.2).seconds == 0.2
    wait_until(lambda: guarded.lookup("key") is None, what="the end of the lease")
    assert store.extended == []


def test_a_claim_that_was_lost_is_not_renewed(hold, guarded, store):
    hold()
    guarded.admit("key", "other", 60, stale="owner")
    wait_until(lambda: store.extended, what="a renewal")
    time.sleep(SHORT)
    assert len(store.extended) == 1
    assert guarded.lookup("key").owner == "other"


def test_a_store_that_fails_meanwhile_is_tried_again(hold, guarded, store, monkeypatch):
    monkeypatch.setattr("jobtastic_signals.breaker.RETRY_AFTER", 0.0)
    hold(seconds=1.0)
    store.error = StoreError("gone")
    wait_until(lambda: len(store.extended) >= 2, what="renewals")
    store.error = None
    renewed = len(store.extended)
    wait_until(lambda: len(store.extended) > renewed, what="another renewal")


def test_one_thread_renews_them_all(hold, store):
    for n in range(20):
        hold(f"key-{n}")
    wait_until(lambda: len(store.extended) >= 60, what="renewals")
    threads = [thread for thread in threading.enumerate() if thread.name == "jobtastic-leases"]
    assert len(threads) == 1
    assert threads[0].daemon


def test_a_result_backend_that_hangs_keeps_nobody_from_renewing(hold, store):
    """What is written in the background has another thread."""
    from jobtastic_signals.support.timers import call_at

    go_on = threading.Event()
    call_at(0, lambda: go_on.wait(20))
    try:
        hold()
        wait_until(lambda: len(store.extended) >= 3, what="renewals")
    finally:
        go_on.set()


@forks
def test_a_forked_child_renews_what_is_its_own_and_nothing_of_its_parents(hold, guarded, store):
    hold("parents")
    wait_until(lambda: store.extended, what="a renewal")
    child = os.fork()
    if not child:
        store.extended.clear()
        hold("childs")
        wait_until(lambda: len(store.extended) >= 3, what="renewals")
        known = guarded.lookup("parents"), guarded.lookup("childs")
        os._exit(0 if known[0] is None and known[1] is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert guarded.lookup("parents") is not None


# Of runs


@pytest.fixture
def claims():
    """The leases that runs begin."""
    begun = []
    original = Lease.begin

    def begin(self):
        if self not in begun:
            begun.append(self)
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases.Lease, "begin", begin)
        yield begun


@pytest.mark.parametrize(("timeout", "expected"), [(600, 30), (5, 5)])
def test_a_run_claims_for_a_short_lease_and_a_call_for_the_whole_timeout(new_app, timeout, expected):
    app = new_app()
    seen = []

    @app.task(herd_avoidance_timeout=timeout)
    def double(n):
        seen.append(entry_of(double, n).expires - time.time())
        return n * 2

    double.delay(1)
    assert entry_of(double, 1).expires - time.time() == pytest.approx(timeout, abs=2)
    work_off(app)
    assert seen == [pytest.approx(expected, abs=2)]


def test_the_lease_is_a_setting(new_app, claims):
    app = new_app(jobtastic_lease=0.3)
    seen = []

    @app.task(herd_avoidance_timeout=60)
    def slow(n):
        time.sleep(0.5)
        seen.append(entry_of(slow, n))

    slow.delay(1)
    work_off(app)
    assert [type(entry) for entry in seen] == [Claim]
    assert entry_of(slow, 1) is None
    assert [lease._ended for lease in claims] == [True]


@pytest.mark.parametrize("ends", [ValueError("wrong"), None])
def test_no_lease_is_renewed_after_its_run(new_app, claims, ends):
    app = new_app()

    @app.task(herd_avoidance_timeout=60)
    def task(n):
        if ends is not None:
            raise ends

    task.delay(1)
    work_off(app)
    assert [lease._ended for lease in claims] == [True]


def test_a_retry_ends_the_lease_of_the_run_before_its_message_has_its_own(new_app, claims):
    app = new_app()
    order = []

    @app.task(bind=True, herd_avoidance_timeout=60)
    def stubborn(self, n):
        try:
            self.retry(countdown=100)
        except Retry:
            order.append([lease._ended for lease in claims])
            order.append(entry_of(stubborn, n).expires - time.time())
            raise

    stubborn.delay(1)
    deliver(app, published(app)[0])
    assert order == [[True], pytest.approx(160, abs=2)]
    assert entry_of(stubborn, 1).expires - time.time() == pytest.approx(160, abs=2)


@pytest.mark.parametrize("lease", [0, -1, "30", True, float("inf")])
def test_a_wrong_lease_is_refused(new_app, lease):
    from jobtastic_signals import SettingError

    app = new_app(jobtastic_lease=lease)

    @app.task(herd_avoidance_timeout=60)
    def double(n): ...

    with pytest.raises(SettingError, match="a number of seconds above 0"):
        double.delay(1)


# A store that is required


@pytest.fixture
def down(monkeypatch):
    """Lets the store fail."""
    failing = threading.Event()

    def fail(original):
        def operation(self, *arguments, **options):
            if failing.is_set():
                raise OSError("gone")
            return original(self, *arguments, **options)

        return operation

    for name in ("lookup", "admit", "settle"):
        monkeypatch.setattr(MemoryStore, name, fail(getattr(MemoryStore, name)))
    monkeypatch.setattr("jobtastic_signals.breaker.RETRY_AFTER", 0.0)
    return failing


@pytest.mark.parametrize("options", [{"cache_duration": 60}, {"herd_avoidance_timeout": 60}])
def test_where_the_store_is_required_a_call_fails_and_so_does_a_run(new_app, down, options):
    app = new_app(jobtastic_store_required=True)
    runs = []

    @app.task(**options)
    def double(n):
        runs.append(n)
        return n * 2

    queued = double.delay(1)
    down.set()
    for _ in range(2):
        with pytest.raises(StoreError, match="jobtastic_store_required"):
            double.delay(2)
    [message] = published(app)
    deliver(app, message)
    assert runs == []
    assert queued.state == "FAILURE"
    assert "cannot be asked" in str(queued.result)
    down.clear()
    assert double.delay(3).state == "PENDING"
    work_off(app)
    assert runs == [3]


def test_where_it_is_not_required_it_costs_the_sharing_alone(new_app, down):
    app = new_app()
    runs = []

    @app.task(herd_avoidance_timeout=60)
    def double(n):
        runs.append(n)

    down.set()
    double.delay(1)
    double.delay(1)
    work_off(app)
    assert runs == [1, 1]


def test_the_identity_is_asked_for_once_in_a_minute(store):
    now = [0.0]
    guarded = GuardedStore(lambda: store, "memory://watched", clock=lambda: now[0])
    first = guarded.identity
    store._identity = "another"
    assert guarded.identity == first
    now[0] += 61
    assert "another" in guarded.identity
    store._identity = "a third"
    guarded.close()
    assert "a third" in guarded.identity


@forks
def test_a_forked_childs_store_of_one_process_is_another_one(store):
    guarded = GuardedStore(lambda: store, "memory://watched")
    parents = guarded.identity
    child = os.fork()
    if not child:
        os._exit(0 if guarded.identity != parents else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_lapsed_owner_is_told_of_nothing_and_loses(new_app):
    """Two run at once: the late one's result is dropped."""
    app = new_app(jobtastic_lease=0.2)
    taken = []

    with events.claim_taken_over.connected_to(lambda task, **info: taken.append(info["previous"])):

        @app.task(herd_avoidance_timeout=60, cache_duration=60)
        def slow(n):
            store_of(app).admit(key, "thief", 60, stale=first.id)
            store_of(app).settle(key, "thief", payload, None)
            return "late"

        from jobtastic_signals.results.backend import dumps

        from .unit_apps import key_of

        key, payload = key_of(slow, 1), dumps(app, "early")
        first = slow.delay(1)
        work_off(app)
    assert first.get() == "late"
    assert entry_of(slow, 1).owner == "thief"
    assert slow.delay(1).get() == "early"
