"""What is remembered of earlier runs, and how a run uses it."""

from __future__ import annotations

import time
import uuid

import pytest
from celery import Celery

from jobtastic_signals import phase, track, update_progress
from jobtastic_signals.installation import installation_on
from jobtastic_signals.progress.history import LEVELS, RUNS, History
from jobtastic_signals.progress.report import Past
from tests.support import unit_apps
from tests.support.progress import Reported, add, run
from tests.support.unit_apps import store_of


def history_of(app: Celery) -> History:
    installation = installation_on(app)
    assert installation is not None
    return History(installation)


@pytest.fixture
def history(new_app):
    return history_of(new_app())


def test_nothing_is_known_at_first(history):
    assert history.of("proj.task") == Past()


def test_the_latest_runs_are_kept_of_each_task(history):
    for n in range(RUNS + 5):
        history.add("proj.task", f"id-{n}", n, {})
    history.add("proj.other", "id", 7.1234, {})
    assert history.of("proj.task").durations == [float(n) for n in range(5, RUNS + 5)]
    assert history.of("proj.other").durations == [7.123]


def test_weights_are_those_that_were_seen_last(history):
    history.add("proj.task", "1", 1, {"": 4.0, "render": 2.0})
    history.add("proj.task", "2", 1, {"": 5.0})
    assert history.of("proj.task").weights == {"": 5.0}


def test_weights_of_phases_without_number_do_not_fill_the_store(history):
    history.add("proj.task", "1", 1, {"": 4.0, **{f"file {n}": 1.0 for n in range(1000)}, "none": 0.0})
    weights = history.of("proj.task").weights
    assert weights[""] == 4.0
    assert len(weights) == LEVELS


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"durations": 1}', b'{"durations": ["x"], "weights": {}}'])
def test_what_cannot_be_read_is_not_used(new_app, caplog, payload):
    app = new_app()
    store_of(app).complete("history:proj.task", "id", None, payload, ttl=None)
    assert history_of(app).of("proj.task") == Past()
    assert "the stored history of proj.task cannot be read" in caplog.text


@pytest.fixture
def remembers(monkeypatch):
    monkeypatch.setattr("jobtastic_signals.progress.middleware.WORTH_REMEMBERING", 0.0)


def durations(app, name="proj.task"):
    return list(history_of(app).of(name).durations)


@pytest.mark.usefixtures("remembers")
def test_a_success_is_remembered_and_a_failure_is_not(new_app):
    app = new_app()
    run(app, lambda self: None)
    assert len(durations(app)) == 1
    run(app, lambda self: 1 / 0, name="proj.fails")
    assert durations(app, "proj.fails") == []


@pytest.mark.usefixtures("remembers")
def test_a_served_run_is_not_remembered(new_app):
    app = new_app()
    task = add(app, lambda self: 7, cache_duration=60)
    task.delay()
    unit_apps.work_off(app)
    task.apply_async(task_id=str(uuid.uuid4()))
    unit_apps.work_off(app)
    assert len(durations(app)) == 1


def test_short_runs_are_not_worth_remembering(new_app):
    app = new_app()
    run(app, lambda self: None)
    assert durations(app) == []


@pytest.mark.usefixtures("remembers")
def test_the_second_run_knows_the_weights_of_the_first(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with phase("load"):
            update_progress(1, 2)
        with phase("render", weight=3):
            list(track("ab"))

    run(app, body)
    assert 12.5 not in {each["progress_percent"] for each in records}
    del records[:]
    history = history_of(app)
    assert history.of("proj.task").weights == {"": 4.0}
    history.add("proj.task", "one that took long", 1000.0, {"": 4.0})
    run(app, body)
    assert {12.5, 25.0, 62.5, 100.0} <= {each["progress_percent"] for each in records}


def with_history(*durations: float) -> Reported:
    reported = Reported(interval=0, past=Past(durations))
    reported.run.begin(0)
    return reported


def test_history_estimates_a_run_that_reports_nothing():
    reported = with_history(10.0, 10.0, 12.0)
    assert reported.records[-1]["progress_percent"] == 0
    assert reported.records[-1]["time_remaining"] == 10
    reported.clock.now += 5
    reported.progress._estimate()
    assert reported.records[-1]["progress_percent"] == 50
    assert reported.records[-1]["time_remaining"] == 5
    reported.clock.now += 6
    reported.progress._estimate()
    assert reported.records[-1]["progress_percent"] == 91.67
    assert reported.records[-1]["time_remaining"] == 1
    reported.clock.now += 6
    reported.progress._estimate()
    assert reported.records[-1]["progress_percent"] == 91.67
    assert reported.records[-1]["time_remaining"] == -1


def test_counts_and_history_together_estimate_a_run_and_history_counts_more_at_first():
    reported = with_history(100.0)
    record = reported.after(10, 1, 100)
    # Its own pace says 990 s, history 90 s.
    assert record["progress_percent"] == 1
    assert record["time_remaining"] == pytest.approx(0.01 * 990 + 0.99 * 90, abs=0.1)
    assert reported.after(90, 100, 100)["time_remaining"] == 0


def test_a_count_without_a_total_moves_by_history():
    reported = with_history(10.0)
    record = reported.after(5, 500, None)
    assert (record["progress_percent"], record["completed"], record["total"]) == (50, 500, None)
    assert record["time_remaining"] == 5


def test_counts_that_begin_late_do_not_take_back_the_percent_of_history():
    reported = with_history(10.0)
    reported.clock.now += 5
    reported.progress._estimate()
    assert [reported.after(1, n, 10)["progress_percent"] for n in (0, 4, 6, 10)] == [50, 50, 60, 100]


def test_what_the_task_itself_shows_is_not_overwritten_by_an_estimate(new_app, records, monkeypatch):
    """With a state of its own, or with a meta of its own."""
    monkeypatch.setattr("jobtastic_signals.progress.reporter.BETWEEN_ESTIMATES", 0.05)
    app = new_app(jobtastic_progress_interval=0)
    history_of(app).add("proj.task", "earlier", 100.0, {})
    seen = []

    def body(self):
        for state, meta in [("RENDERING", {"n": 1}), ("PROGRESS", {"current": 1})]:
            self.update_state(state=state, meta=meta)
            time.sleep(0.3)
            result = self.AsyncResult(self.request.id)
            seen.append((result.state, result.result))

    run(app, body)
    assert seen == [("RENDERING", {"n": 1}), ("PROGRESS", {"current": 1})]
