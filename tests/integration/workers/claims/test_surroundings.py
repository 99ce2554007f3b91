"""What waiting must leave alone: rate limits, other messages, serializers, and old protocols."""

from __future__ import annotations

import time

import pytest
from celery import group
from kombu import Exchange

from tests.support.servers import wait_until
from tests.support.workers.broadcasting import add_queues
from tests.support.workers.rigs import deliveries, go_on, running_elsewhere, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90


@pytest.mark.thorough
def test_messages_of_protocol_1_share_wait_and_are_due_later(open_rig, token):
    rig = open_rig(task_protocol=1)
    rig.start(concurrency=4)
    client = rig.client
    first, second = client.held.delay(token), client.held.delay(token)
    assert first.id == second.id
    wait_until(lambda: client.runs("held", token), what="the run")
    waiting = [client.held.apply_async((token,), task_id=f"{token}-{n}") for n in range(3)]
    wait_until(lambda: all(deliveries(rig.log(), each.id) >= 3 for each in waiting), what="some waits")
    go_on(client, token)
    assert [each.get(timeout=TIMEOUT) for each in (first, *waiting)] == [[token, first.id]] * 4
    assert len(client.runs("held", token, "begins")) == 1
    later = client.double.apply_async((token,), countdown=2)
    now = client.double.delay(token)
    assert now.id != later.id
    assert now.get(timeout=TIMEOUT) == later.get(timeout=TIMEOUT) == token * 2
    assert [run["id"] for run in client.runs("double", token)] == [now.id, later.id]


def test_a_serializer_that_is_chosen_for_one_call_survives_waiting(open_rig, token):
    rig = open_rig(accept_content=["json", "pickle"])
    rig.start()
    with running_elsewhere(rig.client, "typed", token, (1, 2)) as owner:
        result = rig.client.typed.apply_async((token, (1, 2)), serializer="pickle", task_id=f"own-{token}")
        wait_until(lambda: deliveries(rig.log(), result.id) >= 2, what="a second delivery")
        owner.fail()
        assert result.get(timeout=TIMEOUT) == "tuple"


@pytest.mark.thorough
def test_a_message_for_all_workers_is_not_multiplied_by_waiting(open_rig, token):
    """It runs in each of them, beside the run that goes on, as without the plugin."""
    rig = open_rig()
    add_queues(rig.client.app)
    for _ in range(2):
        rig.start(module="broadcasting", concurrency=4)
    with running_elsewhere(rig.client, "double", token):
        # Kombu's Redis transport knows the type of an exchange only where that was declared.
        exchange = Exchange("everywhere", type="fanout")
        result = rig.client.double.apply_async(
            (token,), queue="everywhere", declare=[exchange], task_id=token
        )
        wait_until(lambda: len(rig.client.runs("double", token)) == 2, what="the runs")
        assert result.get(timeout=TIMEOUT) == token * 2
    # A message that waited would be there again after a second at the latest.
    after = rig.client.mark.apply_async((token,), countdown=2)
    wait_until(after.ready, what="time for more deliveries")
    assert deliveries(rig.log(), token) == 2
    assert len(rig.client.runs("double", token)) == 2


@pytest.mark.thorough
def test_calls_that_wait_do_not_use_up_the_rate_limit_of_others(open_rig, token):
    """A token comes every 2 s. Ten calls wait for one run, and have had a token each; then others come."""
    rig = open_rig(worker_prefetch_multiplier=20)
    rig.start(concurrency=4)
    client = rig.client
    with running_elsewhere(client, "held_limited", token):
        waiting = group(client.held_limited.s(token) for _ in range(10)).apply_async()
        wait_until(lambda: waits(rig.log(), *(each.id for each in waiting)), timeout=60, what="the tokens")
        took = []
        for number in range(3):
            other = f"{token}-{number}"
            go_on(client, other)
            called = time.time()
            client.held_limited.delay(other)
            [begins] = wait_until(
                lambda other=other: client.runs("held_limited", other, "begins"), timeout=60, what="a run"
            )
            took.append(begins["at"] - called)
    # If no token were given back, the ten that wait would take each of them for 20 s.
    assert max(took) <= 10
    go_on(client, token)
