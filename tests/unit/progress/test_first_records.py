"""When a run that has reported nothing is shown, and what that replaces."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery import Celery

from jobtastic_signals import update_progress
from jobtastic_signals.installation import installation_on
from jobtastic_signals.progress.history import History
from jobtastic_signals.progress.report import Past
from tests.support.progress import Reported, run
from tests.support.servers import wait_until
from tests.support.timetable import Timetable
from tests.support.unit_apps import work_off

HERD = {"herd_avoidance_timeout": 60}


def seen_in(app: Celery, options: dict[str, Any], *, body: Any = lambda: None, **call: Any) -> list[Any]:
    """Return the state and the result that others see in a run of a task with these options."""
    seen = []

    @app.task(bind=True, shared=False, name="proj.seen", **options)
    def task(self):
        body()
        meta = self.backend.get_task_meta(self.request.id, cache=False)
        seen.append((meta["status"], meta["result"]))

    task.apply_async(**call)
    work_off(app)
    return seen


def test_a_run_that_takes_long_is_shown_without_a_result(new_app):
    assert seen_in(new_app(jobtastic_progress_after=0, jobtastic_progress_interval=0), HERD) == [
        ("STARTED", None)
    ]


def test_a_run_is_not_shown_before(new_app):
    assert seen_in(new_app(jobtastic_progress_after=60), HERD) == [("PENDING", None)]


def test_it_is_shown_when_the_time_has_come(new_app):
    app = new_app(jobtastic_progress_after=0.05)

    def body(self):
        wait_until(lambda: self.AsyncResult(self.request.id).state == "STARTED", what="the state")

    assert run(app, body).state == "SUCCESS"


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"memleak_threshold": 1000}, "PENDING"),
        ({"memleak_threshold": 1000, "memleak_trace": True}, "PENDING"),
        ({"memleak_threshold": 1000, "cache_duration": -1}, "STARTED"),
        ({"cache_duration": -1}, "STARTED"),
    ],
    ids=repr,
)
def test_a_task_whose_only_options_are_about_memory_is_not_shown(new_app, options, state):
    assert seen_in(new_app(jobtastic_progress_after=0, jobtastic_progress_interval=0), options) == [
        (state, None)
    ]


def test_a_task_with_options_about_memory_reports(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    run(app, lambda self: update_progress(1, 4), cache_duration=-1, memleak_threshold=1000)
    assert [each["completed"] for each in records] == [1]


def test_a_run_of_a_task_with_a_history_is_shown_with_an_estimate(new_app):
    app = new_app(jobtastic_progress_after=0, jobtastic_progress_interval=0)
    installation = installation_on(app)
    assert installation is not None
    History(installation).add("proj.seen", "earlier", 100.0, {})
    [(state, record)] = seen_in(app, HERD)
    assert (state, record["completed"]) == ("PROGRESS", 0)
    assert 50 < record["time_remaining"] <= 100


def test_the_end_of_an_earlier_run_with_the_same_id_is_replaced(new_app):
    app = new_app(jobtastic_progress_after=0, jobtastic_progress_interval=0)
    app.backend.mark_as_failure("again", KeyError("earlier"))
    assert seen_in(app, HERD, task_id="again") == [("STARTED", None)]


def test_an_end_that_was_stored_since_the_run_began_stays(new_app):
    app = new_app(jobtastic_progress_after=60, jobtastic_progress_interval=0)

    def ends_and_reports():
        app.backend.mark_as_failure("ended", KeyError("of this run"))
        update_progress(1, 2)

    [(state, _)] = seen_in(app, HERD, body=ends_and_reports, task_id="ended")
    assert state == "FAILURE"


def test_a_success_of_an_earlier_run_with_the_same_id_stays_as_in_celery(new_app):
    app = new_app(jobtastic_progress_after=0, jobtastic_progress_interval=0)
    app.backend.mark_as_done("done", 42)
    assert seen_in(app, HERD, body=lambda: update_progress(1, 2), task_id="done") == [("SUCCESS", 42)]


@pytest.mark.parametrize("state", ["RENDERING", "STARTED"])
def test_a_state_that_the_task_or_celery_has_stored_stays(new_app, state):
    app = new_app(jobtastic_progress_after=0.05)
    meta = {"by": "the task"}

    def body(self):
        self.update_state(state=state, meta=meta)
        looks = []
        threading.Timer(0.3, looks.append, (1,)).start()
        wait_until(lambda: looks, what="the look at the state")
        result = self.AsyncResult(self.request.id)
        assert (result.state, result.result) == (state, meta)
        return "well"

    assert run(app, body).get(timeout=5) == "well"


def of_time(past: Past | None = None) -> tuple[Reported, Timetable]:
    """Return a progress whose timers and clock are a timetable."""
    time_table = Timetable()
    return Reported(past=past, clock=time_table, call_at=time_table.call_at), time_table


def test_a_run_that_has_ended_is_not_shown():
    reported, hours = of_time(Past([100.0]))
    reported.run.begin(0.5)
    hours.let_pass(0.4)
    reported.run.close()
    hours.let_pass(10)
    assert (reported.started, reported.records) == (0, [])


def test_a_run_that_ends_asks_nothing_of_its_history():
    asked = []
    reported, hours = of_time()
    reported.progress.report.read_past = lambda: asked.append(1) or Past()
    reported.run.begin(0.5)
    hours.let_pass(0.4)
    reported.run.close()
    hours.let_pass(10)
    assert asked == []


def test_what_a_run_has_reported_is_not_replaced_by_its_start():
    reported, hours = of_time()
    reported.run.begin(0.5)
    reported.progress.update(0, 10)
    hours.let_pass(10)
    assert (reported.started, [each["total"] for each in reported.records]) == (0, [10])


def test_a_report_that_an_update_frequency_holds_back_is_shown_when_the_run_takes_long():
    reported, hours = of_time()
    reported.run.begin(0.5)
    reported.progress.update(3, 10, 5)
    assert reported.records == []
    hours.let_pass(0.6)
    assert [each["completed"] for each in reported.records] == [3]


def test_the_timer_of_a_run_is_cancelled_at_its_end():
    reported, hours = of_time()
    reported.run.begin(0.5)
    reported.run.close()
    assert [timer.is_cancelled for timer in hours.timers] == [True]


def test_an_estimate_leaves_what_another_process_of_the_run_has_reported(new_app, monkeypatch):
    monkeypatch.setattr("jobtastic_signals.progress.reporter.BETWEEN_ESTIMATES", 0.05)
    app = new_app(jobtastic_progress_after=0.05)
    installation = installation_on(app)
    assert installation is not None
    History(installation).add("proj.task", "earlier", 100.0, {})

    def body(self):
        result = self.AsyncResult(self.request.id)
        wait_until(lambda: result.state == "PROGRESS", what="an estimate")
        theirs = {**result.result, "completed": 7}
        self.backend.store_result(self.request.id, theirs, "PROGRESS")
        looks = []
        threading.Timer(0.3, looks.append, (1,)).start()
        wait_until(lambda: looks, what="some estimates")
        assert result.result == theirs
        return "well"

    assert run(app, body).get(timeout=5) == "well"
