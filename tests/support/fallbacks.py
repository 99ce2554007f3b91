"""Calls that are answered without a broker, and how long that takes."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from jobtastic_signals.installation import installation_on
from tests.support.lateness import lateness

#: The setting's default.
DEADLINE = 2.0

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def tasks_on(app: Celery):
    """A task with options, and one without."""
    runs = []

    @app.task(name="shared", herd_avoidance_timeout=60, cache_duration=600)
    def shared(n):
        runs.append(n)
        return n * 2

    @app.task(name="bare")
    def bare(n):
        runs.append(n)
        return n * 2

    return shared, bare, runs


def timed(call, *arguments, **options):
    """What *call* returns, if it does so within the deadline, on a machine that lets nobody wait."""
    deadline = installation_on(arguments[0].app).settings.broker_deadline
    start = time.monotonic()
    with lateness() as late:
        result = call(*arguments, **options)
        took = time.monotonic() - start
        assert took - late() <= deadline
    return result


def store_payload(app, value):
    from jobtastic_signals.results.payload import dumps

    return dumps(app, value)
