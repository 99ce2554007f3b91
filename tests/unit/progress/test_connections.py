"""Django's connections: those of the background thread are looked after, and those of the body left alone."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from jobtastic_signals import update_progress
from tests.support.progress import NEVER
from tests.support.servers import wait_until
from tests.support.unit_apps import work_off


@pytest.fixture
def django(monkeypatch):
    """Stands in for Django; the names of the threads whose old connections were closed."""
    closed: list[int] = []
    database = SimpleNamespace(close_old_connections=lambda: closed.append(threading.get_ident()))
    conf = SimpleNamespace(settings=SimpleNamespace(configured=True))
    monkeypatch.setitem(sys.modules, "django.db", database)
    monkeypatch.setitem(sys.modules, "django.conf", conf)
    return SimpleNamespace(closed=closed, settings=conf.settings)


def report_in_task(new_app, **options):
    app = new_app(jobtastic_progress_interval=0)

    @app.task(shared=False, name="proj.reports", **options)
    def body():
        update_progress(1, 2)

    body.delay()
    work_off(app)


def test_old_connections_of_the_background_are_closed_before_and_after_a_record(new_app, django, records):
    report_in_task(new_app, **NEVER)
    wait_until(lambda: len(django.closed) == 2, what="the connections of a thread that is idle")
    assert threading.get_ident() not in django.closed
    assert len(records) == 1


def test_connections_of_the_body_are_left_alone(new_app, django, records):
    """Where it writes itself: it may be reading rows from one of them."""
    report_in_task(new_app)
    assert django.closed == []
    assert len(records) == 1


def test_a_django_that_is_not_configured_is_none(new_app, django, records):
    django.settings.configured = False
    report_in_task(new_app, **NEVER)
    assert django.closed == []
    assert len(records) == 1


def test_a_record_that_fails_at_once_is_tried_again(new_app, monkeypatch, records, caplog):
    """The server may have closed the connection since it was used."""
    app = new_app(jobtastic_progress_interval=0)
    store = type(app.backend).store_result
    failures = iter([ConnectionError("closed")])

    def store_result(self, task_id, result, state, **options):
        if state == "PROGRESS" and (failure := next(failures, None)) is not None:
            raise failure
        return store(self, task_id, result, state, **options)

    monkeypatch.setattr(type(app.backend), "store_result", store_result)

    @app.task(shared=False, name="proj.reports", **NEVER)
    def body():
        update_progress(1, 2)

    body.delay()
    work_off(app)
    assert len(records) == 1
    assert caplog.records == []
