"""Calls that have to wait for another's run, and what their callers asked for."""

from __future__ import annotations

import datetime

from celery import chain
from celery.result import AsyncResult

from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on, running_elsewhere, waits

TIMEOUT = 60


def is_waiting(project, *task_ids):
    wait_until(lambda: waits(project.log.read_text(), *task_ids), what="the first wait")


@on("redis-prefork", "redis-threads", "rabbitmq-prefork", rarely=["filesystem-prefork"])
def test_what_the_caller_asked_for_survives_waiting(project, token):
    """The owner's run fails, so the call that waited runs, and its body sees its own options.

    It arrived in time, so it does not expire while it waits.
    """
    project.ends_later.delay(token, "exception")
    wait_until(lambda: project.runs("ends_later", token), what="the owner's run")
    result = project.ends_later.apply_async(
        (token, "exception"),
        task_id=f"own-{token}",
        queue="celery-other",
        expires=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1),
        priority=3,
        headers={"tenant": "acme"},
        argsrepr="<hidden>",
    )
    is_waiting(project, result.id)
    go_on(project, token)
    assert result.get(timeout=TIMEOUT) == "well"
    first, then = project.runs("ends_later", token)
    assert first["queue"] == "celery"
    assert then["id"] == f"own-{token}"
    assert then["queue"] == "celery-other"
    assert then["priority"] == 3
    assert then["headers"]["tenant"] == "acme"
    assert then["expires"] == ""
    assert then["retries"] == 0
    assert then["argsrepr"] == "<hidden>"
    assert then["waits"] >= 1


@on("redis-prefork", "redis-solo")
def test_many_that_wait_do_not_occupy_the_worker(project, token):
    """Eight wait, on a worker with four processes or one; an unrelated task is not held up."""
    with running_elsewhere(project, "double", token) as owner:
        waiting = [chain(project.double.s(token), project.plus.s(str(n))).delay() for n in range(8)]
        is_waiting(project, *(each.parent.id for each in waiting))
        assert project.plus.delay(token, "!").get(timeout=TIMEOUT) == f"{token}!"
        assert not project.runs("double", token)
        owner.fail()
        assert [each.get(timeout=TIMEOUT) for each in waiting] == [f"{token * 2}{n}" for n in range(8)]
    assert len(project.runs("double", token)) == 1


@on("redis-prefork")
def test_those_who_waited_are_served_although_the_first_caller_forgets_the_result(project, token):
    owner = project.held.delay(token)
    wait_until(lambda: project.runs("held", token), what="the owner's run")
    waiting = project.held.apply_async((token,), task_id=f"own-{token}")
    is_waiting(project, waiting.id)
    go_on(project, token)
    owner.get(timeout=TIMEOUT)
    owner.forget()
    assert waiting.get(timeout=TIMEOUT) == [token, owner.id]
    assert len(project.runs("held", token, "begins")) == 1


@on("redis-prefork")
def test_without_results_those_who_waited_do_not_run_either(project, token):
    """A task that ignores its results shares its runs; what follows in a chain follows all the same."""
    project.held_silent.delay(token)
    wait_until(lambda: project.runs("held_silent", token), what="the owner's run")
    tail = chain(project.held_silent.si(token), project.mark.si(token)).delay()
    is_waiting(project, tail.parent.id)
    go_on(project, token)
    wait_until(lambda: project.runs("mark", token), what="the tail of the chain")
    assert len(project.runs("held_silent", token, "begins")) == 1


@on("redis-prefork", "redis-threads", rarely=["redis-solo"])
def test_waiting_calls_run_when_the_owner_fails(project, token):
    """One of them runs, and answers the others: they were made before it began."""
    with running_elsewhere(project, "cached", token) as owner:
        waiting = [project.cached.apply_async((token,), task_id=f"{token}-{n}") for n in range(4)]
        is_waiting(project, *(each.id for each in waiting))
        owner.fail()
        values = [each.get(timeout=TIMEOUT) for each in waiting]
    [run] = project.runs("cached", token)
    assert values == [[token, run["id"]]] * 4


@on("redis-prefork", "redis-threads")
def test_a_call_that_waited_for_a_run_that_fails_in_its_body_runs(project, token):
    project.ends_later.delay(token, "exception")
    wait_until(lambda: project.runs("ends_later", token), what="the owner's run")
    waiting = [project.ends_later.apply_async((token, "exception"), task_id=f"{token}-{n}") for n in range(4)]
    is_waiting(project, *(each.id for each in waiting))
    go_on(project, token)
    assert [each.get(timeout=TIMEOUT) for each in waiting] == ["well"] * 4
    assert len(project.runs("ends_later", token)) == 2


@on("rpc-prefork")
def test_results_that_only_the_caller_can_read_are_delivered_to_each(project, token):
    """With ``rpc://`` another task's id is worthless, so every call is published, and one runs."""
    results = [project.double.delay(token, 0.5) for _ in range(3)]
    assert len({result.id for result in results}) == 3
    assert [result.get(timeout=TIMEOUT) for result in results] == [token * 2] * 3
    assert len(project.runs("double", token)) == 1


def test_a_served_call_is_read_by_its_own_id(project, token):
    value = project.cached.delay(token).get(timeout=TIMEOUT)
    project.cached.apply_async((token,), task_id=f"own-{token}")
    raw = AsyncResult(f"own-{token}", app=project.app)
    assert raw.get(timeout=TIMEOUT) == value
