"""Calls in a queue that is longer than a claim lasts."""

from __future__ import annotations

import time

import pytest

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import deliveries, go_on

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90

#: Seconds for which a queued claim of ``hasty`` lasts: its ``herd_avoidance_timeout``.
LASTS = 1.0


def claim_lapses(project, name, *args):
    key = project.key(name, *args)
    wait_until(lambda: project.store.lookup(key) is None, what="the end of the queued claim")


@on("redis-solo")
def test_a_message_at_the_head_of_the_queue_does_not_wait_for_one_behind_it(project, token):
    """The claim of the first call lapses in the queue, and the next call takes the key over."""
    project.held_plain.delay(f"{token}-1")
    wait_until(lambda: project.runs("held_plain", f"{token}-1"), what="the busy worker")
    first = project.hasty.delay(token)
    claim_lapses(project, "hasty", token)
    project.mark.delay(token)
    second = project.hasty.delay(token)
    assert second.id != first.id
    go_on(project, f"{token}-1")
    assert second.get(timeout=TIMEOUT) == first.get(timeout=TIMEOUT) == [token, first.id]
    [run], [mark] = project.runs("hasty", token), project.runs("mark", token)
    assert run["id"] == first.id
    assert run["at"] <= mark["at"]
    assert deliveries(project.log.read_text(), first.id) == 1


@pytest.mark.thorough
@on("redis-solo")
def test_a_task_runs_though_its_backlog_is_longer_than_its_claim(project, token):
    """The backlog is three times as long as a queued claim lasts, and stays so; callers keep calling.

    So the claim that the first message meets is that of one behind it.
    """
    fillers = [project.takes.delay(f"{token}-{n}", 0.3) for n in range(10)]
    ids = []

    def call():
        while project.runs("takes", f"{token}-{len(fillers) - 10}"):
            fillers.append(project.takes.delay(f"{token}-{len(fillers)}", 0.3))
        ids.append(project.hasty.delay(token).id)
        return len(project.runs("hasty", token)) >= 2

    wait_until(call, timeout=60, every=0.02, what="two runs")
    first, second = project.runs("hasty", token)[:2]
    assert first["id"] == ids[0]
    assert second["id"] in ids


@pytest.mark.thorough
def test_a_task_runs_in_each_round_of_a_backlog_of_12_seconds(open_rig, token):
    """A claim may last for 10 s. Plain Celery runs the task each second from the twelfth on."""
    rig = open_rig(worker_prefetch_multiplier=1)
    rig.start(pool="solo", concurrency=1)
    client, start = rig.client, time.time()
    fillers = [client.takes.delay(f"{token}-{n}", 1) for n in range(12)]

    def call():
        while client.runs("takes", f"{token}-{len(fillers) - 12}"):
            fillers.append(client.takes.delay(f"{token}-{len(fillers)}", 1))
        client.ten_seconds.delay(token)
        return time.time() - start > 70

    wait_until(call, timeout=80, every=1, what="70 seconds")
    assert len(client.runs("ten_seconds", token)) >= 4


def test_a_backlog_of_a_thousand_equal_calls_is_a_few_messages_and_one_run(open_rig, token):
    """At most one message per lease, beside the first one."""
    lease = 1.0
    rig = open_rig(jobtastic_lease=lease)
    client, start = rig.client, time.monotonic()
    results = []
    while len(results) < 1000 or time.monotonic() - start < 4 * lease:
        results.append(client.double.delay(token))
        time.sleep(0.002)
    took = time.monotonic() - start
    published = {result.id for result in results}
    with client.app.connection_for_read() as connection:
        queued = connection.default_channel.client.llen("celery")
    assert queued == len(published)
    assert 2 <= len(published) <= took / lease + 1
    rig.start(concurrency=4)
    assert {client.app.AsyncResult(each).get(timeout=TIMEOUT) for each in published} == {token * 2}
    assert len(client.runs("double", token)) == 1
