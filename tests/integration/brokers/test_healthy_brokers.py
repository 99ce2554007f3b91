"""A broker that is well is used, however slow this process is, and even where a call fails."""

from __future__ import annotations

import threading
from textwrap import dedent

import pytest
import redis

from jobtastic_signals import BrokerUnavailableError, delay_or_fail
from jobtastic_signals.fallback import broker
from jobtastic_signals.installation import installation_on
from tests.support.fallbacks import tasks_on, timed
from tests.support.servers import wait_until
from tests.support.throttled import run_throttled
from tests.support.unit_apps import published
from tests.support.workers.project import close

_PROJECT = """
    import sys
    from celery import Celery
    from jobtastic_signals import Jobtastic, delay_or_fail

    app = Celery("proj", broker={url!r} + "/8", backend={url!r} + "/9")
    app.conf.jobtastic_store = "disk://{folder}/store"
    Jobtastic(app)

    @app.task(herd_avoidance_timeout=20)
    def report(customer):
        return customer

    print("ready", flush=True)
    sys.stdin.read()
    print([delay_or_fail(report, n).state for n in range(3)])
"""


@pytest.mark.thorough
def test_a_cold_process_with_little_of_a_processor_reaches_it(redis_url, tmp_path):
    """Its imports alone take longer than the deadline."""
    (tmp_path / "proj.py").write_text(dedent(_PROJECT).format(url=redis_url, folder=tmp_path))
    said = run_throttled(["proj.py"], share=0.03, folder=tmp_path, ready="ready")
    assert said.strip() == str(["PENDING"] * 3)


def test_a_call_that_hangs_by_itself_fails_alone(new_app, redis_url, monkeypatch):
    app = new_app(broker_url=f"{redis_url}/10", jobtastic_broker_deadline=5)
    _, bare, _ = tasks_on(app)
    assert delay_or_fail(bare, 1).state == "PENDING"
    go_on = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(broker.ThreadProducer, "_reach_broker", lambda self: go_on.wait(60))
        failed = timed(delay_or_fail, bare, 2)
        go_on.set()
    assert isinstance(failed.result, BrokerUnavailableError)
    assert not installation_on(app).broker.is_open
    assert delay_or_fail(bare, 3).state == "PENDING"
    assert [message.payload[0] for message in published(app)] == [[1], [3]]
    close(app)


@pytest.mark.thorough
def test_a_broker_that_greets_but_takes_no_messages_is_left_alone_after_two_of_them(new_app, redis_url):
    """Like RabbitMQ while its memory is full."""
    app = new_app(broker_url=f"{redis_url}/11", jobtastic_broker_deadline=5)
    _, bare, _ = tasks_on(app)
    breaker = installation_on(app).broker
    with redis.Redis.from_url(redis_url) as client:
        client.client_pause(600_000, all=False)
        try:
            for is_open in (False, True):
                assert timed(delay_or_fail, bare, 1).state == "FAILURE"
                assert breaker.is_open == is_open
        finally:
            client.client_unpause()
        breaker.retry()
        assert delay_or_fail(bare, 2).state == "PENDING"
        wait_until(lambda: not breaker.is_open, what="the end of the outage")
    close(app)
