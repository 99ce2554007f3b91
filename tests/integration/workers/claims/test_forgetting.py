"""What is forgotten, or fails for all, while it runs in a real worker."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jobtastic_signals import cached, forget, forget_all, forget_tag, in_flight
from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.workers.project import create_app
from tests.support.workers.projects import on
from tests.support.workers.rigs import Rig, go_on

TIMEOUT = 60
PROCESSES, CALLS = 8, 25

WAYS: dict[str, Callable[[SimpleNamespace, str], object]] = {
    "forget": lambda client, token: forget(client.held_tagged, token),
    "forget_all": lambda client, token: forget_all(client.held_tagged),
    "forget_tag": lambda client, token: forget_tag(f"token:{token}", app=client.app),
}

pytestmark = on("redis-prefork")


@pytest.fixture(params=[rare("disk"), "redis"])
def client(
    request: pytest.FixtureRequest,
    project: SimpleNamespace,
    open_rig: Callable[..., Rig],
    redis_database: Callable[[], str],
) -> SimpleNamespace:
    """A project with a worker, on each of these stores."""
    if request.param == "disk":
        return project
    rig = open_rig(jobtastic_store=redis_database(), jobtastic_lease=300)
    rig.start(concurrency=3)
    return rig.client


def start(client: SimpleNamespace, name: str, token: str) -> Any:
    """Call the task of this name, and return its result once its body runs."""
    first = getattr(client, name).delay(token)
    wait_until(lambda: client.runs(name, token, "begins"), what="the run")
    return first


def test_later_callers_do_not_get_the_value_of_a_run_that_was_forgotten(client, token):
    for way, forgets in WAYS.items():
        argument = f"{token}-{way}"
        first = start(client, "held_tagged", argument)
        joined = client.held_tagged.delay(argument)
        running = in_flight(client.held_tagged, argument)
        assert (running.owner, running.is_running, running.joined) == (first.id, True, 1)
        forgets(client, argument)
        later = [client.held_tagged.delay(argument) for _ in range(3)]
        dependent = client.held_tagged.apply_async((argument,), task_id=f"own-{argument}")
        go_on(client, argument)
        assert joined.id == first.id
        assert first.get(timeout=TIMEOUT) == [argument, first.id]
        values = [result.get(timeout=TIMEOUT) for result in (*later, dependent)]
        assert [argument, first.id] not in values
        assert len(client.runs("held_tagged", argument, "begins")) == 2
        assert cached(client.held_tagged, argument).value == values[0]


def call_many(made: dict[str, Any], token: str, barrier: Any, results: Any) -> None:
    """What one client process does."""
    task = create_app(**made).held_tagged
    for _ in ("all are there", "the run was forgotten"):
        barrier.wait()
    ids = {task.delay(token).id for _ in range(CALLS)}
    barrier.wait()
    results.put([task.AsyncResult(each).get(timeout=TIMEOUT) for each in ids])


def test_eight_processes_that_call_after_it_was_forgotten_share_one_more_run(client, token):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES + 1), context.Queue()
    clients = [
        context.Process(target=call_many, args=(client.made, token, barrier, results))
        for _ in range(PROCESSES)
    ]
    for each in clients:
        each.start()
    barrier.wait()
    first = start(client, "held_tagged", token)
    WAYS["forget_tag"](client, token)
    for _ in ("the run was forgotten", "all have called"):
        barrier.wait()
    go_on(client, token)
    values = [value for _ in clients for value in results.get(timeout=2 * TIMEOUT)]
    for each in clients:
        each.join()
    owners = [line["id"] for line in client.runs("held_tagged", token, "begins")]
    assert len(owners) == 2
    assert owners[0] == first.id
    assert {tuple(value) for value in values} == {(token, owners[1])}


def test_a_failure_is_shared_by_all_who_joined_waited_or_come_later(client, token):
    first = start(client, "held_failing", token)
    joined = [client.held_failing.delay(token) for _ in range(3)]
    waiting = [client.held_failing.apply_async((token,), task_id=f"own-{n}-{token}") for n in range(3)]
    go_on(client, token)
    results = [first, *joined, *waiting]
    wait_until(lambda: all(result.ready() for result in results), timeout=TIMEOUT, what="all ends")
    results += [client.held_failing.delay(token), client.held_failing.delay(token)]
    assert [type(result.get(propagate=False, timeout=TIMEOUT)) for result in results] == [LookupError] * 9
    assert {result.id for result in results} == {first.id, *(result.id for result in waiting)}
    assert len(client.runs("held_failing", token, "begins")) == 1
    assert repr(cached(client.held_failing, token).exception) == f"LookupError('{token}')"
