"""Results that are written back to the result backend: they are what it had before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.task import Context

from jobtastic_signals import task_status
from jobtastic_signals.results import payload
from tests.support.unit_apps import work_off

#: What ``result_extended`` adds.
FIELDS = ("name", "args", "kwargs", "worker", "retries", "queue")


def database_in(folder: Path) -> str:
    """Return the URL of a result backend with a column for each field."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from celery.backends.database import models

    url = f"sqlite:///{folder}/results.sqlite"
    models.ResultModelBase.metadata.create_all(sqlalchemy.create_engine(url))
    return f"db+{url}"


def add_task(app: Celery) -> Task:
    @app.task(shared=False, name="proj.task", cache_duration=60)
    def task(n: Any, *, unit: str = "m") -> Any:
        return {"n": n, "unit": unit}

    return task


def extended(app: Celery, task_id: str) -> dict[str, Any]:
    meta = app.backend.get_task_meta(task_id, cache=False)
    return {name: meta.get(name) for name in ("status", "result", "children", *FIELDS)}


@pytest.fixture(params=["cache", "database"])
def backend(request, tmp_path):
    return "cache+memory://" if request.param == "cache" else database_in(tmp_path)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("how", ["a call", "a poll"])
def test_a_result_that_is_written_back_keeps_its_extended_fields(new_app, backend, how, serializer):
    app = new_app(
        result_backend=backend,
        result_extended=True,
        result_serializer=serializer,
        result_accept_content=["json", "pickle"],
    )
    task = add_task(app)
    result = task.delay([1, 2], unit="km")
    work_off(app)
    before = extended(app, result.id)
    assert before["name"] == "proj.task"
    assert before["result"] == {"n": [1, 2], "unit": "km"}
    result.forget()
    assert extended(app, result.id)["name"] is None
    if how == "a call":
        assert task.delay([1, 2], unit="km").id == result.id
    else:
        assert task_status(app, result.id)["task"]["status"] == "SUCCESS"
    assert extended(app, result.id) == before


def test_without_extended_results_nothing_more_is_kept(new_app):
    app = new_app()
    data = payload.dumps(app, [7], Context(task="proj.task"))
    assert data == payload.dumps(app, [7])
    assert (payload.loads(app, data), payload.extended_fields(app, data)) == ([7], {})


def test_what_was_kept_without_extended_fields_is_written_back_by_an_app_that_has_them(new_app):
    app = new_app()
    task = add_task(app)
    result = task.delay(7)
    work_off(app)
    app.conf.result_extended = True
    result.forget()
    task.delay(7)
    assert extended(app, result.id)["result"] == {"n": 7, "unit": "m"}


def test_a_result_that_is_written_back_in_a_task_gets_no_children_of_that_task(new_app):
    app = new_app()
    task = add_task(app)
    result = task.delay(7)
    work_off(app)
    result.forget()

    @app.task(bind=True, shared=False, name="proj.parent")
    def parent(self: Task) -> None:
        self.request.children.append(app.AsyncResult("child"))
        task.delay(7)

    parent.delay()
    work_off(app)
    assert extended(app, result.id)["result"] == {"n": 7, "unit": "m"}
    assert not extended(app, result.id)["children"]
