"""Calls that have to wait for another's run, and what their callers asked for."""

from __future__ import annotations

import datetime

from celery import chain
from celery.result import AsyncResult

from .conftest import on
from .servers import wait_until

TIMEOUT = 30


def test_what_the_caller_asked_for_survives_waiting(project, token):
    """The owner's run fails, so the call that waited runs, and its body sees its own options."""
    project.ends.apply_async((token, "exception"), countdown=1.5)
    expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    result = project.ends.apply_async(
        (token, "exception"),
        task_id=f"own-{token}",
        queue="celery-other",
        expires=expires,
        priority=3,
        headers={"tenant": "acme"},
        argsrepr="<hidden>",
    )
    assert result.get(timeout=TIMEOUT) == "well"
    first, then = project.runs("ends", token)
    assert first["queue"] == "celery"
    assert then["id"] == f"own-{token}"
    assert then["queue"] == "celery-other"
    assert then["priority"] == 3
    assert then["headers"]["tenant"] == "acme"
    assert datetime.datetime.fromisoformat(then["expires"]) == expires
    assert then["retries"] == 0
    assert then["argsrepr"] == "<hidden>"
    assert then["waits"] >= 1


@on("redis-prefork", "filesystem-prefork")
def test_a_countdown_beyond_the_herd_timeout_does_not_make_a_second_run(project, token):
    """The timeout is 1 s and the lease counts from when the task is due."""
    later = project.hasty.apply_async((token, 0.5), countdown=3)
    others = []

    def meanwhile():
        others.append(project.hasty.delay(token, 0.5))
        return project.runs("hasty", token)

    wait_until(meanwhile, every=0.2, what="the start")
    assert {other.id for other in others} == {later.id}
    assert later.get(timeout=TIMEOUT) == [token, later.id]
    assert len(project.runs("hasty", token)) == 1


@on("redis-prefork", "redis-solo")
def test_many_that_wait_do_not_occupy_the_worker(project, token):
    """Eight wait, on a worker with four processes or one; an unrelated task is not held up."""
    owner = project.double.apply_async((token,), countdown=2)
    waiting = [chain(project.double.s(token), project.plus.s(str(n))).delay() for n in range(8)]
    assert project.plus.delay(token, "!").get(timeout=TIMEOUT) == f"{token}!"
    assert not project.runs("double", token)
    assert owner.get(timeout=TIMEOUT) == token * 2
    assert [each.get(timeout=TIMEOUT) for each in waiting] == [f"{token * 2}{n}" for n in range(8)]
    assert len(project.runs("double", token)) == 1


@on("redis-prefork")
def test_those_who_waited_are_served_although_the_first_caller_forgets_the_result(project, token):
    owner = project.double.apply_async((token,), countdown=1)
    waiting = project.double.apply_async((token,), task_id=f"own-{token}")
    owner.get(timeout=TIMEOUT)
    owner.forget()
    assert waiting.get(timeout=TIMEOUT) == token * 2
    assert len(project.runs("double", token)) == 1


@on("redis-prefork")
def test_without_results_those_who_waited_do_not_run_either(project, token):
    """A task that ignores its results shares its runs; what follows in a chain follows all the same."""
    project.silent.apply_async((token,), countdown=1)
    chain(project.silent.si(token), project.mark.si(token)).delay()
    wait_until(lambda: project.runs("mark", token), what="the tail of the chain")
    assert len(project.runs("silent", token)) == 1


@on("redis-prefork", "redis-threads", "redis-solo")
def test_waiting_calls_run_when_the_owner_fails(project, token):
    project.ends.apply_async((token, "exception"), countdown=1)
    waiting = [project.ends.apply_async((token, "exception"), task_id=f"{token}-{n}") for n in range(4)]
    assert [each.get(timeout=TIMEOUT) for each in waiting] == ["well"] * 4


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
