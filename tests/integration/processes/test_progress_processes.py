"""Other processes report for a run by its handle, as long as it goes on."""

from __future__ import annotations

import multiprocessing
from typing import Any

import billiard
import pytest
from celery import Celery

from jobtastic_signals import current_progress, update_progress
from tests.support.progress import run
from tests.support.progress_processes import report, report_until, report_without_handle
from tests.support.servers import wait_until

CONTEXTS = {
    "fork": multiprocessing.get_context("fork"),
    "spawn": multiprocessing.get_context("spawn"),
    "billiard": billiard.context.ForkContext(),
}


@pytest.fixture
def app(new_app, redis_url) -> Celery:
    return new_app(result_backend=f"{redis_url}/8", jobtastic_progress_interval=0)


def in_process(context: Any, function: Any, *arguments: Any) -> None:
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_a_process_with_a_handle_reports_for_the_run(app, context):
    """It ends right after that."""
    seen = []

    def body(self):
        in_process(context, report, current_progress(), 1, 4, "from elsewhere")
        seen.append(app.AsyncResult(self.request.id).result)
        update_progress(2, 4, message="from here")
        wait_until(lambda: app.AsyncResult(self.request.id).result["completed"] == 2, what="the report here")
        return "well"

    assert run(app, body).get(timeout=5) == "well"
    assert [(each["completed"], each["message"]) for each in seen] == [(1, "from elsewhere")]


@pytest.mark.parametrize("context", ["fork", "billiard"])
def test_a_process_that_the_body_forks_reports_without_a_handle(app, context):
    seen = []

    def body(self):
        update_progress(1, 4)
        in_process(CONTEXTS[context], report_without_handle, 2, 4)
        seen.append(app.AsyncResult(self.request.id).result["completed"])

    run(app, body)
    assert seen == [2]


def test_a_process_works_at_the_phase_in_which_it_got_the_handle(app):
    seen = []

    def body(self):
        progress = current_progress()
        with progress.phase("load", of=4):
            pass
        with progress.phase("render", weight=3):
            in_process(CONTEXTS["spawn"], report, progress, 1, 3, "page 1")
            seen.append(app.AsyncResult(self.request.id).result["progress_percent"])

    run(app, body)
    assert seen == [50.0]


def test_a_process_that_outlives_the_run_writes_few_records_and_none_after_the_end(
    new_app, redis_url, tmp_path
):
    app = new_app(result_backend=f"{redis_url}/8", jobtastic_progress_interval=60)
    over, processes = tmp_path / "over", []

    def body(self):
        process = CONTEXTS["fork"].Process(target=report_until, args=(current_progress(), str(over)))
        process.start()
        processes.append(process)
        result = app.AsyncResult(self.request.id)
        wait_until(lambda: dict(result.info or {}).get("completed", 0) > 0, what="a report")
        return "well"

    with app.backend.client.monitor() as monitor:
        result = run(app, body)
        looks = iter(range(25))
        wait_until(lambda: next(looks, None) is None, what="a moment")
        assert result.get(timeout=5) == "well"
        over.touch()
        processes[0].join()
        app.backend.client.set("over", 1)
        commands = [each["command"].split()[0] for each in until(monitor, "SET over")]
    assert result.state == "SUCCESS"
    # One from each process at most, in the first minute.
    assert commands.count("EVAL") <= 2


def until(monitor: Any, last: str) -> Any:
    """Yield the commands that Redis got from clients, up to *last*."""
    for command in monitor.listen():
        if command["command"].startswith(last):
            return
        if command["client_type"] != "lua":
            yield command
