"""The rows of what a store holds."""

from __future__ import annotations

import pytest

from jobtastic_signals.keys.tags import scope_of_prefix
from jobtastic_signals.sharing.inventory import rows, rows_of
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import installed_on, key_of, use_store

WORKER = "celery@web1~0f/5a"


@pytest.fixture
def app(new_app):
    app = new_app()

    @app.task(name="report", shared=False, herd_avoidance_timeout=60, cache_duration=60)
    def report(n):
        pass

    def number(n):
        pass

    for name in ("total", "sum"):
        app.task(number, name=name, shared=False, cache_duration=60, cache_prefix="numbers")
    return app


@pytest.fixture
def store(app, clock):
    return use_store(app, MemoryStore("memory://", clock=clock))


@pytest.fixture
def key(app):
    return key_of(app.tasks["report"], 1)


def only_row(app, **options):
    (row,) = rows(installed_on(app), **options)
    return row


def test_a_queued_claim(app, store, key, clock):
    store.lookup_or_claim(key, "one", 30)
    store.lookup_or_claim(key, "two", 30)
    clock.advance(10)
    row = only_row(app)
    assert (row.task, row.key, row.state, row.owner) == ("report", key, "queued", "one")
    assert (row.age, row.lease_left, row.waiting, row.worker) == (10, 20, 1, "")
    assert row.is_in_flight


def test_a_running_claim_and_the_one_behind_it(app, store, key, clock):
    store.claim(key, "one", WORKER, 30)
    store.lookup_or_claim(key, "two", 30)
    store.lookup_or_claim(key, "three", 30, rerun=True)
    clock.advance(5)
    running, behind = rows(installed_on(app))
    assert (running.state, running.owner, running.worker) == ("running", "one", "celery@web1")
    assert (running.age, running.next) == (5, "three")
    assert (behind.state, behind.owner, behind.worker, behind.next) == ("waiting", "three", "", None)


def test_messages_that_wait_are_known_though_not_their_number(app, store, key):
    store.claim(key, "one", WORKER, 30)
    assert not only_row(app).is_awaited
    store.claim(key, "two", "celery@web2~0f/6b", 30)
    row = only_row(app)
    assert (row.waiting, row.is_awaited) == (0, True)


def test_a_result_is_cached_then_stale_and_may_be_a_failure(app, store, key, clock):
    store.complete(key, "one", None, b"12345", ttl=60, stale_for=30)
    clock.advance(50)
    row = only_row(app)
    assert (row.state, row.age, row.expires_in, row.size) == ("cached", 50, 10, 5)
    assert not row.is_in_flight
    clock.advance(20)
    row = only_row(app)
    assert (row.state, row.expires_in) == ("stale", 20)
    clock.advance(20)
    assert rows(installed_on(app)) == []
    store.complete(key, "one", None, b"", ttl=None, state="FAILURE")
    row = only_row(app)
    assert (row.state, row.expires_in) == ("failed", None)


def test_what_goes_on_can_be_had_alone(app, store, key):
    store.complete(key, "one", None, b"", ttl=60)
    assert rows(installed_on(app), only_in_flight=True) == []
    store.lookup_or_claim(key, "two", 30, fresh=True)
    assert [row.state for row in rows(installed_on(app))] == ["queued", "cached"]
    assert only_row(app, only_in_flight=True).state == "queued"


def test_what_was_forgotten_with_its_task_is_not_there(app, store, key, clock):
    store.complete(key, "one", None, b"", ttl=60)
    clock.advance(1)
    store.forget_scope(scope_of_prefix("report"), ttl=60)
    assert rows(installed_on(app)) == rows_of(installed_on(app), key) == []


def test_a_run_that_was_forgotten_with_its_task_is_marked(app, store, key):
    store.claim(key, "one", WORKER, 30)
    assert not only_row(app).is_forgotten
    store.forget_scope(scope_of_prefix("report"), ttl=60)
    assert only_row(app).is_forgotten


def test_the_store_is_asked_a_few_times_however_much_it_holds(app, clock):
    class Counted(MemoryStore):
        asked = 0

        def __getattribute__(self, name):
            if name in ("entries", "entry", "lookup", "counts", "forgotten"):
                type(self).asked += 1
            return super().__getattribute__(name)

    store = use_store(app, Counted("memory://", clock=clock))
    for n in range(50):
        store.complete(key_of(app.tasks["report"], n), "one", None, b"", ttl=60)
    assert len(rows(installed_on(app))) == 50
    assert Counted.asked == 3


def test_rows_of_one_task_are_found_by_its_name_and_by_the_prefix_of_its_keys(app, store, key):
    other = key_of(app.tasks["total"], 1)
    for each in (key, other):
        store.complete(each, "one", None, b"", ttl=60)
    store.complete(key.replace("report", "report:old"), "one", None, b"", ttl=60)
    assert only_row(app, task="report").key == key
    assert only_row(app, task="sum") == only_row(app, task="numbers")
    # Several tasks have these keys.
    assert only_row(app, task="sum").task == "numbers"
    # No task of this app has these.
    assert only_row(app, task="report:old").task == "report:old"
    assert rows(installed_on(app), task="nosuch") == []


def test_what_are_no_keys_of_calls_is_left_out(app, store, key):
    store.complete("outcome:5", "5", None, b"", ttl=60)
    store.complete("v1:x", "5", None, b"", ttl=60)
    store.count("counts:report", {"hits": 3}, ttl=60)
    assert rows(installed_on(app)) == []
    store.complete(key, "one", None, b"", ttl=60)
    assert only_row(app).hits == 3


def test_what_runs_longest_comes_first(app, store, clock):
    keys = [key_of(app.tasks["report"], n) for n in range(4)]
    store.complete(keys[0], "cached", None, b"", ttl=60)
    store.lookup_or_claim(keys[1], "queued", 30)
    store.claim(keys[2], "longer", WORKER, 30)
    clock.advance(1)
    store.claim(keys[3], "shorter", WORKER, 30)
    assert [row.owner for row in rows(installed_on(app))] == ["longer", "shorter", "queued", "cached"]
