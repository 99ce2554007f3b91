"""On Redis a record replaces the state that was read, and nothing that came after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore, TimeLimitExceeded
from celery.result import AsyncResult

from jobtastic_signals import events, update_progress
from jobtastic_signals.progress import records
from tests.support.progress import run
from tests.support.unit_apps import work_off


@pytest.fixture
def written() -> Iterator[list[dict[str, Any]]]:
    """Collect all records that are written while the test runs."""
    seen: list[dict[str, Any]] = []

    def remember(task: Task, **info: Any) -> None:
        seen.append(info)

    with events.progress_updated.connected_to(remember):
        yield seen


@pytest.fixture
def app(new_app, redis_url) -> Celery:
    return new_app(result_backend=f"{redis_url}/0", jobtastic_progress_interval=0)


def before_next_write(do: Any) -> None:
    """Call *do* after the state was read and before the record is written."""
    replace = records._RedisState.replace

    def interposed(*args: Any) -> Any:
        patch.undo()
        do()
        return replace(*args)

    patch = pytest.MonkeyPatch()
    patch.setattr(records._RedisState, "replace", interposed)


def end(result: AsyncResult) -> None:
    result.backend.mark_as_failure(result.id, TimeLimitExceeded(1))


def test_an_end_between_read_and_write_stays(app, written):
    def body(self):
        result = self.AsyncResult(self.request.id)
        before_next_write(lambda: end(result))
        update_progress(1, 3)
        assert result.state == "FAILURE"
        update_progress(2, 3)
        raise Ignore

    result = run(app, body)
    assert isinstance(result.result, TimeLimitExceeded)
    assert written == []


def test_an_end_while_the_start_is_shown_stays(new_app, redis_url):
    app = new_app(result_backend=f"{redis_url}/0", jobtastic_progress_after=0, jobtastic_progress_interval=0)

    @app.task(bind=True, shared=False, name="proj.start", cache_duration=-1)
    def body(self: Task) -> None:
        raise Ignore

    before_next_write(lambda: end(app.AsyncResult("start")))
    body.apply_async(task_id="start")
    work_off(app)
    assert isinstance(app.AsyncResult("start").result, TimeLimitExceeded)


def test_the_first_record_replaces_the_end_of_an_earlier_run(app):
    seen = []
    app.backend.mark_as_failure("again", KeyError("earlier"))

    @app.task(bind=True, shared=False, name="proj.again", cache_duration=-1)
    def body(self: Task) -> None:
        update_progress(1, 4)
        seen.append(self.AsyncResult(self.request.id).result["completed"])

    body.apply_async(task_id="again")
    work_off(app)
    assert seen == [1]


def test_a_state_of_the_tasks_own_that_comes_in_between_is_replaced(app, written):
    def body(self):
        task_id = self.request.id  # Another thread has no request.
        before_next_write(lambda: self.update_state(task_id, "RENDERING"))
        update_progress(1, 3)
        return self.AsyncResult(task_id).state

    assert run(app, body).get(timeout=5) == "PROGRESS"
    assert [each["completed"] for each in written] == [1]


@pytest.mark.parametrize(
    "conf", [{}, {"result_extended": True}, {"result_serializer": "pickle"}, {"result_expires": 0}]
)
def test_a_record_is_stored_as_celery_stores_a_state(new_app, redis_url, conf):
    app = new_app(
        result_backend=f"{redis_url}/0",
        jobtastic_progress_interval=0,
        result_accept_content=["json", "pickle"],
        **conf,
    )
    found = []

    def body(self):
        client, key = self.backend.client, self.backend.get_key_for_task(self.request.id)
        channel = client.pubsub(ignore_subscribe_messages=True)
        channel.subscribe(key)
        channel.get_message(timeout=5)
        for write in (
            lambda: update_progress(1, 2),
            lambda: self.update_state(state="PROGRESS", meta=self.AsyncResult(self.request.id).result),
        ):
            write()
            message = None
            while message is None:
                message = channel.get_message(timeout=5)
            found.append((client.get(key), message["data"], round(client.ttl(key) / 3600)))
        channel.close()

    run(app, body)
    ours, celerys = found
    assert ours == celerys
    assert ours[0] == ours[1]


def test_reading_and_writing_a_record_takes_two_round_trips(app):
    seen: list[str] = []

    def body(self):
        update_progress(1, 3)
        with self.backend.client.monitor() as monitor:
            update_progress(2, 3)
            self.backend.client.set("over", 1)
            for command in monitor.listen():
                if command["command"].startswith("SET over"):
                    break
                if command["client_type"] != "lua" and self.request.id in command["command"]:
                    seen.append(command["command"].split()[0])

    run(app, body)
    assert seen == ["GET", "EVAL"]
