"""What the log says of calls and deliveries that start no run."""

from __future__ import annotations

import contextvars
import logging

import pytest
from celery import signals

from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import deliver, key_of, published, real, store_of, use_store


@pytest.fixture
def report(new_app):
    app = new_app()

    @app.task(name="report", shared=False, cache_duration=60, herd_avoidance_timeout=60)
    def report(n=1):
        return n

    return real(report)


@pytest.fixture
def logged(caplog):
    """Return what the package has logged at a level, from now on."""
    caplog.set_level(logging.DEBUG)

    def logged(level):
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("jobtastic_signals.") and record.levelno == level
        ]

    return logged


def test_a_call_that_joins_or_is_answered_is_logged_for_debugging(report, logged):
    first = report.delay()
    report.delay()
    assert logged(logging.DEBUG) == [f"report: the call joins {first.id}"]
    (message,) = published(report.app)
    deliver(report.app, message)
    report.delay()
    assert logged(logging.DEBUG)[1:] == [f"report: the call is answered by the stored result of {first.id}"]
    assert logged(logging.INFO) == []


def test_a_delivery_that_is_served_or_waits_is_logged_for_debugging(report, logged):
    for task_id in ("first", "served", "waits"):
        report.apply_async((), task_id=task_id)
    first, served, waits = published(report.app)
    deliver(report.app, first)
    deliver(report.app, served)
    assert logged(logging.DEBUG) == ["report[served]: served the result of first"]
    store_of(report.app).forget(key_of(report))
    store_of(report.app).claim(key_of(report), "other", "other/1", 60)
    deliver(report.app, waits)
    (waiting,) = logged(logging.DEBUG)[1:]
    assert waiting.startswith("report[waits]: waits for other, for ")


def test_what_beat_did_not_send_is_logged_for_everybody(report, logged):
    def tick():
        signals.beat_init.send(sender=None)
        report.delay()

    first = report.delay()
    contextvars.copy_context().run(tick)
    assert logged(logging.INFO) == [f"report was due, and is not sent: the call joins {first.id}"]
    report.delay()
    assert len(logged(logging.INFO)) == 1


class Unreadable(MemoryStore):
    """Of another user."""

    @property
    def identity(self):
        raise PermissionError("not yours")

    lookup = lookup_or_claim = claim = complete = release = identity


def test_a_worker_that_cannot_read_its_store_reports_that_and_nothing_more(report, logged):
    report.delay()
    (message,) = published(report.app)
    use_store(report.app, Unreadable())
    for _ in range(2):
        assert deliver(report.app, message).retval == 1
    (warning,) = logged(logging.WARNING)
    assert "failed (PermissionError: not yours)" in warning
