"""Calls that need a run which begins after them, since they refresh or rerun, or the run was forgotten."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import Celery, Task, states
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from jobtastic_signals import DuplicateCallError, events, forget, refresh
from jobtastic_signals.testing import Clock
from tests.support.calls import BOTH, HERD, producer_of, refuse
from tests.support.unit_apps import (
    deliver,
    elsewhere,
    entry_of,
    execute,
    key_of,
    published,
    real,
    receive,
    store_of,
    work_off,
)


class Counting:
    """A task whose runs return how many there were.

    :ivar meanwhile: functions; the last one is called during the next run, as by another process.
    """

    def __init__(self, app: Celery, clock: Clock, **options: Any) -> None:
        self.app, self.clock = app, clock
        self.runs: list[str] = []
        self.meanwhile: list[Any] = []

        @app.task(bind=True, name="proj.count", shared=False, **options)
        def count(task):
            clock.advance(1)
            self.runs.append(task.request.id)
            number = len(self.runs)
            if self.meanwhile:
                elsewhere(self.meanwhile.pop())
            clock.advance(1)
            if self.fails:
                raise LookupError(number)
            return number

        self.task: Task = real(count)
        self.fails = False

    def during_a_run(self, function: Any) -> Any:
        """What *function* returns, which is called while a run goes on, and the id of that run."""
        found = []

        def note() -> None:
            found.append(function())

        self.meanwhile.append(note)
        owner = self.task.delay()
        (message,) = published(self.app)
        deliver(self.app, message)
        return found[0], owner.id


@pytest.fixture
def counting(app, clock) -> Counting:
    return Counting(app, clock, **BOTH)


@pytest.fixture
def herd(app, clock) -> Counting:
    return Counting(app, clock, **HERD)


def value_of(task: Task, task_id: str) -> Any:
    return AsyncResult(task_id, app=task.app).get(timeout=1)


# Refresh.


def test_those_who_refresh_during_a_run_share_the_one_that_follows(counting):
    results, owner = counting.during_a_run(lambda: [refresh(counting.task) for _ in range(50)])
    (following,) = {each.id for each in results}
    assert following != owner
    (message,) = published(counting.app)
    assert message.headers["id"] == following
    deliver(counting.app, message)
    assert [each.get(timeout=1) for each in results] == [2] * 50
    assert counting.runs == [owner, following]


def test_those_who_refresh_at_once_share_one_run_and_others_get_the_old_result_meanwhile(counting, app):
    counting.task.delay()
    work_off(app)
    fresh = [refresh(counting.task) for _ in range(50)]
    assert len({each.id for each in fresh}) == 1
    (message,) = published(app)
    assert counting.task.delay().get(timeout=1) == 1
    counting.meanwhile.append(lambda: values.append(counting.task.delay().get(timeout=1)))
    values: list[int] = []
    deliver(app, message)
    assert values == [1]
    assert fresh[0].get(timeout=1) == counting.task.delay().get(timeout=1) == 2


def test_a_call_that_refreshes_does_not_join_a_message_that_a_result_may_answer(counting, app):
    """The queued message is a dependent call, which the stored result serves."""
    counting.task.delay()
    work_off(app)
    store, key = store_of(app), key_of(counting.task)
    store.forget(key)
    store.lookup_or_claim(key, "dependent", 30)
    store.complete(key, "eager", None, b"unread", ttl=60.0)
    assert refresh(counting.task).id != "dependent"


def test_a_failed_refresh_leaves_the_old_result(counting, app):
    counting.task.delay()
    work_off(app)
    counting.fails = True
    fresh = refresh(counting.task)
    work_off(app)
    assert fresh.state == states.FAILURE
    assert counting.task.delay().get(timeout=1) == 1


def test_a_dependent_call_that_refreshes_is_not_answered_by_the_present_run(counting, app):
    task_id = uuid.uuid4().hex
    _, owner = counting.during_a_run(lambda: counting.task.apply_async(task_id=task_id, refresh=True))
    work_off(app)
    assert counting.runs == [owner, task_id]
    assert value_of(counting.task, task_id) == 2


def test_a_message_that_waits_keeps_that_it_is_fresh(counting, app, clock):
    """The run for which it waits began before it was made."""
    store, key = store_of(app), key_of(counting.task)
    clock.advance(1)
    store.claim(key, "owner", "owner/1", 6000)
    clock.advance(1)
    counting.task.apply_async(task_id="mine", refresh=True)
    (message,) = published(app)
    assert execute(receive(app, message)).info.state == states.IGNORED
    (again,) = published(app)
    stamp = again.headers["jobtastic"]
    assert (stamp["fresh"], stamp["waiting_for"]) == (True, None)
    assert stamp["called"] == message.headers["jobtastic"]["called"]
    store.complete(key, "owner", "owner/1", b"unread", ttl=60.0, kept_for=3600.0)
    execute(receive(app, again))
    assert counting.runs == ["mine"]


def test_a_refresh_whose_owner_ended_unnoticed_is_not_joined(counting, app, clock):
    """It was revoked in the queue, and its release is still to come."""
    store, key = store_of(app), key_of(counting.task)
    store.claim(key, "owner", "owner/1", 6000)
    clock.advance(1)
    following = refresh(counting.task)
    app.backend.store_result(following.id, None, states.REVOKED)
    assert refresh(counting.task).id != following.id


@pytest.mark.parametrize("on_duplicate", ["raise", "drop"])
def test_a_refresh_that_is_refused_leaves_what_is_in_flight(counting, app, on_duplicate):
    def call() -> None:
        if on_duplicate == "drop":
            assert counting.task.apply_async(refresh=True, on_duplicate="drop").state == states.IGNORED
            return
        with pytest.raises(DuplicateCallError):
            counting.task.apply_async(refresh=True, on_duplicate="raise")

    owner = counting.task.delay()
    call()
    assert entry_of(counting.task).owner == owner.id
    counting.meanwhile.append(call)
    work_off(app)
    assert counting.runs == [owner.id]
    assert store_of(app).entry(key_of(counting.task)).claim is None


# Rerun.


def rerun(task: Task, **options: Any) -> AsyncResult[Any]:
    return task.apply_async(on_duplicate="rerun", **options)


@pytest.mark.parametrize("fails", [False, True], ids=["and it succeeds", "and it fails"])
def test_a_hundred_calls_during_a_run_give_one_more(herd, app, fails):
    herd.fails = fails
    results, owner = herd.during_a_run(lambda: [rerun(herd.task) for _ in range(100)])
    assert {each.id for each in results} == {owner}
    (message,) = published(app)
    herd.fails = False
    deliver(app, message)
    assert len(herd.runs) == 2
    assert published(app) == []


def test_a_rerun_is_announced_with_the_id_under_which_it_runs(herd, app):
    heard: list[Any] = []
    with events.rerun_published.connected_to(lambda task, **info: heard.append(info)):
        herd.during_a_run(lambda: [rerun(herd.task) for _ in range(3)])
    (message,) = published(app)
    assert heard == [{"key": key_of(herd.task), "task_id": message.headers["id"]}]


def test_a_rerun_keeps_the_options_of_its_caller(herd, app):
    herd.during_a_run(lambda: rerun(herd.task, priority=7, headers={"tenant": "acme"}))
    (message,) = published(app)
    assert (message.properties["priority"], message.headers["tenant"]) == (7, "acme")


def test_calls_during_the_rerun_give_another_one(herd, app):
    herd.during_a_run(lambda: rerun(herd.task))
    herd.meanwhile.append(lambda: [rerun(herd.task) for _ in range(10)])
    work_off(app)
    assert len(herd.runs) == 3


def test_a_rerun_that_cannot_be_published_is_an_error_and_the_next_caller_makes_up_for_it(herd, app):
    def fail() -> None:
        with producer_of(app, refuse) as producer, pytest.raises(OperationalError):
            rerun(herd.task, producer=producer)
        assert store_of(app).entry(key_of(herd.task)).next is None
        rerun(herd.task)

    herd.during_a_run(fail)
    assert len(published(app)) == 1


def test_a_rerun_whose_caller_died_is_made_up_for_after_a_lease(herd, app, clock):
    store, key = store_of(app), key_of(herd.task)
    store.claim(key, "owner", "owner/1", 6000)
    store.lookup_or_claim(key, "died", 30, rerun=True)
    assert (rerun(herd.task).id, published(app)) == ("owner", [])
    clock.advance(31)
    assert rerun(herd.task).id == "owner"
    assert len(published(app)) == 1


def test_a_rerun_that_expires_is_published_though_others_may_not_rely_on_it(herd, app):
    results, owner = herd.during_a_run(lambda: [rerun(herd.task, expires=600), rerun(herd.task)])
    assert [each.id for each in results] == [owner, owner]
    assert len(published(app)) == 2


@pytest.mark.parametrize("options", [{}, {"ignore_result": True}], ids=["with results", "without results"])
def test_one_run_follows_whatever_chooses_the_id(app, clock, options):
    """The task's own ``apply_async`` chooses it, so nothing can be claimed under it in advance."""

    class OwnIds(Task):
        def apply_async(self, *args, **kwargs):
            kwargs["task_id"] = uuid.uuid4().hex
            return super().apply_async(*args, **kwargs)

    herd = Counting(app, clock, base=OwnIds, **HERD, **options)
    owner = herd.during_a_run(lambda: [rerun(herd.task) for _ in range(10)])[1]
    work_off(app)
    assert herd.runs[0] == owner
    assert len(herd.runs) == 2


@pytest.mark.parametrize("on_duplicate", ["raise", "drop"])
def test_a_task_without_results_can_refuse_duplicates(app, clock, on_duplicate):
    herd = Counting(app, clock, ignore_result=True, on_duplicate=on_duplicate, **HERD)
    herd.task.delay()
    if on_duplicate == "raise":
        with pytest.raises(DuplicateCallError):
            herd.task.delay()
    else:
        assert herd.task.delay().state == states.IGNORED
    work_off(app)
    assert len(herd.runs) == 1


def test_the_error_says_how_long_the_run_is_expected_to_go_on(herd, app, clock):
    store, key = store_of(app), key_of(herd.task)
    store.claim(key, "owner", "owner/1", 45)
    clock.advance(5)
    app.backend.store_result("owner", {"time_remaining": 12.0}, "PROGRESS")
    with pytest.raises(DuplicateCallError, match="runs as owner, for about 12 s more") as raised:
        herd.task.apply_async(on_duplicate="raise")
    assert (raised.value.lease_left, raised.value.seconds_left, raised.value.is_running) == (40.0, 12.0, True)


# Forgotten runs.


def test_a_call_after_the_run_was_forgotten_gets_a_later_run(counting, app):
    def forget_and_call() -> list[AsyncResult[Any]]:
        forget(counting.task)
        counting.clock.advance(1)
        return [counting.task.delay() for _ in range(10)]

    results, owner = counting.during_a_run(forget_and_call)
    (following,) = {each.id for each in results}
    assert following != owner
    (message,) = published(app)
    assert (message.headers["id"], message.headers["jobtastic"]["fresh"]) == (following, True)
    deliver(app, message)
    assert [each.get(timeout=1) for each in results] == [2] * 10
    assert counting.task.delay().get(timeout=1) == 2


@pytest.mark.parametrize("kind", [{}, {"cache_duration": 60}], ids=["without a cache", "with a cache"])
def test_a_dependent_call_after_the_run_was_forgotten_waits_for_no_result_of_it(app, clock, kind):
    herd = Counting(app, clock, **HERD, **kind)
    store, key = store_of(app), key_of(herd.task)
    clock.advance(1)
    store.claim(key, "owner", "owner/1", 6000)
    clock.advance(1)
    forget(herd.task)
    clock.advance(1)
    herd.task.apply_async(task_id="mine")
    (message,) = published(app)
    assert execute(receive(app, message)).info.state == states.IGNORED
    (again,) = published(app)
    assert again.headers["jobtastic"]["waiting_for"] is None
    store.complete(key, "owner", "owner/1", b"unread", ttl=60.0, kept_for=3600.0)
    execute(receive(app, again))
    assert herd.runs == ["mine"]


def test_a_rerun_runs_though_the_run_that_it_follows_has_stored_its_result(counting, app):
    counting.during_a_run(lambda: rerun(counting.task))
    (message,) = published(app)
    deliver(app, message)
    assert len(counting.runs) == 2
    assert counting.task.delay().get(timeout=1) == 2


@pytest.mark.parametrize("on_duplicate", ["raise", "drop"])
@pytest.mark.parametrize("kind", ["plain", "dependent"])
def test_a_call_that_is_refused_after_the_run_was_forgotten_is_not_next(herd, app, clock, on_duplicate, kind):
    store, key = store_of(app), key_of(herd.task)
    store.claim(key, "owner", "owner/1", 6000)
    clock.advance(1)
    forget(herd.task)
    clock.advance(1)
    if kind == "dependent":
        herd.task.apply_async(task_id="mine", on_duplicate=on_duplicate)
        store.release(key, "mine", None)  # As a lost message would lapse.
        (message,) = published(app)
        execute(receive(app, message))
        assert published(app) == []
    elif on_duplicate == "drop":
        assert herd.task.apply_async(on_duplicate="drop").state == states.IGNORED
    else:
        with pytest.raises(DuplicateCallError):
            herd.task.apply_async(on_duplicate="raise")
    entry = store.entry(key)
    assert (entry.claim.owner, entry.next, herd.runs) == ("owner", None, [])
