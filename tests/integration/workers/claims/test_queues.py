"""Waiting on each kind of queue: how often a message is delivered, and how soon its caller is answered."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain
from celery.result import AsyncResult

from tests.support.lateness import lateness
from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import Rig, deliveries, go_on, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90

QUEUES: dict[str, dict[str, Any]] = {
    "redis": {},
    "classic": {"task_default_queue": "classic"},
    "priority": {"task_default_queue": "priority", "task_queue_max_priority": 10},
    "quorum": {
        "task_default_queue": "quorum",
        "task_default_queue_type": "quorum",
        "task_default_exchange_type": "topic",
        "broker_transport_options": {"confirm_publish": True},
    },
}


pytestmark = on("rabbitmq-prefork")


@pytest.fixture
def open_queue(open_rig: Callable[..., Rig], project: SimpleNamespace) -> Callable[[str], Rig]:
    """Makes a project with a worker, on a kind of queue of Redis or of the RabbitMQ of *project*."""

    def open_queue(kind: str) -> Rig:
        broker = {} if kind == "redis" else {"broker_url": project.app.conf.broker_url}
        rig = open_rig(**broker, **QUEUES[kind])
        rig.start(concurrency=3, queues=rig.client.app.conf.task_default_queue)
        return rig

    return open_queue


def ended(rig: Rig, task_id: str) -> float:
    """Return when the result of *task_id* was there."""
    done = AsyncResult(task_id, app=rig.client.app).date_done
    done = datetime.datetime.fromisoformat(done) if isinstance(done, str) else done
    return (done if done.tzinfo else done.replace(tzinfo=datetime.timezone.utc)).timestamp()


def test_a_call_waits_on_a_quorum_queue(open_queue, token):
    """There a countdown below a second raises, and any other is cut to whole seconds."""
    rig = open_queue("quorum")
    client = rig.client
    owner = client.held.delay(token)
    wait_until(lambda: client.runs("held", token), what="the run")
    tail = chain(client.held.s(token), client.shown.s()).delay()
    wait_until(lambda: waits(rig.log(), tail.parent.id), what="the wait")
    go_on(client, token)
    assert tail.get(timeout=TIMEOUT) == repr([token, owner.id])
    assert len(client.runs("held", token, "begins")) == 1
    assert "could not be sent again" not in rig.log()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize(("seconds", "most"), [(2, 3), (30, 6)])
def test_a_call_that_waits_is_delivered_a_few_times_and_answered_soon(open_queue, token, kind, seconds, most):
    """The waiting call is made when the run has just begun, so it waits for all of it.

    A busy machine makes the run longer, and each second of that may cost one delivery.
    """
    rig = open_queue(kind)
    client = rig.client
    owner = client.reports.delay(token, seconds)
    wait_until(lambda: client.runs("reports", token, "begins"), what="the run")
    with lateness() as late:
        waiting = client.reports.apply_async((token, seconds), task_id=f"own-{token}")
        assert waiting.get(timeout=seconds + TIMEOUT) == owner.id
        lost = late()
    [begins], [ends] = client.runs("reports", token, "begins"), client.runs("reports", token, "ends")
    took = ends["at"] - begins["at"]
    longer = ended(rig, owner.id) - begins["at"] - seconds + lost
    assert 2 <= deliveries(rig.log(), waiting.id) <= most + math.ceil(max(longer - 0.25, 0))
    assert ended(rig, waiting.id) - ends["at"] - lost <= max(1, took / 10)
