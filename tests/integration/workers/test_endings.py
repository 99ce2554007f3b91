"""However a run ends, the very next identical call runs at once, long before the lease is over."""

from __future__ import annotations

import pytest
from celery.result import AsyncResult

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on

TIMEOUT = 60
on_prefork = on("redis-prefork", "rabbitmq-prefork", rarely=["filesystem-prefork"])


def assert_next_call_runs_at_once(project, name, *args):
    """The claim goes by itself, and the call after it gets its own run."""
    key = project.key(name, *args)
    wait_until(lambda: project.store.lookup(key) is None, what="the release of the claim")
    runs = len(project.runs(name, args[0]))
    result = getattr(project, name).delay(*args)
    assert result.get(timeout=TIMEOUT) == "well"
    assert [run["id"] for run in project.runs(name, args[0])][runs:] == [result.id]


def has_run(project, name, token):
    return wait_until(lambda: project.runs(name, token), what="the start of the run")


@on("redis-prefork", rarely=["redis-threads", "rabbitmq-prefork"])
@pytest.mark.parametrize("how", ["exception", "soft limit", "ignore", "reject", "unserialisable"])
def test_ending_in_the_body(project, token, how):
    project.ends.delay(token, how)
    has_run(project, "ends", token)
    assert_next_call_runs_at_once(project, "ends", token, how)


@on_prefork
@pytest.mark.parametrize("how", ["killed", "exit"])
def test_ending_with_the_process(project, token, how):
    project.ends.delay(token, how)
    has_run(project, "ends", token)
    assert_next_call_runs_at_once(project, "ends", token, how)


@on_prefork
@pytest.mark.parametrize("name", ["ends_by_soft_limit", "ends_by_hard_limit"])
def test_ending_by_a_time_limit(project, token, name):
    getattr(project, name).delay(token)
    has_run(project, name, token)
    assert_next_call_runs_at_once(project, name, token)


@on_prefork
def test_ending_by_revoke_while_running(project, token):
    result = project.ends.delay(token, "sleep")
    has_run(project, "ends", token)
    result.revoke(terminate=True)
    assert_next_call_runs_at_once(project, "ends", token, "sleep")


@on("redis-prefork", "rabbitmq-prefork", rarely=["redis-solo"])
def test_ending_by_revoke_before_the_start(project, token):
    task_id = f"own-{token}"
    project.app.control.revoke(task_id)
    wait_until(lambda: f"revoked: {task_id}" in project.log.read_text(), what="the news of the revocation")
    # The start that never was would have been the one to fail.
    key, name = project.key("ends", token, "exception"), project.ends.name
    project.ends.apply_async((token, "exception"), task_id=task_id)
    wait_until(lambda: f"task: {name}[{task_id}]" in project.log.read_text(), what="the end")
    wait_until(lambda: project.store.lookup(key) is None, timeout=10, what="the release of the claim")
    assert project.runs("ends", token) == []
    assert AsyncResult(task_id, app=project.app).state == "REVOKED"
    assert project.double.delay(token).get(timeout=TIMEOUT) == token * 2


@on("rabbitmq-prefork", rarely=["redis-prefork"])
def test_ending_by_expiry_in_the_queue(project, token):
    result = project.double.apply_async((token,), expires=0)
    key = project.key("double", token)
    wait_until(lambda: project.store.lookup(key) is None, what="the release of the claim")
    again = project.double.delay(token)
    assert again.get(timeout=TIMEOUT) == token * 2
    assert again.id != result.id
    assert [run["id"] for run in project.runs("double", token)] == [again.id]


@on("redis-prefork", "rabbitmq-prefork")
def test_a_message_that_was_put_back_runs_again(project, token):
    """``Reject(requeue=True)`` ends the delivery, not the task."""
    result = project.put_back.delay(token)
    assert result.get(timeout=TIMEOUT) == "well"
    assert [run["id"] for run in project.runs("put_back", token)] == [result.id] * 2


@on("redis-prefork")
def test_callers_that_shared_a_failed_run_all_learn_of_it(project, token):
    first = project.ends_later.delay(token, "exception")
    has_run(project, "ends_later", token)
    results = [first, *(project.ends_later.delay(token, "exception") for _ in range(2))]
    assert {result.id for result in results} == {first.id}
    go_on(project, token)
    assert {type(result.get(timeout=TIMEOUT, propagate=False)) for result in results} == {ValueError}


@on("redis-prefork", rarely=["redis-threads"])
def test_a_lapsed_claim_is_taken_over_and_the_late_owner_overwrites_nothing(project, token):
    """The first run takes longer than its timeout; the second starts meanwhile, and its result stays."""
    first = project.hasty_cached.delay(token, 4, 0)
    has_run(project, "hasty_cached", token)
    key = project.key("hasty_cached", token, 4, 0)
    wait_until(lambda: project.store.lookup(key) is None, what="the end of the lease")
    second = project.hasty_cached.delay(token, 4, 0)
    assert second.get(timeout=TIMEOUT) == [token, second.id]
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    assert project.hasty_cached.delay(token, 4, 0).id == second.id
    assert len(project.runs("hasty_cached", token)) == 2
