"""One message that is delivered more than once, or two messages with one id: bodies never overlap."""

from __future__ import annotations

import pytest

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import deliveries, go_on, most_at_once, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90

#: Redis delivers a message again that was not acknowledged for so many seconds.
IMPATIENT = {"visibility_timeout": 2, "unacked_restore_interval": 1}


@on("redis-prefork", "redis-threads")
def test_a_task_id_that_is_used_again_runs_once_at_a_time(project, token):
    """As those do who choose an id to enqueue a task once."""
    results = [project.held.apply_async((token,), task_id=f"own-{token}") for _ in range(3)]
    wait_until(lambda: waits(project.log.read_text(), f"own-{token}"), what="a delivery that waits")
    go_on(project, token)
    assert results[0].get(timeout=TIMEOUT) == [token, f"own-{token}"]
    wait_until(lambda: project.store.lookup(project.key("held", token)) is None, what="the release")
    assert most_at_once(project.runs("held", token)) == 1
    assert len(project.runs("held", token, "begins")) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["held_late", "held_late_cached"])
def test_a_message_that_redis_delivers_again_while_it_runs_does_not_run_beside_itself(open_rig, token, name):
    rig = open_rig(broker_transport_options=IMPATIENT, worker_prefetch_multiplier=1)
    for _ in range(2):
        rig.start(module="impatient")
    client = rig.client
    result = getattr(client, name).delay(token)
    wait_until(lambda: deliveries(rig.log(), result.id) >= 2, timeout=60, what="the second delivery")
    wait_until(lambda: waits(rig.log(), result.id), what="a delivery that waits")
    go_on(client, token)
    assert result.get(timeout=TIMEOUT) == [token, result.id]
    # Another call, while deliveries of the first one are still about.
    assert getattr(client, name).delay(token).get(timeout=TIMEOUT)[0] == token
    assert most_at_once(client.runs(name, token)) == 1


@pytest.mark.thorough
def test_a_call_due_later_that_several_workers_hold_runs_once_at_a_time(open_rig, token):
    """Due beyond ``visibility_timeout``, so Redis has given it to more than one worker by then."""
    rig = open_rig(broker_transport_options=IMPATIENT)
    for _ in range(2):
        rig.start(module="impatient")
    result = rig.client.held.apply_async((token,), countdown=12)
    wait_until(lambda: deliveries(rig.log(), result.id) >= 2, timeout=60, what="the second delivery")
    wait_until(lambda: waits(rig.log(), result.id), timeout=60, what="a delivery that waits")
    go_on(rig.client, token)
    assert result.get(timeout=TIMEOUT) == [token, result.id]
    assert most_at_once(rig.client.runs("held", token)) == 1


@on("redis-prefork")
def test_a_dependent_call_made_during_a_run_is_answered_by_it_though_delivered_afterwards(project, token):
    """The task caches nothing, so the result is kept for this message alone."""
    owner, queue = project.held.delay(token), f"slow-{token}"
    wait_until(lambda: project.runs("held", token), what="the run")
    late = project.held.apply_async((token,), task_id=f"own-{token}", queue=queue)
    go_on(project, token)
    assert owner.get(timeout=TIMEOUT) == [token, owner.id]
    wait_until(lambda: project.store.lookup(project.key("held", token)) is None, what="the release")
    project.app.control.add_consumer(queue)
    try:
        assert late.get(timeout=TIMEOUT) == [token, owner.id]
    finally:
        project.app.control.cancel_consumer(queue)
    after = project.held.delay(token)
    assert after.get(timeout=TIMEOUT) == [token, after.id]
