"""Threads that publish leave no connection behind when they end."""

from __future__ import annotations

import gc
import threading
from urllib.parse import urlsplit

import pytest

from jobtastic_signals import delay_or_fail
from jobtastic_signals.support import threads
from tests.support.fallbacks import tasks_on
from tests.support.servers import wait_until
from tests.support.sockets import connections_to
from tests.support.unit_apps import published
from tests.support.workers.project import close


def call_in_threads(call, number):
    """Call it in so many threads at once, which end."""
    together = threading.Barrier(number)

    def work():
        together.wait(60)
        call()

    callers = [threading.Thread(target=work) for _ in range(number)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)


@pytest.fixture
def no_garbage_collector():
    """It would close some of them, at some time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("protocol", ["redis", "amqp"])
def test_threads_that_call_and_end_leave_no_connection(new_app, redis_url, shared, monkeypatch, protocol):
    monkeypatch.setattr(threads, "_idle", {})
    monkeypatch.setattr(threads, "IDLE", 1.0)
    broker = f"{redis_url}/12" if protocol == "redis" else shared.rabbitmq()
    app = new_app(broker_url=broker, result_backend=f"{redis_url}/13", jobtastic_broker_deadline=60)
    task, _, _ = tasks_on(app)
    ports = (urlsplit(redis_url).port, urlsplit(broker).port)
    before = connections_to(*ports)
    # All but one join, which asks the result backend.
    call_in_threads(lambda: delay_or_fail(task, 1), 8)
    opened = connections_to(*ports) - before
    wait_until(lambda: not opened & connections_to(*ports), what="the end of the connections")
    assert opened
    assert len(published(app)) >= 1
    close(app)
