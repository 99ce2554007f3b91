"""``group_progress``: groups, chains and chords as one, with few reads."""

from __future__ import annotations

import json
import math
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

from jobtastic_signals import JobtasticError, UserFacingError, group_progress, status_id, task_status
from jobtastic_signals.progress.groups import AT_ONCE
from tests.support.unit_apps import deliver, published, work_off


def a_task(app: Celery, state: str | None = None, result: Any = None) -> Any:
    """Return the result of a task in that state."""
    task_id = str(uuid.uuid4())
    if state is not None:
        app.backend.store_result(task_id, result, state)
    return app.AsyncResult(task_id)


def at(percent: float, left: Any = -1) -> dict[str, Any]:
    return {"progress_percent": percent, "time_remaining": left}


@pytest.fixture(params=["one read", "a read for each"])
def app(request, new_app, tmp_path):
    """Return an app whose result backend can, or cannot, be asked for many tasks at once."""
    if request.param == "one read":
        return new_app()
    return new_app(result_backend=database_in(tmp_path))


def database_in(folder: Path) -> str:
    """Return the URL of a result backend that cannot read many tasks at once.

    Up to 5.4 Celery makes its tables but once in a process, wherever that is.
    """
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from celery.backends.database import models

    url = f"sqlite:///{folder}/results.sqlite"
    models.ResultModelBase.metadata.create_all(sqlalchemy.create_engine(url))
    return f"db+{url}"


@pytest.mark.parametrize(
    ("tasks", "percent", "left", "completed", "failed"),
    [
        pytest.param([], 100, 0, 0, 0, id="none"),
        pytest.param([()], 0, -1, 0, 0, id="one that waits"),
        pytest.param([("SUCCESS", 1)], 100, 0, 1, 0, id="one that succeeded"),
        pytest.param([("SUCCESS", 1), ()], 50, -1, 1, 0, id="one ended and one waits"),
        pytest.param([("SUCCESS", 1), ("PROGRESS", at(40, 6))], 70, 6, 1, 0, id="one ended and one runs"),
        pytest.param([("PROGRESS", at(10, 9)), ("PROGRESS", at(30, 2))], 20, 9, 0, 0, id="two run"),
        pytest.param([("PROGRESS", at(10, 9)), ("PROGRESS", at(0))], 5, -1, 0, 0, id="one of them unknown"),
        pytest.param([("FAILURE", KeyError("x")), ("SUCCESS", 1)], 100, 0, 2, 1, id="one failed"),
        pytest.param([("STARTED", {"pid": 1}), ("SUCCESS", 1)], 50, -1, 1, 0, id="one started"),
        pytest.param([("PROGRESS", {"current": 3})], 0, -1, 0, 0, id="progress of another make"),
        pytest.param([("PROGRESS", at(120, "soon"))], 99.99, -1, 0, 0, id="progress beyond sense"),
        pytest.param([("PROGRESS", at(math.nan, math.inf))], 0, -1, 0, 0, id="progress beyond numbers"),
        pytest.param([("PROGRESS", at(100, 0))], 99.99, 0, 0, 0, id="almost all"),
        pytest.param([("PROGRESS", "halfway")], 0, -1, 0, 0, id="progress that is text"),
    ],
)
def test_a_group_is_the_mean_of_its_tasks(app, tasks, percent, left, completed, failed):
    results = [a_task(app, *task) for task in tasks]
    assert group_progress(app.GroupResult("group", results)) == {
        "progress_percent": percent,
        "time_remaining": left,
        "completed": completed,
        "total": len(tasks),
        "message": None,
        "failed": failed,
    }


def test_groups_in_groups_count_their_tasks(new_app):
    app = new_app()
    inner = app.GroupResult("inner", [a_task(app, "SUCCESS", 1), a_task(app), a_task(app)])
    progress = group_progress(app.GroupResult("outer", [inner, a_task(app)]))
    assert (progress["completed"], progress["total"], progress["progress_percent"]) == (1, 4, 25)


def test_a_single_result_is_a_chain_of_one(new_app):
    app = new_app()
    assert group_progress(a_task(app, "PROGRESS", at(40, 6)))["progress_percent"] == 40


def tasks_of(app: Celery) -> tuple[Any, Any]:
    plus = app.task(lambda_named(lambda a, b: a + b), shared=False, name="proj.plus")
    total = app.task(lambda_named(lambda numbers: sum(numbers)), shared=False, name="proj.total")
    return plus, total


def lambda_named(function: Any) -> Any:
    function.__name__ = "function"
    return function


def test_a_chain_is_followed_back_from_its_last_result(new_app):
    app = new_app()
    plus, _ = tasks_of(app)
    result = chain(plus.s(1, 2), plus.s(3), plus.s(4)).apply_async()
    assert group_progress(result)["total"] == 3
    assert group_progress(result)["completed"] == 0
    work_off(app)
    assert group_progress(result) == {
        "progress_percent": 100,
        "time_remaining": 0,
        "completed": 3,
        "total": 3,
        "message": None,
        "failed": 0,
    }


def test_a_chord_counts_its_header_and_its_body(new_app):
    app = new_app()
    plus, total = tasks_of(app)
    result = chord([plus.s(n, n) for n in range(3)], total.s()).apply_async()
    assert group_progress(result)["total"] == 4
    work_off(app)
    assert group_progress(result)["completed"] == 4
    assert result.get(timeout=1) == 6


def test_a_group_in_a_chain_counts_each_task_once(new_app):
    app = new_app()
    plus, total = tasks_of(app)
    result = chain(plus.s(1, 2), group(plus.s(n) for n in range(3)), total.s()).apply_async()
    assert group_progress(result)["total"] == 5


def test_what_is_loaded_is_not_asked_for_again(new_app, monkeypatch):
    app = new_app()
    ended = a_task(app, "SUCCESS", 1)
    assert ended.get(timeout=1) == 1
    monkeypatch.setattr(app.backend, "mget", None)
    assert group_progress(app.GroupResult("group", [ended]))["completed"] == 1


def test_many_tasks_take_few_reads(new_app, monkeypatch):
    app = new_app()
    reads = []
    mget = app.backend.mget
    monkeypatch.setattr(app.backend, "mget", lambda keys: reads.append(len(keys)) or mget(keys))
    monkeypatch.setattr(app.backend, "get", None)
    results = [app.AsyncResult(str(n)) for n in range(AT_ONCE + 1)]
    assert group_progress(app.GroupResult("group", results))["total"] == AT_ONCE + 1
    assert reads == [AT_ONCE, 1]


def test_tasks_of_several_result_backends_are_asked_for_in_theirs(new_app, tmp_path):
    app, other = new_app(), new_app(result_backend=database_in(tmp_path))
    tasks = [a_task(app, "SUCCESS", 1), a_task(other, "SUCCESS", 1)]
    assert group_progress(app.GroupResult("group", tasks))["completed"] == 2


def test_without_a_result_backend_the_error_says_what_to_do(new_app):
    with pytest.raises(JobtasticError, match="set result_backend"):
        group_progress(new_app(result_backend=None).AsyncResult("any"))


# Groups by an id alone: what a web page has


def status_of(app: Celery, task_id: str) -> dict[str, Any]:
    """Return the status, as a process sees it that knows nothing but the id."""
    task: dict[str, Any] = task_status(app, task_id)["task"]
    assert task.pop("id") == task_id
    task.pop("age", None)
    return task


def fails(app: Celery) -> Any:
    def function() -> None:
        raise UserFacingError("The file has no rows.")

    return app.task(function, shared=False, name="proj.fails")


def test_a_single_task_has_its_own_id(app, monkeypatch):
    monkeypatch.setattr(app.backend, "store_result", None)
    task = app.AsyncResult("single")
    assert status_id(task) == task.id


def test_a_group_has_one_status(app):
    plus, _ = tasks_of(app)
    result = group(plus.s(n, n) for n in range(4)).apply_async()
    task_id = status_id(result)
    assert status_of(app, task_id) == {"status": "PENDING", "result": None}
    app.backend.store_result(result[0].id, at(40, 6), "PROGRESS")
    app.backend.store_result(result[1].id, 2, "SUCCESS")
    running = status_of(app, task_id)
    assert running == {"status": "PROGRESS", "result": group_progress(result)}
    assert (running["result"]["progress_percent"], running["result"]["completed"]) == (35, 1)
    work_off(app)
    assert status_of(app, task_id) == {"status": "SUCCESS", "result": [0, 2, 4, 6]}


def test_a_chord_has_one_status_and_the_result_of_its_body(new_app):
    app = new_app()
    plus, total = tasks_of(app)
    result = chord([plus.s(n, n) for n in range(3)], total.s()).apply_async()
    task_id = status_id(result)
    assert task_id != result.id
    app.backend.store_result(result.parent[0].id, 0, "SUCCESS")
    assert status_of(app, task_id)["result"]["total"] == 4
    work_off(app)
    assert status_of(app, task_id) == {"status": "SUCCESS", "result": 6}


def test_a_chain_has_one_status_and_the_result_of_its_last_task(new_app):
    app = new_app()
    plus, _ = tasks_of(app)
    result = chain(plus.s(1, 2), plus.s(3), plus.s(4)).apply_async()
    task_id = status_id(result)
    for message in published(app):
        deliver(app, message)
    assert status_of(app, task_id)["result"]["completed"] == 1
    work_off(app)
    assert status_of(app, task_id) == {"status": "SUCCESS", "result": 10}


def test_a_chain_has_failed_when_one_of_its_tasks_has(new_app):
    """Those after it never run."""
    app = new_app()
    plus, _ = tasks_of(app)
    result = chain(plus.s(1, 2), fails(app).si(), plus.si(3, 4)).apply_async()
    work_off(app)
    task = status_of(app, status_id(result))
    assert (task["status"], task["message"]) == ("FAILURE", "The file has no rows.")


def test_a_chain_has_failed_when_one_of_its_tasks_was_revoked(new_app):
    """Celery leaves those after it pending."""
    app = new_app()
    first = a_task(app, "REVOKED", TaskRevokedError("revoked"))
    last = app.AsyncResult(str(uuid.uuid4()), parent=app.AsyncResult(str(uuid.uuid4()), parent=first))
    task = status_of(app, status_id(last))
    assert (task["status"], task["state"]) == ("FAILURE", "REVOKED")


def test_a_group_has_failed_when_all_have_ended(new_app):
    app = new_app()
    tasks = [a_task(app, "FAILURE", UserFacingError("no")), a_task(app)]
    task_id = status_id(app.GroupResult("failing", tasks))
    assert status_of(app, task_id)["result"]["failed"] == 1
    app.backend.store_result(tasks[1].id, 1, "SUCCESS")
    task = status_of(app, task_id)
    assert (task["status"], task["message"]) == ("FAILURE", "no")


def test_a_chain_in_a_group_that_fails_does_not_keep_the_group_from_ending(new_app):
    app = new_app()
    plus, _ = tasks_of(app)
    result = group(chain(fails(app).si(), plus.si(1, 1)), plus.si(2, 2)).apply_async()
    work_off(app)
    assert status_of(app, status_id(result))["status"] == "FAILURE"


def test_groups_in_a_chain_are_listed_once_each(new_app, monkeypatch):
    """Each member of a group has all that came before as its parents."""
    app = new_app()
    parent: Any = None
    for number in range(12):
        members = [app.AsyncResult(f"{number}-{n}", parent=parent) for n in range(4)]
        parent = app.GroupResult(f"group-{number}", members, parent=parent)
    written: list[Any] = []
    monkeypatch.setattr(app.backend, "store_result", lambda *arguments: written.append(arguments))
    assert status_id(parent) == "group-11"
    assert group_progress(parent)["total"] == 48
    assert len(json.dumps(written)) < 2000


def test_the_same_canvas_has_the_same_id(new_app):
    app = new_app()
    result = app.AsyncResult("last", parent=app.AsyncResult("first"))
    assert status_id(result) == status_id(result)
    assert status_id(result) != status_id(app.AsyncResult("other", parent=app.AsyncResult("first")))


def test_an_empty_group_has_succeeded(new_app):
    app = new_app()
    assert status_of(app, status_id(app.GroupResult("empty", []))) == {"status": "SUCCESS", "result": []}


def test_a_group_has_the_age_of_its_latest_end(new_app, monkeypatch):
    app = new_app()
    task_id = status_id(app.GroupResult("aged", [a_task(app, "SUCCESS", 1), a_task(app, "SUCCESS", 2)]))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90)
    assert task_status(app, task_id)["task"]["age"] == pytest.approx(90, abs=5)


def test_a_poll_for_many_tasks_takes_few_reads(new_app, monkeypatch):
    app = new_app()
    task_id = status_id(app.GroupResult("many", [app.AsyncResult(str(n)) for n in range(AT_ONCE + 1)]))
    reads = []
    mget, get = app.backend.mget, app.backend.get
    monkeypatch.setattr(app.backend, "mget", lambda keys: reads.append(len(keys)) or mget(keys))
    monkeypatch.setattr(app.backend, "get", lambda key: reads.append(1) or get(key))
    task_status(app, task_id)
    assert reads == [1, AT_ONCE, 1]


def test_without_a_result_backend_there_is_no_id(new_app):
    app = new_app(result_backend=None)
    with pytest.raises(JobtasticError, match="set result_backend"):
        status_id(app.GroupResult("group", [app.AsyncResult("any")]))
