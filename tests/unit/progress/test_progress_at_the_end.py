"""Progress beside time limits, failures, threads and forks, and after the end of a run."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals import events, update_progress
from jobtastic_signals.progress.lazy import reporting
from jobtastic_signals.progress.reporter import Progress
from tests.support.progress import NEVER, run
from tests.support.unit_apps import work_off


class Held:
    """A result backend that stores a record only when it is let go."""

    def __init__(self) -> None:
        self.is_asked, self.is_let_go, self.written = threading.Event(), threading.Event(), []

    def write(self, record: Any, is_estimate: bool) -> bool:
        self.is_asked.set()
        self.is_let_go.wait(20)
        self.written.append(record)
        return True

    def show_start(self, record: Any) -> bool:
        return True

    def stop(self) -> None:
        pass


@pytest.fixture
def held():
    held = Held()
    yield held
    held.is_let_go.set()


@contextmanager
def soft_limit_in(seconds: float) -> Iterator[None]:
    """Let a soft time limit strike in this thread."""

    def strike(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_soft_time_limit_that_strikes_while_a_record_is_written_is_the_tasks(held):
    progress = Progress("task", held, interval=0)
    with soft_limit_in(0.1), pytest.raises(SoftTimeLimitExceeded):
        progress.update(1, 2)
    held.is_let_go.set()
    progress.close()


def test_a_soft_time_limit_is_not_taken_for_a_failure_of_the_result_backend(new_app, monkeypatch):
    """Where the thread of the body writes, since nobody sees the end of a task without options."""
    app = new_app(jobtastic_progress_interval=0)

    def strike(*args, **kwargs):
        raise SoftTimeLimitExceeded

    @app.task(bind=True, shared=False, name="proj.plain")
    def plain(self):
        with monkeypatch.context() as patch:
            patch.setattr(self.backend, "store_result", strike)
            update_progress(1, 2)

    result = plain.delay()
    work_off(app)
    assert isinstance(result.result, SoftTimeLimitExceeded)
    assert reporting.get() is None


def test_a_soft_time_limit_that_strikes_at_the_end_does_not_let_a_record_come_after_it(held):
    """While the background thread writes, and the end waits for that."""
    progress = Progress("task", held, interval=0)
    threading.Thread(target=progress.update, args=(1, 2)).start()
    assert held.is_asked.wait(10)
    later = threading.Timer(0.3, held.is_let_go.set)
    later.start()
    with soft_limit_in(0.1), pytest.raises(SoftTimeLimitExceeded):
        progress.close()
    assert len(held.written) == 1


def test_a_receiver_can_report(new_app):
    app = new_app(jobtastic_progress_interval=0)
    reported = []

    def report(task, completed, **info):
        reported.append(completed)
        update_progress(completed + 10, 100)

    with events.progress_updated.connected_to(report):
        assert run(app, lambda self: update_progress(1, 100)).state == "SUCCESS"
    # The report of the receiver comes next, if the body does not end before.
    assert reported[0] == 1
    assert reported[1:2] in ([], [11])


@pytest.mark.parametrize("options", [NEVER, {}], ids=["with options", "without"])
def test_what_is_reported_after_the_end_is_dropped(new_app, records, options):
    app = new_app(jobtastic_progress_interval=0)

    def late(**_: Any) -> None:
        update_progress(1, 3)

    @app.task(shared=False, name="proj.late", **options)
    def body():
        raise KeyError("x")

    signals.task_postrun.connect(late)
    try:
        results = [body.delay(), body.delay()]
        work_off(app)
    finally:
        signals.task_postrun.disconnect(late)
    assert [result.state for result in results] == ["FAILURE"] * 2
    assert [each["completed"] for each in records] == []
    assert reporting.get() is None


def test_what_is_reported_before_the_body_is_dropped(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def early(**_: Any) -> None:
        update_progress(1, 3)

    signals.task_prerun.connect(early)
    try:
        run(app, lambda self: update_progress(2, 3))
    finally:
        signals.task_prerun.disconnect(early)
    assert [each["completed"] for each in records] == [2]


def test_a_retry_that_is_announced_is_not_written_over(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        self.backend.mark_as_retry(self.request.id, KeyError("x"))
        update_progress(1, 3)
        return self.AsyncResult(self.request.id).state

    assert run(app, body).get(timeout=1) == "RETRY"


def test_where_the_state_cannot_be_read_nothing_is_written(new_app, records, caplog, monkeypatch):
    """It may be the end that a time limit has just stored."""
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with monkeypatch.context() as patch:
            patch.setattr(type(self.backend), "get_task_meta", lambda *args, **kwargs: 1 / 0)
            update_progress(1, 2)

    run(app, body)
    assert records == []
    assert "could not be written" in caplog.text


def test_with_rpc_nothing_fills_the_queue_of_the_caller(new_app, records):
    app = new_app(result_backend="rpc://")
    run(app, lambda self: update_progress(1, 2))
    assert records == []


def test_a_result_backend_that_fails_costs_one_warning_and_no_run(new_app, caplog, monkeypatch):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with monkeypatch.context() as patch:
            patch.setattr(type(self.backend), "store_result", lambda *args, **kwargs: 1 / 0)
            for n in range(5):
                update_progress(n, 10)
        return "well"

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).get(timeout=1) == "well"
    assert [record.message for record in caplog.records] == [
        f"{record.args[0]}: its progress could not be written: ZeroDivisionError('division by zero')"
        for record in caplog.records
    ]
    assert len(caplog.records) == 1
