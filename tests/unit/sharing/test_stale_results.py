"""Stale results: handed out after their duration, while exactly one run renews them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, states
from celery.result import AsyncResult
from kombu.exceptions import EncodeError, OperationalError

from jobtastic_signals import delay_or_fail, events
from jobtastic_signals.errors import StoreError
from jobtastic_signals.sharing.origin import origin_of
from tests.support.calls import HERD, producer_of
from tests.support.sockets import silent
from tests.support.unit_apps import (
    deliver,
    installed_on,
    key_of,
    published,
    real,
    store_of,
    use_store,
    work_off,
)

STALE = {**HERD, "cache_duration": 60, "cache_stale_for": 600}


def add_task(app: Celery, **options: Any) -> tuple[Task, SimpleNamespace]:
    """A task whose runs return how many there were, unless ``fails`` is set."""
    state = SimpleNamespace(runs=[], fails=False)

    @app.task(bind=True, name="proj.count", shared=False, **{**STALE, **options})
    def count(self):
        state.runs.append(self.request.id)
        if state.fails:
            raise LookupError
        return len(state.runs)

    return real(count), state


@pytest.fixture
def stale(app, clock) -> tuple[Task, SimpleNamespace]:
    """A task with a stale result, whose value is 1."""
    task, state = add_task(app)
    task.delay()
    work_off(app)
    clock.advance(61)
    return task, state


def test_all_get_the_stale_value_at_once_and_one_run_renews_it(app, stale):
    task, state = stale
    results = [task.delay() for _ in range(200)]
    assert [each.get(timeout=1) for each in results] == [1] * 200
    (message,) = published(app)
    deliver(app, message)
    assert state.runs[1:] == [message.headers["id"]]
    assert (task.delay().get(timeout=1), published(app)) == (2, [])


def test_callers_during_the_renewal_get_the_stale_value(app, clock, stale):
    task, _ = stale
    task.delay()
    (message,) = published(app)
    store_of(app).claim(key_of(task), message.headers["id"], "elsewhere/1", 30)
    assert [task.delay().get(timeout=1) for _ in range(3)] == [1] * 3
    assert published(app) == []


def test_a_failed_renewal_leaves_the_stale_value_and_the_next_caller_tries_again(app, stale):
    task, state = stale
    state.fails = True
    for _ in range(3):
        assert [task.delay().get(timeout=1) for _ in range(10)] == [1] * 10
        assert len(work_off(app)) == 1
    state.fails = False
    task.delay()
    work_off(app)
    assert task.delay().get(timeout=1) == 5


def test_a_renewal_that_was_lost_is_made_up_for_after_a_lease(app, clock, stale):
    task, _ = stale
    task.delay()
    assert len(published(app)) == 1  # Nobody runs it.
    task.delay()
    assert published(app) == []
    clock.advance(31)
    task.delay()
    assert len(published(app)) == 1


def test_a_dependent_call_is_served_the_stale_value_while_another_run_renews_it(app, stale):
    task, state = stale
    renewal = task.delay()
    assert renewal.get(timeout=1) == 1
    published(app)
    store_of(app).claim(key_of(task), "renewal", "elsewhere/1", 30)
    dependent = task.apply_async(task_id=uuid.uuid4().hex)
    (message,) = published(app)
    deliver(app, message)
    assert (dependent.get(timeout=1), len(state.runs)) == (1, 1)


def test_a_dependent_call_renews_the_result_if_nobody_does(app, stale):
    task, state = stale
    dependent = task.apply_async(task_id=uuid.uuid4().hex)
    assert task.delay().get(timeout=1) == 1
    work_off(app)
    assert (dependent.get(timeout=1), len(state.runs)) == (2, 2)


def test_after_that_time_the_result_is_no_more(app, clock, stale):
    task, _ = stale
    clock.advance(600)
    result = task.delay()
    work_off(app)
    assert result.get(timeout=1) == 2


def test_a_caller_can_see_that_its_value_is_stale(app, stale):
    task, state = stale
    heard: list[Any] = []
    renewals: list[Any] = []
    with (
        events.cache_hit.connected_to(lambda task, **info: heard.append(info)),
        events.renewal_published.connected_to(lambda task, **info: renewals.append(info)),
    ):
        results = [task.delay(), task.delay()]
    key, (message,) = key_of(task), published(app)
    assert heard == [{"key": key, "task_id": state.runs[0], "age": 61.0, "is_stale": True}] * 2
    assert renewals == [{"key": key, "task_id": message.headers["id"]}]
    for origin in map(origin_of, results):
        assert origin is not None
        assert (origin.kind, origin.owner, origin.age, origin.is_stale) == (
            "cached",
            state.runs[0],
            61.0,
            True,
        )


def test_a_renewal_keeps_the_options_of_its_caller_and_is_no_child_of_the_run_that_calls(app, stale):
    task, _ = stale

    @app.task(name="proj.parent", shared=False)
    def parent():
        task.apply_async(priority=7)

    called = real(parent).delay()
    (message,) = published(app)
    deliver(app, message)
    (renewal,) = published(app)
    assert renewal.properties["priority"] == 7
    children = AsyncResult(called.id, app=app).children
    assert [each.id for each in children] != [renewal.headers["id"]]
    assert len(children) == 1


def test_whatever_chooses_the_id_one_run_renews_the_result(app, clock):
    class OwnIds(Task):
        def apply_async(self, *args, **kwargs):
            kwargs["task_id"] = uuid.uuid4().hex
            return super().apply_async(*args, **kwargs)

    task, _ = add_task(app, base=OwnIds)
    task.delay()
    work_off(app)
    clock.advance(61)
    assert [task.delay().get(timeout=1) for _ in range(10)] == [1] * 10
    assert len(published(app)) == 1


def test_a_task_without_results_is_not_run_while_its_result_is_stale(app, clock):
    """Its callers get no value, and one message renews the result."""
    task, state = add_task(app, ignore_result=True)
    task.delay()
    work_off(app)
    clock.advance(61)
    for _ in range(10):
        task.delay()
    assert len(work_off(app)) == 1
    assert len(state.runs) == 2


# Where the renewal cannot be published.


@contextmanager
def without_a_broker(app: Celery, error: Exception) -> Iterator[Any]:
    """A producer that fails with *error*, and how often it was used."""
    used = []

    def fail(publish: Any, *args: Any, **kwargs: Any) -> None:
        used.append(1)
        raise error

    with producer_of(app, fail) as producer:
        yield SimpleNamespace(producer=producer, used=used)


def test_without_a_broker_callers_get_the_stale_value_one_warning_and_few_wait_for_the_broker(
    app, stale, caplog
):
    task, _ = stale
    with without_a_broker(app, OperationalError("no broker")) as broker:
        results = [task.apply_async(producer=broker.producer) for _ in range(200)]
    assert [each.get(timeout=1) for each in results] == [1] * 200
    assert len(broker.used) == 1
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "no broker" in record.getMessage()
    assert "stale" in record.getMessage()
    assert store_of(app).entry(key_of(task)).claim is None


def test_the_first_renewal_after_the_outage_ends_it(app, stale):
    task, _ = stale
    broker = installed_on(app).broker
    broker.failed(OperationalError("no broker"))
    task.delay()
    assert published(app) == []
    broker.retry()
    task.delay()
    assert len(published(app)) == 1
    assert not broker.is_open


def test_a_message_that_cannot_be_made_costs_the_renewal_only(app, stale, caplog):
    task, _ = stale
    with without_a_broker(app, EncodeError("not JSON")) as broker:
        assert task.apply_async(producer=broker.producer).get(timeout=1) == 1
    assert task.delay().get(timeout=1) == 1
    assert len(published(app)) == 1


def test_a_call_that_may_fail_gets_the_stale_value_without_a_broker(new_app, clock, memory, down, caplog):
    app = new_app(broker_url=down, result_backend="cache+memory://")
    use_store(app, memory)
    task, _ = add_task(app)
    task.apply()
    clock.advance(61)
    results = [delay_or_fail(task) for _ in range(3)]
    assert [(each.state, each.get(timeout=1)) for each in results] == [(states.SUCCESS, 1)] * 3


def test_a_store_that_has_to_answer_raises_before_anything_stale_is_known(
    new_app, clock, memory, monkeypatch
):
    app = new_app(jobtastic_store_required=True)
    use_store(app, memory)
    task, _ = add_task(app)
    task.delay()
    work_off(app)
    clock.advance(61)
    assert task.delay().get(timeout=1) == 1
    assert len(published(app)) == 1

    def fail(*args: Any, **options: Any) -> None:
        raise OSError

    monkeypatch.setattr(memory, "lookup_or_claim", fail)
    with pytest.raises(StoreError):
        task.delay()


def test_a_call_that_may_fail_gets_the_stale_value_while_its_broker_hangs(new_app, clock, memory):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0", jobtastic_broker_deadline=0.5)
        use_store(app, memory)
        task, _ = add_task(app)
        task.apply()
        clock.advance(61)
        result = delay_or_fail(task)
    assert (result.state, result.get(timeout=1)) == (states.SUCCESS, 1)
