"""Callers that want a result no more: the run is revoked when the last of them has left, and not earlier."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import pytest
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from jobtastic_signals import (
    BrokerUnavailableError,
    Claim,
    JobtasticError,
    StoreError,
    leave,
    refresh,
    sharing_of,
)
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD, add_tasks
from tests.support.unit_apps import (
    deliver,
    elsewhere,
    entry_of,
    execute,
    key_of,
    published,
    receive,
    store_of,
    use_store,
    work_off,
)


@pytest.fixture
def revoked(app, monkeypatch):
    """The ids that were revoked, each with whether its run was to be terminated."""
    seen = []

    def revoke(task_id, *, terminate=False, connection=None):
        seen.append((task_id, terminate))

    monkeypatch.setattr(app.control, "revoke", revoke)
    return seen


@pytest.fixture
def double(app, revoked):
    return add_tasks(app, **HERD)


def run_during(app, message, function):
    """What *function* returns while the run of *message* goes on."""
    task = app.tasks[message.headers["task"]]
    seen = []
    body, task.run = task.run, lambda *args, **kwargs: seen.append(elsewhere(function))
    try:
        execute(receive(app, message))
    finally:
        task.run = body
    return seen[0]


# Where results come from


def test_a_caller_knows_where_its_result_comes_from(app, clock):
    double = add_tasks(app, **BOTH)
    first, second = double.delay(1), double.delay(1)
    work_off(app)
    clock.advance(7)
    third = double.delay(1)
    kinds = [
        (sharing_of(each).kind, sharing_of(each).owner, sharing_of(each).age)
        for each in (first, second, third)
    ]
    assert kinds == [("own", first.id, None), ("joined", first.id, None), ("cached", first.id, 7)]
    seats = {sharing_of(each).seat for each in (first, second, third)}
    assert len(seats) == 3
    assert {sharing_of(each).key for each in (first, second, third)} == {key_of(double, 1)}


def test_a_result_made_from_an_id_does_not_know_it(double):
    result = AsyncResult(double.delay(1).id, app=double.app)
    assert (sharing_of(result).kind, sharing_of(result).key) == ("unknown", None)


@pytest.mark.parametrize("what", ["an id", None, 7])
def test_what_is_no_result_comes_from_nowhere(what):
    with pytest.raises(TypeError, match="is not the result of one task"):
        sharing_of(what)


# Who leaves


def test_the_last_of_ten_callers_revokes_the_message(app, double, revoked):
    results = [double.delay(1) for _ in range(10)]
    assert [leave(each) for each in results[:9]] == [False] * 9
    assert revoked == []
    assert leave(results[9])
    assert revoked == [(results[0].id, True)]


def test_the_order_does_not_matter(double, revoked):
    owner, joined = double.delay(1), double.delay(1)
    assert not leave(owner)
    assert leave(joined)
    assert revoked == [(owner.id, True)]


def test_a_caller_that_leaves_twice_counts_once(double, revoked):
    _owner, joined = double.delay(1), double.delay(1)
    assert not leave(joined)
    assert not leave(joined)
    assert revoked == []


def test_a_run_that_began_goes_on_until_all_have_left(app, double, revoked):
    owner, joined = double.delay(1), double.delay(1)
    [message] = published(app)
    left = run_during(app, message, lambda: [leave(joined), leave(double.delay(1)), leave(owner)])
    assert left == [False, False, True]
    assert revoked == [(owner.id, True)]


def test_the_caller_says_whether_a_run_is_terminated(double, revoked):
    result = double.delay(1)
    assert leave(result, terminate=False)
    assert revoked == [(result.id, False)]


def test_nobody_joins_a_message_that_everybody_has_left(double, revoked):
    first = double.delay(1)
    leave(first)
    second = double.delay(1)
    assert second.id != first.id
    assert sharing_of(second).kind == "own"
    assert leave(second)


def test_nobody_joins_a_run_that_everybody_has_left(app, double, revoked, clock):
    owner = double.delay(1)
    [message] = published(app)
    _, first, second = run_during(app, message, lambda: (leave(owner), double.delay(1), double.delay(1)))
    assert first.id == second.id != owner.id


def test_a_caller_of_the_next_run_leaves_that_one(app, double, revoked, clock):
    double.delay(1)
    [message] = published(app)

    def refresh_and_leave():
        clock.advance(1)
        first, second = refresh(double, 1), refresh(double, 1)
        assert first.id == second.id
        return first.id, leave(first), leave(second)

    task_id, *left = run_during(app, message, refresh_and_leave)
    assert left == [False, True]
    assert revoked == [(task_id, True)]


def test_the_run_that_follows_is_left_alone(app, revoked, clock):
    rebuild = add_tasks(app, **HERD, on_duplicate="rerun")
    owner = rebuild.delay(1)
    [message] = published(app)

    def rerun_and_leave():
        clock.advance(1)
        again = rebuild.delay(1)
        return again.id == owner.id, leave(again), leave(owner), entry_of(rebuild, 1).next

    is_joined, *left, following = run_during(app, message, rerun_and_leave)
    assert (is_joined, left) == (True, [False, True])
    assert revoked == [(owner.id, True)]
    assert [each.headers["id"] for each in published(app)] == [following.owner]


def test_an_ended_result_cannot_be_left(app, double, revoked):
    result = double.delay(1)
    work_off(app)
    assert not leave(result)
    assert revoked == []


def test_neither_can_a_cached_one(app, revoked):
    double = add_tasks(app, **BOTH)
    double.delay(1)
    work_off(app)
    assert not leave(double.delay(1))
    assert revoked == []


def test_nor_an_eager_one(app, double, revoked):
    assert not leave(double.apply((1,)))


# Messages of their own


def test_a_call_with_its_own_id_that_waits_revokes_its_own_message_only(app, double, revoked):
    owner = double.delay(1)
    waiting = double.apply_async((1,), task_id=str(uuid.uuid4()))
    assert leave(waiting)
    assert revoked == [(waiting.id, True)]
    assert entry_of(double, 1).owner == owner.id


def test_a_run_for_which_a_message_waits_is_not_revoked(double, revoked):
    owner = double.delay(1)
    double.apply_async((1,), task_id=str(uuid.uuid4()))
    assert not leave(owner)
    assert revoked == []


def test_callers_can_join_a_call_with_its_own_id(double, revoked):
    owner = double.apply_async((1,), task_id=str(uuid.uuid4()))
    joined = double.delay(1)
    assert not leave(owner)
    assert leave(joined)
    assert revoked == [(owner.id, True)]


def test_a_call_that_is_due_later_is_revoked(double, revoked):
    result = double.apply_async((1,), countdown=60)
    assert leave(result)
    assert revoked == [(result.id, True)]


def test_a_message_whose_claim_others_took_is_not_revoked(double, revoked, clock):
    """Somebody may have joined it, and nobody knows any more."""
    first, _joined = double.delay(1), double.delay(1)
    clock.advance(31)
    double.delay(1)
    assert not leave(first)
    assert revoked == []


def test_a_lapsed_claim_still_knows_its_callers(double, revoked, clock):
    owner, joined = double.delay(1), double.delay(1)
    clock.advance(31)
    assert not leave(owner)
    assert leave(joined)
    assert revoked == [(owner.id, True)]


def test_a_retry_keeps_those_who_joined(app, revoked):
    @app.task(bind=True, name="proj.stubborn", shared=False, **HERD)
    def stubborn(self, n):
        raise self.retry(countdown=1)

    owner, joined = stubborn.delay(1), stubborn.delay(1)
    assert not leave(joined)
    [message] = published(app)
    deliver(app, message)
    late = stubborn.delay(1)
    assert late.id == owner.id
    assert [leave(owner), leave(late)] == [False, True]


# Tasks that share nothing


def test_a_task_without_herd_avoidance_is_revoked_at_once(app, revoked):
    result = add_tasks(app, **CACHE).delay(1)
    assert leave(result)
    assert revoked == [(result.id, True)]


def test_so_is_a_call_without_a_key(app, double, revoked):
    app.conf.jobtastic_key_required = False
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    result = double.delay(deep)
    assert (sharing_of(result).kind, sharing_of(result).key) == ("own", None)
    assert leave(result)
    assert revoked == [(result.id, True)]


def test_a_task_without_options_says_nothing_of_itself(app, revoked):
    with pytest.raises(JobtasticError, match="or call revoke"):
        leave(add_tasks(app).delay(1))


# Other processes


def test_an_id_alone_does_not_say_who_leaves(double, revoked):
    result = double.delay(1)
    double.delay(1)
    for other in (AsyncResult(result.id, app=double.app), double.AsyncResult(result.id)):
        with pytest.raises(JobtasticError, match="does not say which of its callers"):
            leave(other)
    assert revoked == []


def test_with_its_origin_another_process_can_leave(double, revoked):
    results = [double.delay(1), double.delay(1)]
    origins = [pickle.loads(pickle.dumps(sharing_of(each))) for each in results]
    left = [leave(AsyncResult(each.owner, app=double.app), origin=each) for each in origins]
    assert left == [False, True]
    assert revoked == [(results[0].id, True)]


def test_an_app_without_the_plugin_has_nothing_to_leave(new_app):
    app = new_app(plugin=False)
    with pytest.raises(JobtasticError, match="the plugin is not enabled"):
        leave(add_tasks(app).delay(1))


# Failures


class Silent(MemoryStore):
    """Does not answer whoever leaves."""

    def leave(self, *args: Any) -> Any:
        raise TimeoutError


@pytest.fixture
def dead(app, monkeypatch, revoked):
    """A broker that does not take the first revoke."""
    original, failures = app.control.revoke, [OperationalError("gone")]

    def revoke(*args, **kwargs):
        if failures:
            raise failures.pop()
        original(*args, **kwargs)

    monkeypatch.setattr(app.control, "revoke", revoke)


def test_a_queued_call_that_cannot_be_revoked_can_be_left_again(double, revoked, dead):
    result = double.delay(1)
    with pytest.raises(BrokerUnavailableError, match="leave its result again"):
        leave(result)
    assert revoked == []
    assert leave(result)
    assert revoked == [(result.id, True)]


def test_a_run_that_cannot_be_revoked_can_be_left_again(app, double, revoked, dead, clock):
    owner, joined = double.delay(1), double.delay(1)
    leave(joined)
    [message] = published(app)

    def leave_twice():
        clock.advance(1)
        with pytest.raises(BrokerUnavailableError):
            leave(owner)
        return leave(owner), entry_of(double, 1).forgotten is not None

    assert run_during(app, message, leave_twice) == (True, True)
    assert revoked == [(owner.id, True)]


def test_a_broker_that_is_down_is_a_clear_error_after_its_deadline(new_app, down, memory):
    app = new_app(broker_url=down, jobtastic_broker_deadline=0.5)
    use_store(app, memory)
    double = add_tasks(app, **HERD)
    key = key_of(double, 1)
    claim = store_of(app).lookup_or_claim(key, "a", 30)
    assert isinstance(claim, Claim)
    result = double.AsyncResult("a")
    origin = sharing_of(result).__class__("own", "a", "a", key)
    with pytest.raises(BrokerUnavailableError, match="does not answer"):
        leave(result, origin=origin)


def test_without_the_store_nothing_is_revoked(app, double, revoked):
    result = double.delay(1)
    use_store(app, Silent("memory://"))
    with pytest.raises(StoreError, match="cannot be asked who else wants the result"):
        leave(result)
    assert revoked == []
