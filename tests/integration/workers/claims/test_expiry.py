"""``expires`` of one call, and other calls."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from celery import chain
from celery.result import AsyncResult

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90


@on("redis-prefork")
def test_a_call_does_not_join_one_that_may_expire_before_it(project, token):
    """The worker reads the queue when the first call has expired."""
    queue = f"slow-{token}"
    first = project.double.apply_async((token,), expires=2, queue=queue)
    shorter = project.double.apply_async((token,), expires=0.5, queue=queue)
    without = project.double.apply_async((token,), queue=queue)
    assert shorter.id == first.id
    assert without.id != first.id
    expired = time.monotonic() + 2.2
    wait_until(lambda: time.monotonic() > expired, what="the expiry")
    project.app.control.add_consumer(queue)
    try:
        assert without.get(timeout=TIMEOUT) == token * 2
    finally:
        project.app.control.cancel_consumer(queue)
    wait_until(lambda: AsyncResult(first.id, app=project.app).state == "REVOKED", what="the other's end")
    assert [run["id"] for run in project.runs("double", token)] == [without.id]


@on("redis-prefork", rarely=["rabbitmq-prefork"])
def test_a_message_that_waits_does_not_expire(project, token):
    """It arrived in time, and plain Celery would have run it."""
    project.held.delay(token)
    wait_until(lambda: project.runs("held", token), what="the owner's run")
    for seconds in (1, 5, 25):
        called = time.monotonic()
        head = project.held.s(token).set(expires=seconds)
        tail = chain(head, project.plus.s([token])).delay()
        waited = wait_until(partial(_waits_or_expired, project, tail.parent.id), what="the wait")
        if waited == "waits":
            break  # Otherwise the machine was too slow for that.
    wait_until(lambda: time.monotonic() > called + seconds + 0.2, what="the expiry")
    go_on(project, token)
    assert tail.get(timeout=TIMEOUT)[2:] == [token]
    assert len(project.runs("held", token, "begins")) == 1


def _waits_or_expired(project: Any, task_id: str) -> str | None:
    if waits(project.log.read_text(), task_id):
        return "waits"
    return "expired" if AsyncResult(task_id, app=project.app).state == "REVOKED" else None
