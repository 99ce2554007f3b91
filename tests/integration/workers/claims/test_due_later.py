"""Calls that are due later, and calls that are due now: neither answers or delays the other."""

from __future__ import annotations

import pytest

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90
HOUR = 3600

on_redis = on("redis-prefork", rarely=["rabbitmq-prefork"])


@pytest.fixture
def scheduled(project):
    """Schedules a call for later, and revokes it when the test is over."""
    results = []

    def schedule(task, *args, **options):
        results.append(task.apply_async(args, **options))
        return results[-1]

    yield schedule
    for result in results:
        result.revoke()


@on("redis-prefork", "rabbitmq-prefork")
def test_a_call_due_now_does_not_wait_for_one_that_is_due_in_an_hour(project, token, scheduled):
    later = scheduled(project.double, token, countdown=HOUR)
    now = project.double.delay(token)
    assert now.id != later.id
    assert now.get(timeout=TIMEOUT) == token * 2
    assert [run["id"] for run in project.runs("double", token)] == [now.id]


@on_redis
def test_a_dependent_call_does_not_wait_for_one_that_is_due_in_an_hour(project, token, scheduled):
    scheduled(project.double, token, countdown=HOUR)
    assert project.double.apply_async((token,), task_id=f"own-{token}").get(timeout=TIMEOUT) == token * 2


@on("redis-prefork", "rabbitmq-prefork")
def test_a_call_does_not_join_a_retry_that_is_due_in_an_hour(project, token):
    first = project.stubborn.delay(token, 1, HOUR)
    wait_until(lambda: first.state == "RETRY", what="the retry")
    key = project.key("stubborn", token, 1, HOUR)
    wait_until(lambda: project.store.lookup(key) is None, what="the release of the claim")
    again = project.stubborn.delay(token, 1, HOUR)
    assert again.id != first.id
    assert again.get(timeout=TIMEOUT) == [token, 0]
    first.revoke()


@on_redis
def test_a_scheduled_call_of_a_task_that_runs_now_runs_at_its_time(project, token):
    now = project.double.delay(token)
    later = project.double.apply_async((token,), countdown=2)
    assert [result.get(timeout=TIMEOUT) for result in (now, later)] == [token * 2] * 2
    first, second = project.runs("double", token)
    assert [first["id"], second["id"]] == [now.id, later.id]
    assert second["at"] - first["at"] > 1


@pytest.mark.thorough
@on("redis-prefork", "rabbitmq-prefork")
def test_a_scheduled_call_of_a_result_that_is_gone_by_then_runs_at_its_time(project, token):
    now = project.cached_briefly.delay(token)
    now.get(timeout=TIMEOUT)
    key = project.key("cached_briefly", token)
    wait_until(lambda: project.store.lookup(key), what="the stored result")
    later = project.cached_briefly.apply_async((token,), countdown=3)
    assert later.id != now.id
    assert later.get(timeout=TIMEOUT) == [token, later.id]
    assert [run["id"] for run in project.runs("cached_briefly", token)] == [now.id, later.id]


@on("redis-prefork", "rabbitmq-prefork")
def test_a_scheduled_call_shares_when_it_is_due(project, token):
    """By then an identical call runs, so it waits for that."""
    later = project.held.apply_async((token,), countdown=1)
    now = project.held.delay(token)
    wait_until(lambda: waits(project.log.read_text(), later.id), what="the wait")
    go_on(project, token)
    assert later.get(timeout=TIMEOUT) == now.get(timeout=TIMEOUT) == [token, now.id]
    assert [run["id"] for run in project.runs("held", token, "begins")] == [now.id]


@on_redis
def test_a_countdown_beyond_the_herd_timeout_delays_nobody_and_is_still_answered(project, token):
    """The timeout is 1 s. Calls meanwhile have runs of their own."""
    later = project.hasty.apply_async((token,), countdown=3)
    others = []

    def meanwhile():
        others.append(project.hasty.delay(token))
        assert others[-1].get(timeout=TIMEOUT)[0] == token
        return later.ready()

    wait_until(meanwhile, every=0.2, what="the late one")
    assert others[0].id != later.id
    assert others[0].get() == [token, others[0].id]
    assert later.get(timeout=TIMEOUT)[0] == token
    assert len(project.runs("hasty", token)) >= 2
