"""Queued claims: callers join a message that is on its way, and no delivery is held back by one."""

from __future__ import annotations

import datetime
import uuid

import pytest

from jobtastic_signals import Claim
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, publishes
from tests.support.unit_apps import (
    elsewhere,
    entry_of,
    execute,
    key_of,
    published,
    receive,
    store_of,
    work_off,
)

# How long they last.


def test_callers_join_for_one_lease_which_they_do_not_extend(app, clock):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    for _ in range(3):
        clock.advance(9.75)
        assert double.delay(1).id == first.id
    clock.advance(0.75)
    assert double.delay(1).id != first.id
    assert len(published(app)) == 2


def test_the_claim_of_a_call_never_outlasts_the_timeout(app, clock):
    double = add_tasks(app, herd_avoidance_timeout=5)
    first = double.delay(1)
    clock.advance(4.75)
    assert double.delay(1).id == first.id
    clock.advance(0.25)
    assert double.delay(1).id != first.id


# They hold nothing back.


@pytest.fixture
def runs():
    return []


@pytest.fixture(params=[HERD, BOTH], ids=["without a cache", "with a cache"])
def counted(app, runs, request):
    """A task that notes the ids under which its body runs."""

    @app.task(bind=True, name="proj.counted", shared=False, **request.param)
    def counted(self, n):
        runs.append(self.request.id)
        return 2 * n

    return app.tasks["proj.counted"]


def test_a_message_at_the_head_of_the_queue_runs_though_one_behind_it_has_the_claim(
    app, counted, runs, clock
):
    first = counted.delay(1)
    clock.advance(31)
    second = counted.delay(1)
    assert entry_of(counted, 1).owner == second.id != first.id
    clock.advance(1)
    assert work_off(app) == [first.id, second.id], "none is sent again"
    assert runs == [first.id]
    assert (first.get(timeout=1), second.get(timeout=1)) == (2, 2)


def test_a_backlog_of_many_leases_costs_a_message_for_each_and_one_run(app, counted, runs, clock):
    calls = []
    for _ in range(600):
        calls.append(counted.delay(1))
        clock.advance(1)
    ids = list(dict.fromkeys(call.id for call in calls))
    assert len(ids) == 20
    assert work_off(app) == ids
    assert runs == ids[:1]
    assert {call.get(timeout=1) for call in calls} == {2}


def test_a_message_that_overtakes_another_runs_and_the_other_is_served(app, counted, runs, clock):
    first = counted.delay(1)
    counted.apply_async((1,), task_id="second")
    clock.advance(1)
    messages = {message.headers["id"]: message for message in published(app)}
    execute(receive(app, messages["second"]))
    assert runs == ["second"]
    execute(receive(app, messages[first.id]))
    assert runs == ["second"]
    assert first.get(timeout=1) == 2
    assert published(app) == []


def test_a_displaced_claim_does_not_count_as_released_when_its_message_is_served(app, counted, clock):
    first = counted.delay(1)
    clock.advance(31)
    counted.delay(1)
    head, _ = published(app)
    execute(receive(app, head))
    store_of(app).forget(key_of(counted, 1))
    third = counted.delay(1)
    assert third.id != first.id
    assert entry_of(counted, 1).owner == third.id


# Messages that expire.


@pytest.mark.parametrize(
    ("theirs", "mine", "joins"),
    [
        (None, None, True),
        (None, 10, True),
        (60, None, False),
        (60, 30, True),
        (60, 60, True),
        (60, 90, False),
    ],
)
def test_a_call_joins_a_message_that_does_not_expire_before_it_would(app, theirs, mine, joins):
    double = add_tasks(app, **HERD)
    first = double.apply_async((1,), expires=theirs)
    second = double.apply_async((1,), expires=mine)
    assert (second.id == first.id) is joins
    assert entry_of(double, 1).owner == second.id


def test_the_tasks_own_expires_counts(app):
    hasty = add_tasks(app, expires=60, **HERD)
    first = hasty.delay(1)
    assert hasty.delay(1).id == first.id
    assert hasty.apply_async((1,), expires=90).id != first.id


@pytest.mark.parametrize("as_text", [False, True], ids=["datetime", "ISO text"])
def test_a_moment_to_expire_at_counts_like_seconds(app, as_text):
    double = add_tasks(app, **HERD)
    now = datetime.datetime.now(datetime.timezone.utc)

    def call(seconds):
        moment = now + datetime.timedelta(seconds=seconds)
        return double.apply_async((1,), expires=moment.isoformat() if as_text else moment)

    first = call(3000)
    assert call(1000).id == first.id
    assert call(9000).id != first.id


def test_a_run_is_joined_whatever_became_of_its_expires(app):
    joined = []

    @app.task(shared=False, **HERD)
    def slow(n):
        joined.append(elsewhere(slow.delay, n).id)

    first = slow.apply_async((1,), expires=60)
    work_off(app)
    assert joined == [first.id]


# Calls that are due later.

LATER = [{"countdown": 3600}, {"eta": datetime.datetime(2100, 1, 1)}, {"countdown": 3600, "group_id": "g"}]


@pytest.fixture(params=LATER, ids=str)
def later(request):
    """How a call that is due later is made."""
    return lambda task: task.apply_async((1,), **request.param)


def test_a_call_that_is_due_later_does_not_join_a_queued_message(app, later):
    double = add_tasks(app, **HERD)
    double.delay(1)
    published(app)
    before = entry_of(double, 1)
    assert publishes(lambda: later(double))
    assert entry_of(double, 1) == before


def test_a_call_that_is_due_later_does_not_join_a_run(app, later):
    double = add_tasks(app, **HERD)
    store_of(app).claim(key_of(double, 1), "runs", "worker/1", 60)
    before = entry_of(double, 1)
    assert publishes(lambda: later(double))
    assert entry_of(double, 1) == before


def test_a_call_that_is_due_later_is_not_answered_by_a_cached_result(app, later):
    double = add_tasks(app, **CACHE)
    double.delay(1)
    work_off(app)
    assert publishes(lambda: later(double))


def test_a_call_that_is_due_now_does_not_join_one_that_is_due_later(app, later):
    double = add_tasks(app, **HERD)
    delayed = later(double)
    assert double.delay(1).id != delayed.id
    assert len(published(app)) == 2


def test_a_call_that_was_due_later_is_served_what_is_cached_when_it_is_due(app, counted, runs, later):
    delayed = later(counted)
    (message,) = published(app)
    first = counted.delay(1)
    work_off(app)
    execute(receive(app, message))
    caches = hasattr(counted, "cache_duration")
    assert runs == ([first.id] if caches else [first.id, delayed.id])
    assert delayed.get(timeout=1) == 2


def test_a_call_that_was_due_later_waits_for_a_run_that_goes_on_when_it_is_due(app, counted, runs, later):
    delayed = later(counted)
    (message,) = published(app)
    store_of(app).claim(key_of(counted, 1), "runs", "worker/1", 60)
    execute(receive(app, message))
    assert runs == []
    (again,) = published(app)
    assert again.headers["id"] == delayed.id
    assert again.headers["jobtastic"]["waiting_for"] == "runs"


# Dependent calls.

DEPENDENT = {
    "task_id": {"task_id": "an id"},
    "link": {"link": "a signature"},
    "group_id": {"group_id": "a group"},
    "chain": {"chain": ["a signature"]},
}


@pytest.fixture(params=list(DEPENDENT.values()), ids=list(DEPENDENT))
def dependently(app, request):
    """How a dependent call is made."""

    def call(task):
        total = app.tasks["proj.total"].s()
        options = {
            name: {"chain": [total], "link": total, "task_id": uuid.uuid4().hex}.get(name, value)
            for name, value in request.param.items()
        }
        return task.apply_async((1,), **options)

    return call


def test_a_dependent_call_gets_the_queued_claim_of_a_free_key_and_plain_calls_join_it(
    app, clock, dependently
):
    double = add_tasks(app, **HERD)
    result = dependently(double)
    assert entry_of(double, 1) == Claim(result.id, clock.now + 30, since=clock.now)
    assert double.delay(1).id == result.id
    assert len(published(app)) == 1


def test_a_dependent_call_marks_a_queued_claim_that_it_found_as_awaited(app, dependently):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    published(app)
    assert publishes(lambda: dependently(double))
    assert (entry_of(double, 1).owner, entry_of(double, 1).awaited) == (first.id, True)


def test_a_dependent_call_marks_a_running_claim_that_it_found_as_awaited(app, dependently):
    double = add_tasks(app, **HERD)
    store_of(app).claim(key_of(double, 1), "runs", "worker/1", 60)
    published(app)
    assert publishes(lambda: dependently(double))
    assert (entry_of(double, 1).owner, entry_of(double, 1).awaited) == ("runs", True)


def test_a_plain_call_that_joins_does_not_mark_it(app):
    double = add_tasks(app, **HERD)
    double.delay(1)
    double.delay(1)
    assert not entry_of(double, 1).awaited
