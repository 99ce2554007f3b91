"""``group_progress``: groups, chains and chords as one, with few reads."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from jobtastic_signals import JobtasticError, group_progress
from jobtastic_signals.progress.groups import AT_ONCE
from tests.support.unit_apps import work_off


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
