"""Progress beside time limits, failures, threads and forks, and after the end of a run."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals import events, update_progress
from jobtastic_signals.progress.reporter import Progress, current_progress
from tests.support.progress import NEVER, run
from tests.support.unit_apps import work_off


def test_a_soft_time_limit_that_strikes_while_a_record_is_written_is_the_tasks(new_app):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        def strike(task, **info):
            raise SoftTimeLimitExceeded

        def store(*args, **kwargs):
            raise SoftTimeLimitExceeded

        self.backend.store_result, before = store, self.backend.store_result
        try:
            update_progress(1, 2)
        except SoftTimeLimitExceeded:
            return "seen"
        finally:
            self.backend.store_result = before

    assert run(app, body).get(timeout=1) == "seen"


@pytest.mark.parametrize("where", ["get_task_meta", "store_result"])
def test_a_soft_time_limit_is_not_taken_for_a_failure_of_the_result_backend(new_app, monkeypatch, where):
    app = new_app(jobtastic_progress_interval=0)

    def strike(*args, **kwargs):
        raise SoftTimeLimitExceeded

    def body(self):
        with monkeypatch.context() as patch:
            patch.setattr(self.backend, where, strike)
            update_progress(1, 2)

    assert isinstance(run(app, body).result, SoftTimeLimitExceeded)
    assert current_progress.get() is None


def test_a_soft_time_limit_in_the_first_record_leaves_nothing_behind(new_app, monkeypatch):
    app = new_app(jobtastic_progress_interval=0)

    def strike(*args, **kwargs):
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr("jobtastic_signals.progress.records.write_first_record", strike)
        assert isinstance(run(app, lambda self: 1).result, SoftTimeLimitExceeded)
    assert current_progress.get() is None


def test_a_soft_time_limit_that_strikes_at_the_end_does_not_let_a_record_come_after_it():
    """While the background thread writes, and the end waits for that."""
    writing, struck, written = threading.Event(), threading.Event(), []

    def write(record: Any, is_estimate: bool) -> bool:
        writing.set()
        struck.wait(20)
        written.append(record)
        return True

    def strike(*_: Any) -> None:
        struck.set()
        raise SoftTimeLimitExceeded

    progress = Progress("task", write, interval=0)
    threading.Thread(target=progress.update, args=(1, 2)).start()
    assert writing.wait(10)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(SoftTimeLimitExceeded):
            progress.close()
        closed = len(written)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert closed == len(written) == 1


def test_a_receiver_can_report(new_app):
    app = new_app(jobtastic_progress_interval=0)
    reported = []

    def report(task, completed, **info):
        reported.append(completed)
        update_progress(completed + 10, 100)

    with events.progress_updated.connected_to(report):
        assert run(app, lambda self: update_progress(1, 100)).state == "SUCCESS"
    # Which of the two reports comes next is up to the threads.
    assert reported[0] == 0
    assert reported[1] in (1, 10)


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
    assert [each["completed"] for each in records] == ([0, 0] if options else [])
    assert current_progress.get() is None


def test_a_child_that_the_body_forks_does_not_report_and_goes_on(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with held_by_another_thread(current_progress.get()._lock):  # as while something is written
            child = os.fork()
            if child == 0:
                try:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(10)
                    update_progress(1, 2)
                finally:
                    os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run(app, body).get(timeout=1) == 7
    assert [each["completed"] for each in records] == [0]


@contextmanager
def held_by_another_thread(lock):
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_what_is_reported_before_the_body_is_dropped(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def early(**_: Any) -> None:
        update_progress(1, 3)

    signals.task_prerun.connect(early)
    try:
        run(app, lambda self: update_progress(2, 3))
    finally:
        signals.task_prerun.disconnect(early)
    assert [each["completed"] for each in records] == [0, 2]


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
            patch.setattr(self.backend, "get_task_meta", lambda *args, **kwargs: 1 / 0)
            update_progress(1, 2)

    run(app, body)
    assert [each["completed"] for each in records] == [0]
    assert "could not be written" in caplog.text


def test_with_rpc_nothing_fills_the_queue_of_the_caller(new_app, records):
    app = new_app(result_backend="rpc://")
    run(app, lambda self: update_progress(1, 2))
    assert records == []


def test_a_result_backend_that_fails_costs_one_warning_and_no_run(new_app, caplog):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        before = self.backend.store_result
        self.backend.store_result = lambda *args, **kwargs: 1 / 0
        try:
            for n in range(5):
                update_progress(n, 10)
        finally:
            self.backend.store_result = before
        return "well"

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).get(timeout=1) == "well"
    assert [record.message for record in caplog.records] == [
        f"{record.args[0]}: its progress could not be written: ZeroDivisionError('division by zero')"
        for record in caplog.records
    ]
    assert len(caplog.records) == 1
