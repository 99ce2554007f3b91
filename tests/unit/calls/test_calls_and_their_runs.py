"""Calls that fail or keep no result, and the runs of what was published."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Task, states
from celery.backends.base import DisabledBackend
from kombu.exceptions import OperationalError

from jobtastic_signals import SettingError, UnkeyableError
from tests.support.calls import BOTH, HERD, add_tasks, producer_of, refuse
from tests.support.unit_apps import (
    deliver,
    entry_of,
    key_of,
    published,
    store_of,
    use_late_store,
    work_off,
)

# What is wrong with a call.


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"typo": 1})])
def test_arguments_that_the_task_does_not_take_are_celerys_own_error(new_app, args, kwargs):
    app, without = new_app(), new_app(plugin=False)
    errors = []
    for each in (app, without):
        with pytest.raises(TypeError) as caught:
            add_tasks(each, **HERD).apply_async(args, kwargs)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert published(app) == []


def test_without_type_checks_wrong_arguments_are_the_workers_to_refuse(new_app):
    app = new_app()
    double = add_tasks(app, typing=False, **BOTH)
    assert double.delay(1, typo=1).id != double.delay(1, typo=1).id
    for message in published(app):
        deliver(app, message)
        assert isinstance(app.AsyncResult(message.headers["id"]).result, TypeError)


def test_an_argument_without_a_key_is_refused_at_the_call(new_app):
    app = new_app(task_serializer="pickle", accept_content=["pickle"])
    double = add_tasks(app, **HERD)
    with pytest.raises(UnkeyableError, match=r"'proj.double': argument 'n' .*Give it a to_str"):
        double.delay(1j)
    assert published(app) == []


@pytest.mark.parametrize(
    "setting",
    [{"jobtastic_store": "no://store"}, {"jobtastic_stor": "memory://"}, {"jobtastic_namespace": "a/b"}],
)
def test_a_wrong_setting_is_an_error_of_the_call(new_app, setting):
    app = new_app(**setting)
    double = add_tasks(app, **HERD)
    with pytest.raises(SettingError, match="jobtastic_"):
        double.delay(1)
    assert published(app) == []


def test_a_store_that_cannot_be_opened_costs_the_sharing_and_not_the_call(new_app, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    app = new_app(jobtastic_store=f"disk://{tmp_path}/file")
    double = add_tasks(app, **BOTH)
    with caplog.at_level(logging.WARNING):
        ids = [double.delay(21).id for _ in range(3)]
    assert len(set(ids)) == 3
    assert work_off(app) == ids
    assert caplog.text.count("share nothing until it works again") == 1


def test_a_claim_that_is_granted_too_late_is_of_the_task_that_is_published(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    store = use_late_store(app)
    result = double.delay(21)
    assert store.lookup(key_of(double, 21)).owner == result.id
    assert [message.headers["id"] for message in published(app)] == [result.id]


def test_a_claim_that_is_granted_too_late_is_released_where_nothing_is_published(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    store = use_late_store(app, always_tried=True)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError, match="no broker"):
        double.apply_async((21,), producer=producer)
    assert store.lookup(key_of(double, 21)) is None


# Without a result backend.


def no_backend(new_app: Any, **options: Any) -> Task:
    app = new_app(result_backend="disabled://")
    double = add_tasks(app, **options)
    assert isinstance(double.backend, DisabledBackend)
    return double


def ignoring(new_app: Any, **options: Any) -> Task:
    return add_tasks(new_app(), ignore_result=True, **options)


@pytest.mark.parametrize("silent", [no_backend, ignoring])
def test_without_results_a_claim_is_joined_whatever_became_of_its_owner(new_app, silent):
    double = silent(new_app, **BOTH)
    first = double.delay(21)
    assert double.delay(21).id == first.id
    assert work_off(double.app) == [first.id]
    assert double.delay(21).id == first.id
    assert published(double.app) == []
    if not isinstance(double.backend, DisabledBackend):
        assert double.AsyncResult(first.id).state == states.PENDING


@pytest.mark.parametrize("silent", [no_backend, ignoring])
def test_without_results_a_run_still_ends_its_claim(new_app, silent):
    double = silent(new_app, **HERD)
    first = double.delay(21)
    work_off(double.app)
    assert double.delay(21).id != first.id


# The run of what was published, as a worker has it.


def test_a_second_delivery_is_served_what_the_first_computed(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    double.delay(21)
    double.apply_async((21,), task_id="second")
    assert len(work_off(app)) == 2
    assert app.AsyncResult("second").get(timeout=1) == 42


@pytest.mark.parametrize("state", [states.FAILURE, states.REVOKED, states.PENDING])
def test_a_run_takes_over_from_an_owner_that_ended_and_waits_for_one_that_did_not(new_app, state):
    app = new_app()
    double = add_tasks(app, **HERD)
    store_of(app).claim(key_of(double, 21), "first", "first/1", 60)
    double.apply_async((21,), task_id="second")
    (second,) = published(app)
    if state != states.PENDING:
        double.backend.store_result("first", KeyError("x"), state)
    ended = deliver(app, second)
    again = [message.headers["id"] for message in published(app)]
    if state != states.FAILURE:  # A run that was revoked may go on.
        assert (ended.info.state, again) == (states.IGNORED, ["second"])
        assert entry_of(double, 21).owner == "first"
    else:
        assert (ended.retval, again) == (42, [])


def test_a_retry_keeps_its_claim_and_its_key(new_app):
    app = new_app()
    seen = []

    @app.task(bind=True, shared=False, default_retry_delay=0, **HERD)
    def stubborn(self, n):
        seen.append((self.request.retries, entry_of(stubborn, n).owner))
        if self.request.retries < 2:
            raise self.retry()
        return n

    first = stubborn.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert entry_of(stubborn, 1).owner == first.id
    assert stubborn.delay(1).id == first.id
    assert work_off(app) == [first.id, first.id]
    assert seen == [(0, first.id), (1, first.id), (2, first.id)]
    assert entry_of(stubborn, 1) is None


def test_a_retry_with_other_arguments_gives_up_the_first_claim(new_app):
    app = new_app()

    @app.task(bind=True, shared=False, default_retry_delay=0, **HERD)
    def wavering(self, n):
        if n == 1:
            raise self.retry(args=(2,))
        return n

    first = wavering.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert entry_of(wavering, 1) is None
    assert entry_of(wavering, 2).owner == first.id
    assert wavering.delay(2).id == first.id
    assert work_off(app) == [first.id]
    assert entry_of(wavering, 2) is None


# Eager apps.


def test_an_always_eager_app_never_joins(new_app):
    app = new_app(task_always_eager=True)
    double = add_tasks(app, **BOTH)
    store_of(app).lookup_or_claim(key_of(double, 21), "somebody", 60)
    result = double.delay(21)
    assert (result.id != "somebody", result.get(), published(app)) == (True, 42, [])
