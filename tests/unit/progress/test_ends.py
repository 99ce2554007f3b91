"""An end that comes from outside stays, although the run was just about to write a record."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery.exceptions import Ignore, TimeLimitExceeded, WorkerLostError

from jobtastic_signals import update_progress
from jobtastic_signals.progress import middleware
from jobtastic_signals.progress.records import restore_end
from tests.support.progress import run
from tests.support.servers import wait_until


def end_from_outside(task: Task, task_id: str, *, is_stored: bool = True, is_reported: bool = True) -> None:
    """Do what a worker's main process does on a hard time limit, where no run goes on."""

    def main_process() -> None:
        error = TimeLimitExceeded(1)
        if is_stored:
            task.backend.mark_as_failure(task_id, error)
        if is_reported:
            signals.task_failure.send(
                sender=task, task_id=task_id, exception=error, args=(), kwargs={}, traceback=None, einfo=None
            )

    thread = threading.Thread(target=main_process)
    thread.start()
    thread.join()


def ends_between_read_and_write(task: Task, **how: Any) -> None:
    """Report, and let the end come after the state was read and before the record is written."""
    cls = type(task.backend)
    store_result = cls.store_result

    def interposed(self: Any, task_id: str, *args: Any, **kwargs: Any) -> Any:
        patch.undo()
        end_from_outside(task, task_id, **how)
        return store_result(self, task_id, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "store_result", interposed)
        update_progress(1, 3)


@pytest.fixture
def app(new_app) -> Celery:
    return new_app(jobtastic_progress_interval=0)


@pytest.fixture
def looks(monkeypatch) -> list[Any]:
    """Collect what the middleware asks of the timers. They do not run, so tests call it."""
    asked: list[Any] = []
    monkeypatch.setattr(middleware, "call_at", lambda when, function: asked.append(function))
    monkeypatch.setattr(middleware, "hand_over", lambda job: job())
    return asked


def test_an_end_that_a_record_has_replaced_is_restored(app, records, looks):
    def body(self):
        ends_between_read_and_write(self)
        raise Ignore  # Nothing more is stored, as by a process that is killed.

    result = run(app, body)
    assert [each["completed"] for each in records] == [1]
    assert result.state == "PROGRESS"
    assert len(looks) == len(middleware.LOOKS)
    looks[0]()
    assert isinstance(result.result, TimeLimitExceeded)
    assert result.state == "FAILURE"


def test_an_end_that_a_record_has_replaced_before_anyone_saw_it_becomes_a_failure(app, looks):
    def body(self):
        ends_between_read_and_write(self, is_reported=False)
        assert self.AsyncResult(self.request.id).state == "PROGRESS"
        end_from_outside(self, self.request.id, is_stored=False)
        raise Ignore

    result = run(app, body)
    looks[0]()
    assert isinstance(result.result, WorkerLostError)


def test_the_timers_look_for_the_end(app, monkeypatch):
    monkeypatch.setattr(middleware, "LOOKS", (0.0,))

    def body(self):
        ends_between_read_and_write(self, is_reported=False)
        end_from_outside(self, self.request.id, is_stored=False)
        raise Ignore

    result = run(app, body)
    wait_until(lambda: result.state == "FAILURE", what="the end")


def test_a_run_whose_message_comes_again_gets_no_old_end(app, looks):
    """Its records belong to the next run of the same id."""

    def body(self):
        ends_between_read_and_write(self)

    run(app, body, acks_late=True, reject_on_worker_lost=True)
    assert looks == []


def test_an_end_that_is_still_there_is_left_alone(app, looks, monkeypatch):
    def body(self):
        end_from_outside(self, self.request.id)
        raise Ignore

    result = run(app, body)
    monkeypatch.setattr(app.backend, "store_result", None)
    looks[0]()
    assert result.state == "FAILURE"


def test_a_success_is_not_an_end_to_restore(app, looks):
    result = run(app, lambda self: 7)
    end_from_outside(app.tasks["proj.task"], result.id, is_stored=False)
    assert looks == []
    assert result.get(timeout=1) == 7


def test_a_backend_that_fails_meanwhile_is_logged_and_nothing_else(app, looks, monkeypatch, caplog):
    def body(self):
        end_from_outside(self, self.request.id)
        raise Ignore

    run(app, body)
    monkeypatch.setattr(app.backend, "get_task_meta", lambda *_, **__: 1 / 0)
    looks[0]()
    assert "cannot see whether its end is still stored" in caplog.text


def test_a_restored_end_has_all_that_celery_stores_with_results(new_app):
    app = new_app(result_extended=True)
    stored = {
        "name": "proj.task",
        "args": [1],
        "kwargs": {"b": 2},
        "worker": "w1",
        "retries": 3,
        "queue": "q",
    }
    end = {
        "task_id": "some-id",
        "status": "FAILURE",
        "result": KeyError("x"),
        "traceback": "the traceback",
        "children": [],
        "group_id": "g",
        "parent_id": "p",
        **stored,
    }
    app.backend.store_result("some-id", {"progress_percent": 0}, "PROGRESS")
    assert restore_end(app.backend, end)
    restored = app.backend.get_task_meta("some-id")
    assert {name: restored[name] for name in end} == {**end, "result": restored["result"]}
    assert repr(restored["result"]) == "KeyError('x')"
