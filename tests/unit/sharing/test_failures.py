"""Failures that the author of a task names are shared and remembered."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
from celery import Celery, Task, states
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject

from jobtastic_signals import UserFacingError, cached, events, forget, task_status
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD
from tests.support.unit_apps import (
    NewApp,
    deliver,
    elsewhere,
    execute,
    key_of,
    published,
    real,
    receive,
    use_store,
    work_off,
)

FOR = {"cache_failures_for": {LookupError: 60, KeyError: 5, IndexError: None}}

each_way = pytest.mark.parametrize("options", [HERD, CACHE, BOTH], ids=["herd", "cache", "both"])


class NoRowsError(UserFacingError):
    """A failure that people read."""


def add_failing(app: Celery, error: Any, **options: Any) -> tuple[Task, list[str]]:
    """A task that raises *error*, and the ids under which its body ran."""
    runs: list[str] = []

    def body(self, n):
        runs.append(self.request.id)
        raise error

    task = real(app.task(body, bind=True, name="proj.task", shared=False, **{**FOR, **options}))
    return task, runs


def call_dependent(task: Task) -> Any:
    return task.apply_async((1,), task_id=uuid.uuid4().hex)


@each_way
def test_a_later_call_gets_the_failure_until_its_time_is_over(app, clock, options):
    task, runs = add_failing(app, LookupError("gone", 5), **options)
    first = task.delay(1)
    work_off(app)
    clock.advance(59)
    second = task.delay(1)
    assert (second.id, second.state) == (first.id, states.FAILURE)
    with pytest.raises(LookupError, match="gone") as caught:
        second.get(timeout=1)
    assert caught.value.args == ("gone", 5)
    assert published(app) == []
    clock.advance(1)
    assert task.delay(1).id != first.id
    work_off(app)
    assert len(runs) == 2


@each_way
def test_a_dependent_call_is_served_the_failure(app, options):
    task, runs = add_failing(app, LookupError("gone"), **options)
    first = task.delay(1)
    work_off(app)
    served: list[Any] = []
    with events.run_served.connected_to(lambda task, **info: served.append(info)):
        later = call_dependent(task)
        work_off(app)
    assert runs == [first.id]
    assert later.state == states.FAILURE
    assert repr(later.result) == "LookupError('gone')"
    assert served == [{"key": key_of(task, 1), "task_id": later.id, "owner": first.id}]


def test_a_call_that_was_made_before_the_run_is_served_after_that_time(app, clock):
    task, runs = add_failing(app, LookupError("gone"), **HERD)
    first, second = task.delay(1), call_dependent(task)
    one, other = published(app)
    clock.advance(1)
    execute(receive(app, one))
    clock.advance(600)
    execute(receive(app, other))
    assert runs == [first.id]
    assert second.state == states.FAILURE


def test_a_success_replaces_the_failure_of_a_run_that_overlapped(app):
    @app.task(name="proj.task", shared=False, cache_failures_for={LookupError: 60}, **CACHE)
    def task():
        if not failed:
            failed.append(True)
            elsewhere(task.apply)
            assert repr(cached(task).exception) == "LookupError('gone')"
            return "well"
        raise LookupError("gone")

    failed: list[bool] = []
    task.apply()
    assert cached(task).value == "well"


def test_the_class_nearest_to_the_exceptions_own_decides(app, clock):
    for error, seconds in ((LookupError(), 60), (KeyError(), 5), (type("Own", (KeyError,), {})(), 5)):
        task, _ = add_failing(app, error, **CACHE)
        task.delay(1)
        work_off(app)
        clock.advance(seconds - 1)
        task.delay(1)
        assert work_off(app) == []
        clock.advance(1)
        task.delay(1)
        assert len(work_off(app)) == 1
        forget(task, 1)
        app.tasks.unregister(task.name)


@pytest.mark.parametrize(
    "error", [ValueError(), IndexError(), Ignore(), Reject("no"), SystemExit()], ids=repr
)
def test_what_is_not_named_is_neither_shared_nor_remembered(app, memory, error):
    task, runs = add_failing(app, error, **BOTH)
    for _ in range(2):
        task.delay(1)
        for message in published(app):
            try:
                deliver(app, message)
            except SystemExit:
                continue
    assert len(set(runs)) == 2
    assert memory.lookup(key_of(task, 1)) is None


def test_a_failure_that_was_served_is_not_retried(app):
    """``autoretry_for`` wraps the body."""
    task, runs = add_failing(
        app, LookupError("gone"), **BOTH, autoretry_for=(LookupError,), retry_kwargs={"max_retries": 1}
    )
    task.apply_async((1,))
    work_off(app)
    assert len(runs) == 2
    later = call_dependent(task)
    assert work_off(app) == [later.id]
    assert later.state == states.FAILURE
    assert len(runs) == 2


def test_a_retry_is_no_failure_and_the_last_one_is(app, memory):
    def body(self, n):
        raise self.retry(countdown=0, max_retries=1)

    options: Any = {**BOTH, "cache_failures_for": {MaxRetriesExceededError: 60}}
    task = real(app.task(body, bind=True, name="proj.task", shared=False, **options))
    first = task.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert memory.read(key_of(task, 1)).result is None
    assert work_off(app) == [first.id]
    assert task.delay(1).id == first.id
    assert first.state == states.FAILURE


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_what_the_result_backend_lost_is_written_back_with_its_traceback(new_app, memory, serializer):
    app = new_app(result_serializer=serializer, result_accept_content=["json", "pickle"])
    use_store(app, memory)
    task, _ = add_failing(app, NoRowsError("no rows"), **CACHE, cache_failures_for={UserFacingError: 60})
    first = task.delay(1)
    work_off(app)
    first.forget()
    assert app.AsyncResult(first.id).state == states.PENDING
    again = task.delay(1)
    assert isinstance(again.result, NoRowsError)
    assert "raise error" in again.traceback
    meta = app.backend.get_task_meta(first.id, cache=False)
    assert (meta["status"], str(meta["result"])) == (states.FAILURE, "no rows")
    assert "raise error" in meta["traceback"]


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "known"])
def test_people_see_the_failure_its_message_and_its_age(new_app, clock, memory, is_lost):
    app = new_app()
    use_store(app, memory)
    task, _ = add_failing(app, NoRowsError("no rows"), **CACHE, cache_failures_for={NoRowsError: 60})
    first = task.delay(1)
    work_off(app)
    clock.advance(7)
    if is_lost:
        first.forget()
    status = task_status(app, first.id, traceback=True)["task"]
    assert (status["status"], status["state"], status["message"]) == ("FAILURE", "FAILURE", "no rows")
    assert status["age"] == 7.0
    assert "raise error" in status["traceback"]


def test_a_failure_does_not_replace_a_value(app):
    """Of two runs at the same time, one stores its value before the other fails."""
    runs: list[str] = []

    def body(self, n):
        runs.append(self.request.id)
        if len(runs) == 1:
            elsewhere(deliver, app, second)
            raise LookupError("gone")
        return 7

    task = real(app.task(body, bind=True, name="proj.task", shared=False, **CACHE, **FOR))
    ids = [task.delay(1).id for _ in range(2)]
    first, second = published(app)
    deliver(app, first)
    assert runs == ids
    assert task.delay(1).get(timeout=1) == 7


@pytest.mark.parametrize(
    "exception",
    [
        {"exc_type": "SystemExit", "exc_message": ["5"], "exc_module": "builtins"},
        {"exc_type": "Ignore", "exc_message": [], "exc_module": "celery.exceptions"},
        {"exc_type": "system", "exc_message": ["true"], "exc_module": "os"},
        [1, 2],
        None,
    ],
    ids=str,
)
def test_what_is_no_exception_of_a_failure_is_dropped_and_the_task_runs(app, memory, caplog, exception):
    task, runs = add_failing(app, LookupError("gone"), **CACHE)
    data = b'["application/json", "utf-8"]\n' + json.dumps(exception).encode()
    memory.complete(key_of(task, 1), "forged", None, data, ttl=60, state=states.FAILURE)
    with caplog.at_level(logging.WARNING):
        first = task.delay(1)
        work_off(app)
    assert runs == [first.id]
    assert "cannot be read" in caplog.text


def test_an_eager_run_is_served_it_too(app):
    task, runs = add_failing(app, LookupError("gone"), **CACHE)
    results = [task.apply((1,)) for _ in range(2)]
    assert [result.state for result in results] == [states.FAILURE] * 2
    assert len(runs) == 1


@pytest.mark.parametrize("way", ["a plain call", "a delivery"])
def test_a_failure_that_is_on_its_way_to_the_store_is_waited_for(app, way):
    """Celery shows a failure before the process can store it."""
    task, runs = add_failing(app, LookupError("gone"), **HERD)
    seen: list[Any] = []

    def on_failure(self: Task, *_: Any) -> None:
        if self.request.id == runs[0]:
            seen.append(elsewhere(task.delay, 1) if way == "a plain call" else elsewhere(arrive))

    def arrive() -> Any:
        return execute(receive(app, other)).info.state

    type(task).on_failure = on_failure
    first, _ = task.delay(1), call_dependent(task)
    message, other = published(app)
    deliver(app, message)
    work_off(app)
    assert runs == [first.id]
    assert seen == [first if way == "a plain call" else states.IGNORED]


def test_the_failure_of_a_replacement_is_that_of_the_replaced_call(app):
    @app.task(name="proj.failing", shared=False)
    def failing():
        raise LookupError("gone")

    def body(self, n):
        raise self.replace(failing.si())

    task = real(app.task(body, bind=True, name="proj.task", shared=False, **HERD, **FOR))
    first = task.delay(1)
    work_off(app)
    assert first.state == states.FAILURE
    assert task.delay(1).id == first.id
    assert published(app) == []


def test_a_failure_is_not_stored_beyond_what_the_serializer_writes(new_app: NewApp):
    """With JSON nothing is pickled, whatever the exception holds."""
    app = new_app()
    memory = use_store(app, MemoryStore("memory://"))
    task, _ = add_failing(app, LookupError(object()), **CACHE)
    task.delay(1)
    work_off(app)
    payload = memory.read(key_of(task, 1)).result.payload
    assert payload.startswith(b'["application/json"')
