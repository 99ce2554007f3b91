"""``task_status``: plain JSON for every state, and what the result backend lost comes from the store."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from typing import Any

import pytest
from celery import Celery, states
from celery.exceptions import TaskRevokedError

from jobtastic_signals import JobtasticError, UserFacingError, forget, task_status
from jobtastic_signals.results.status import is_final
from jobtastic_signals.stores.memory import MemoryStore
from tests.support import foreign, foreign_errors
from tests.support.unit_apps import key_of, store_of, use_store, work_off

#: Celery's result serializers.
SERIALIZERS = ["json", "pickle", "yaml", "msgpack"]


def status_after(app: Celery, state: str, result: Any, **more: Any) -> dict[str, Any]:
    task_id = str(uuid.uuid4())
    app.backend.store_result(task_id, result, state, **more)
    status = task_status(app, task_id)
    assert status["task"].pop("id") == task_id
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    assert ("age" in status["task"]) == (state in states.READY_STATES)
    assert status["task"].pop("age", 0.0) >= 0.0
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


def test_what_the_result_backend_lost_is_answered_from_the_store(new_app):
    app = new_app()

    @app.task(shared=False, name="proj.task", cache_duration=60)
    def task(n):
        return [n]

    result = task.delay(7)
    work_off(app)
    result.forget()
    assert app.AsyncResult(result.id).state == "PENDING"
    task = task_status(app, result.id)["task"]
    assert (task["status"], task["result"]) == ("SUCCESS", [7])
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


# What people may read


class NoRowsError(UserFacingError):
    """One of a task's author."""

    def __init__(self, file: str, lines: int) -> None:
        super().__init__(f"{file} has {lines} lines and no rows.")


class SilentError(UserFacingError):
    """One whose author forgot to call the base class."""

    def __init__(self, code: int) -> None:
        self.code = code


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserFacingError("The file has no rows."), "The file has no rows."),
        (NoRowsError("a.csv", 3), "a.csv has 3 lines and no rows."),
        (UserFacingError(foreign.NoText.__name__ + " <b>"), "NoText <b>"),
        (SilentError(7), "7"),
    ],
)
def test_the_text_that_a_task_has_for_people_is_there_with_each_serializer(
    new_app, serializer, error, message
):
    app = new_app(result_serializer=serializer, result_accept_content=[serializer])
    task = status_after(app, "FAILURE", error)["task"]
    assert (task["status"], task["message"]) == ("FAILURE", message)
    assert task["exc"] == f"{type(error).__module__}.{type(error).__qualname__}"


def test_an_error_for_people_survives_pickling_twice():
    error = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(NoRowsError("a.csv", 3)))))
    assert (str(error), error.args) == ("a.csv has 3 lines and no rows.", ("a.csv", 3))


def test_a_task_that_raises_it_in_a_worker_has_its_text(new_app):
    app = new_app()

    @app.task(shared=False, name="proj.task", herd_avoidance_timeout=60)
    def task():
        raise NoRowsError("a.csv", 3)

    result = task.delay()
    work_off(app)
    assert task_status(app, result.id)["task"]["message"] == "a.csv has 3 lines and no rows."


@pytest.mark.parametrize("error", [ValueError("secret"), JobtasticError("secret")])
def test_no_other_exception_has_a_text_for_people(new_app, error):
    assert "message" not in status_after(new_app(), "FAILURE", error)["task"]


def test_a_retry_has_no_text_for_people(new_app):
    assert "message" not in status_after(new_app(), "RETRY", UserFacingError("again"))["task"]


@pytest.mark.parametrize("kind", foreign_errors.ERRORS)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_failure_whose_exception_has_no_text_is_a_failure(new_app, kind, serializer):
    app = new_app(result_serializer=serializer, result_accept_content=[serializer])
    task_id = str(uuid.uuid4())
    app.backend.store_result(task_id, kind("first", "second", "third"), "FAILURE")
    task = task_status(app, task_id, traceback=True)["task"]
    assert (task["status"], task["exc"]) == ("FAILURE", f"tests.support.foreign_errors.{kind.__name__}")
    assert task["result"].startswith(f"{kind.__name__}(")


def test_what_cannot_be_decoded_here_is_an_error_that_says_what_to_do(new_app):
    writer = new_app(result_serializer="pickle", result_accept_content=["pickle"])
    writer.backend.store_result("pickled", {1, 2}, "SUCCESS")
    for reader in (new_app(), new_app(plugin=False)):
        with pytest.raises(JobtasticError, match=r"'pickled'.*result_accept_content"):
            task_status(reader, "pickled")


# How old a result is


def test_the_age_is_counted_from_the_end_that_the_result_backend_knows(new_app, monkeypatch):
    app = new_app()
    app.backend.store_result("ended", ValueError(), "FAILURE")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90)
    assert task_status(app, "ended")["task"]["age"] == pytest.approx(90, abs=5)


def test_the_age_is_never_negative(new_app, monkeypatch):
    app = new_app()
    app.backend.store_result("ended", 1, "SUCCESS")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 90)
    assert task_status(app, "ended")["task"]["age"] == 0


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_cached_result_that_was_written_back_has_its_real_age(new_app, clock, is_lost):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))

    @app.task(shared=False, name="proj.task", cache_duration=3600)
    def task():
        return 7

    result = task.delay()
    work_off(app)
    clock.now += 600
    if is_lost:
        result.forget()
        task.delay()
    assert task_status(app, result.id)["task"]["age"] == 600
    result.forget()
    assert [task_status(app, result.id)["task"]["age"] for _ in range(2)] == [600, 600]
