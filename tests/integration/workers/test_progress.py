"""What those who wait see of runs in real workers, while they go on and when they end."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest
import redis
from celery import group

from jobtastic_signals import group_progress, task_status
from tests.support.servers import wait_until
from tests.support.workers.project import assert_stays, close, create_app, let_go, poll
from tests.support.workers.projects import on

TIMEOUT = 60
on_prefork = on("redis-prefork", "rabbitmq-prefork", rarely=["filesystem-prefork"])


def go_on(project, token, step):
    let_go(Path(project.made["journal"]), token, step)


def shown(project, task_id, name):
    """Return what the progress of a run says under *name*, or the run's state without one."""
    state, record = poll(project, task_id)
    return record[name] if state == "PROGRESS" else state


def step_of(project, task_id):
    """Return which step a run of ``told`` says that it is in.

    Its percentage is no sign of that: a run that starts slowly shows what earlier ones predict, and keeps it.
    """
    return shown(project, task_id, "message")


def test_all_who_share_a_run_see_its_progress_step_by_step(project, token):
    """Two callers, of two processes' making, and one that knows nothing but the id."""
    other = create_app(**project.made)
    first, second = project.told.delay(token, 4), other.told.delay(token, 4)
    assert second.id == first.id
    for n in range(1, 5):
        wait_until(lambda n=n: step_of(project, first.id) == f"step {n}", what=f"step {n}")
        status = task_status(other.app, first.id)["task"]
        assert [first.state, second.state, status["status"]] == ["PROGRESS"] * 3
        for record in (first.result, second.result, status["result"]):
            assert (record["completed"], record["total"]) == (n - 1, 4)
            assert record["progress_percent"] >= (n - 1) * 25
        go_on(project, token, n)
    assert [first.get(timeout=TIMEOUT), second.get(timeout=TIMEOUT)] == [4, 4]
    assert poll(project, first.id) == ("SUCCESS", 4)
    assert len(project.runs("told", token)) == 1
    close(other.app)


@on("redis-prefork", "rabbitmq-prefork", rarely=["filesystem-prefork", "redis-threads"])
def test_a_call_that_waits_shows_the_progress_of_the_run_that_it_waits_for(project, token):
    first = project.told.delay(token, 2)
    wait_until(lambda: step_of(project, first.id) == "step 1", what="the start")
    waiting = project.told.apply_async((token, 2), task_id=f"{token}-waiting")
    go_on(project, token, 1)
    wait_until(lambda: step_of(project, waiting.id) == "step 2", what="the progress of the other")
    go_on(project, token, 2)
    assert [first.get(timeout=TIMEOUT), waiting.get(timeout=TIMEOUT)] == [2, 2]
    assert poll(project, waiting.id) == ("SUCCESS", 2)


def test_a_task_without_options_tells_too(project, token):
    result = project.told_without_options.delay(token)
    wait_until(lambda: step_of(project, result.id) == "by a plain task", what="the update")
    assert result.result["progress_percent"] == 25
    go_on(project, token, 1)
    assert result.get(timeout=TIMEOUT) is None


@on("redis-prefork", rarely=["redis-threads"])
def test_a_group_is_told_as_one(project, token):
    tokens = [f"{token}-{n}" for n in range(3)]
    result = group(project.told.s(each, 2) for each in tokens).apply_async()
    wait_until(lambda: {step_of(project, each.id) for each in result} == {"step 1"}, what="the start")
    start = group_progress(result)
    assert start["progress_percent"] == pytest.approx(
        mean(each.result["progress_percent"] for each in result)
    )
    go_on(project, tokens[0], 1)
    go_on(project, tokens[1], 1)
    go_on(project, tokens[1], 2)
    wait_until(lambda: group_progress(result)["completed"] == 1, what="the end of one of them")
    wait_until(lambda: step_of(project, result[0].id) == "step 2", what="half of another one")
    assert group_progress(result)["progress_percent"] >= 50
    for each in tokens:
        go_on(project, each, 1)
        go_on(project, each, 2)
    assert result.get(timeout=TIMEOUT) == [2, 2, 2]
    assert group_progress(result)["progress_percent"] == 100


@on("redis-prefork", rarely=["redis-threads"])
@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("exception", "FAILURE"),
        ("soft limit", "FAILURE"),
        ("unserialisable", "FAILURE"),
    ],
)
def test_no_progress_is_left_behind_by_an_end(project, token, how, state):
    result = project.talks_and_ends.delay(token, how)
    wait_until(result.ready, what="the end")
    assert_stays(project, result.id, state)


@on_prefork
@pytest.mark.parametrize("how", ["killed", "hard limit"])
def test_no_progress_is_left_behind_by_a_violent_end(project, token, how):
    result = project.talks_and_ends.delay(token, how)
    wait_until(result.ready, what="the end")
    assert_stays(project, result.id, "FAILURE")


@on_prefork
def test_no_progress_is_left_behind_by_a_revoked_run(project, token):
    result = project.told.delay(token, 4)
    wait_until(lambda: step_of(project, result.id) == "step 1", what="the start")
    result.revoke(terminate=True)
    wait_until(result.ready, what="the end")
    assert_stays(project, result.id, "REVOKED")


@on("redis-prefork", rarely=["redis-threads"])
def test_the_second_run_of_a_task_that_says_nothing_is_estimated(project, token):
    """The first tells nothing, and is remembered."""
    first = project.takes.delay(f"{token}-1", 2.5)
    first.get(timeout=TIMEOUT)
    second = project.takes.delay(f"{token}-2", 2.5)
    record = wait_until(
        lambda: (
            shown(project, second.id, "progress_percent") not in (0, "PENDING", "STARTED") and second.result
        ),
        what="an estimate",
    )
    assert 10 < record["progress_percent"] < 100
    assert 0 < record["time_remaining"] < 2.5
    assert (record["completed"], record["total"]) == (0, None)
    second.get(timeout=TIMEOUT)


@on("redis-prefork", rarely=["redis-threads"])
def test_a_million_updates_write_fewer_than_30_records_a_second(project, token):
    updates = 1_000_000
    client = redis.Redis.from_url(project.app.conf.result_backend)
    with client.monitor() as monitor:
        result = project.many_updates.delay(token, updates)
        seconds = result.get(timeout=120)
        client.set(f"{token}-over", 1)
        written = 0
        for seen in monitor.listen():
            if f"{token}-over" in seen["command"]:
                break
            written += seen["command"].startswith(("SET ", "SETEX ")) and result.id in seen["command"]
    client.close()
    # The first record, the last one, and the result.
    assert 3 <= written < 30 * max(seconds, 0.1)
    assert written <= 10 * seconds + 4
