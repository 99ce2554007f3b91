"""``task_status``: plain JSON for every state, and what the result backend lost comes from the store."""

from __future__ import annotations

import datetime
import decimal
import json
import time
import uuid
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from jobtastic_signals import JobtasticError, forget, task_status
from jobtastic_signals.results.status import is_final, plain
from tests.support.unit_apps import key_of, store_of, work_off


def status_after(app: Celery, state: str, result: Any, **more: Any) -> dict[str, Any]:
    task_id = str(uuid.uuid4())
    app.backend.store_result(task_id, result, state, **more)
    status = task_status(app, task_id)
    assert status["task"].pop("id") == task_id
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    return status


@pytest.mark.parametrize("state", ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "MINE"])
def test_a_state_before_the_end_is_told_as_it_is(new_app, state):
    status = status_after(new_app(), state, {"n": 1})
    assert status == {"task": {"status": state, "result": {"n": 1}}}
    assert not is_final(status)


def test_an_unknown_id_is_pending(new_app):
    status = task_status(new_app(), "unknown")
    assert status == {"task": {"id": "unknown", "status": "PENDING", "result": None}}
    assert not is_final(status)


def test_a_success_has_its_result(new_app):
    status = status_after(new_app(), "SUCCESS", [1, {"a": "b"}])
    assert status == {"task": {"status": "SUCCESS", "result": [1, {"a": "b"}]}}
    assert is_final(status)


def test_a_failure_tells_its_exception_and_no_traceback(new_app):
    status = status_after(new_app(), "FAILURE", ValueError("wrong"), traceback="secret")
    assert status == {
        "task": {
            "status": "FAILURE",
            "state": "FAILURE",
            "result": "ValueError('wrong')",
            "exc": "builtins.ValueError",
        }
    }
    assert is_final(status)


def test_the_traceback_is_there_for_who_asks(new_app):
    app = new_app()
    app.backend.store_result("failed", ValueError("wrong"), "FAILURE", traceback="line 1")
    assert task_status(app, "failed", traceback=True)["task"]["traceback"] == "line 1"
    assert "traceback" not in task_status(app, "failed")["task"]


def test_an_error_that_was_raised_here_brings_its_traceback_along(new_app):
    app = new_app()
    app.backend.store_result("failed", ValueError("wrong"), "FAILURE")
    assert "ValueError: wrong" in task_status(app, "failed", traceback=True)["task"]["traceback"]


def test_a_retry_goes_on(new_app):
    status = status_after(new_app(), "RETRY", ValueError("wrong"))
    assert (status["task"]["status"], status["task"]["result"]) == ("RETRY", "ValueError('wrong')")
    assert not is_final(status)


@pytest.mark.parametrize("state", ["REVOKED", "REJECTED", "IGNORED"])
def test_other_ends_are_failures_with_the_true_state_beside(new_app, state):
    # Celery itself stores the exception of REVOKED alone.
    status = status_after(new_app(), state, TaskRevokedError("no") if state == "REVOKED" else "no")
    assert (status["task"]["status"], status["task"]["state"]) == ("FAILURE", state)
    assert is_final(status)


def test_a_revoked_task_is_told_as_celery_stores_it(new_app):
    app = new_app()
    app.backend.mark_as_revoked("revoked", "terminated")
    task = task_status(app, "revoked")["task"]
    assert (task["status"], task["state"]) == ("FAILURE", "REVOKED")
    assert task["exc"] == "celery.exceptions.TaskRevokedError"


def test_what_json_does_not_know_becomes_what_it_does(new_app):
    # Pickle carries anything.
    app = new_app(result_serializer="pickle", result_accept_content=["pickle"])
    value = {
        "nan": [float("nan"), float("inf"), -float("inf"), 1.5],
        1: (1, 2),
        "set": {7},
        "date": datetime.date(2026, 1, 2),
        "time": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
        "decimal": decimal.Decimal("1.50"),
        "bytes": b"abc",
        "text": "\ud800<b>",
    }
    assert status_after(app, "SUCCESS", value)["task"]["result"] == {
        "nan": [None, None, None, 1.5],
        "1": [1, 2],
        "set": [7],
        "date": "2026-01-02",
        "time": "2026-01-02T03:04:00+00:00",
        "decimal": "1.50",
        "bytes": "b'abc'",
        "text": "\ud800<b>",
    }


def test_a_result_without_end_becomes_text_at_some_depth():
    endless: list[Any] = []
    endless.append(endless)
    assert len(json.dumps(plain(endless))) < 1000


def test_a_result_of_great_depth_becomes_text_at_some_depth():
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert len(json.dumps(plain(deep))) < 2000


def test_what_the_result_backend_lost_is_answered_from_the_store(new_app):
    app = new_app()

    @app.task(shared=False, name="proj.task", cache_duration=60)
    def task(n):
        return [n]

    result = task.delay(7)
    work_off(app)
    result.forget()
    assert app.AsyncResult(result.id).state == "PENDING"
    assert task_status(app, result.id) == {"task": {"id": result.id, "status": "SUCCESS", "result": [7]}}
    # And the result backend knows it again.
    assert app.AsyncResult(result.id).get(timeout=1) == [7]


@pytest.mark.parametrize("how", ["an id of the user's own", "an ignored result"])
def test_what_could_be_wrong_or_is_not_wanted_is_not_answered_from_the_store(new_app, how):
    """An id that a user chose can come again, with other arguments."""
    app = new_app()

    @app.task(shared=False, name="proj.task", cache_duration=60, ignore_result=how == "an ignored result")
    def task(n):
        return n

    result = task.apply_async((7,), task_id=f"mine-{time.time()}" if how.startswith("an id") else None)
    work_off(app)
    result.forget()
    assert task_status(app, result.id)["task"]["status"] == "PENDING"


@pytest.mark.parametrize("how", ["forgotten", "replaced", "not cached", "unreadable"])
def test_what_the_store_has_not_any_more_is_pending(new_app, how):
    app = new_app()

    @app.task(shared=False, name="proj.task", cache_duration=-1 if how == "not cached" else 60)
    def task():
        return 7

    result = task.delay()
    work_off(app)
    result.forget()
    if how == "forgotten":
        assert forget(task)
    if how == "replaced":
        forget(task)
        task.delay()
        work_off(app)
    if how == "unreadable":
        store_of(app).forget(key_of(task))
        store_of(app).complete(key_of(task), result.id, None, b"\x00", ttl=None)
    assert task_status(app, result.id)["task"]["status"] == "PENDING"


def test_without_a_result_backend_the_error_says_what_to_do(new_app):
    with pytest.raises(JobtasticError, match="set result_backend"):
        task_status(new_app(result_backend=None), "any")


def test_what_the_result_backend_raises_is_raised():
    app = Celery("proj", backend="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.update(result_backend_transport_options={"retry_policy": {"max_retries": 0}})
    with pytest.raises(Exception, match="refused"):
        task_status(app, "any")
