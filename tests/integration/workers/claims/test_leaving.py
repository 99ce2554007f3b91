"""Callers in many processes leave a run: the last one ends it, and the worker goes on."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from jobtastic_signals import leave, sharing_of
from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.workers.project import create_app
from tests.support.workers.rigs import go_on

PROCESSES, CALLERS = 8, 10
TIMEOUT = 180


def call_and_leave(made: dict[str, Any], token: str, calls: int, connection: Any) -> None:
    """What one client process does: it calls, and leaves a result whenever it is asked to."""
    held = create_app(**made).held
    results = [held.delay(token) for _ in range(calls)]
    connection.send([sharing_of(each).kind for each in results])
    while results:
        connection.recv()
        connection.send(leave(results.pop()))


@contextmanager
def callers(made: dict[str, Any], token: str) -> Iterator[list[Any]]:
    """Yield a connection for each caller; several can be of one process."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        connections = []
        for number in range(PROCESSES):
            calls = 2 if number < CALLERS - PROCESSES else 1
            here, there = context.Pipe()
            process = context.Process(target=call_and_leave, args=(made, token, calls, there))
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            connections += [here] * calls
        yield connections


def answer_of(connection: Any) -> Any:
    assert connection.poll(TIMEOUT), "a client process does not answer"
    return connection.recv()


def still_works(rig: Any) -> None:
    """Assert that the worker runs another call to its end."""
    token = uuid.uuid4().hex
    result = rig.client.held.delay(token)
    go_on(rig.client, token)
    assert result.get(timeout=TIMEOUT) == [token, result.id]


@pytest.fixture
def token() -> str:
    return uuid.uuid4().hex


@pytest.fixture(params=["disk"])
def rig(
    request: pytest.FixtureRequest, open_rig: Callable[..., Any], redis_database: Callable[[], str]
) -> Any:
    """A project with a store of its own, and a lease during which no claim lapses."""
    store = {"jobtastic_store": redis_database()} if request.param == "redis" else {}
    return open_rig(jobtastic_lease=300, **store)


@pytest.mark.parametrize("rig", [rare("disk"), "redis"], indirect=True)
def test_of_ten_callers_in_eight_processes_nine_leave_and_the_tenth_ends_the_run(rig, token):
    rig.start(concurrency=1)
    with callers(rig.made, token) as connections:
        kinds = [kind for each in dict.fromkeys(connections) for kind in answer_of(each)]
        assert sorted(kinds) == ["joined"] * (CALLERS - 1) + ["own"]
        wait_until(lambda: rig.client.runs("held", token, "begins"), what="the run")
        *others, last = connections
        for connection in others:
            connection.send("leave")
        assert [answer_of(each) for each in others] == [False] * (CALLERS - 1)
        [begun] = rig.client.runs("held", token)
        run = rig.client.held.AsyncResult(begun["id"])
        assert not run.ready()
        last.send("leave")
        assert answer_of(last)
    wait_until(lambda: run.state == "REVOKED", what="the end of the run")
    still_works(rig)
    assert [line["what"][1] for line in rig.client.runs("held", token)] == ["begins"]


def test_a_run_that_one_caller_still_wants_ends_as_it_would(rig, token):
    rig.start(concurrency=1)
    owner, joined = rig.client.held.delay(token), rig.client.held.delay(token)
    assert not leave(owner)
    go_on(rig.client, token)
    assert joined.get(timeout=TIMEOUT) == [token, owner.id]


def test_a_message_that_nobody_wants_never_runs(rig, token):
    results = [rig.client.held.delay(token) for _ in range(2)]
    # A worker that is not there yet does not hear of it.
    rig.start(concurrency=1)
    first = uuid.uuid4().hex
    go_on(rig.client, token)
    assert results[0].get(timeout=TIMEOUT)
    blocking = rig.client.held.delay(first)
    wait_until(lambda: rig.client.runs("held", first), what="a run that occupies the worker")
    unwanted = [rig.client.held.delay(f"{token}-2") for _ in range(2)]
    assert [leave(each) for each in unwanted] == [False, True]
    wait_until(lambda: unwanted[0].state == "REVOKED", what="the revoke")
    go_on(rig.client, first)
    assert blocking.get(timeout=TIMEOUT) == [first, blocking.id]
    still_works(rig)
    assert rig.client.runs("held", f"{token}-2") == []


@pytest.mark.parametrize("pool", ["threads", pytest.param("gevent", marks=pytest.mark.thorough)])
def test_a_pool_without_processes_survives_it(rig, token, pool):
    rig.start(pool=pool)
    result = rig.client.held.delay(token)
    wait_until(lambda: rig.client.runs("held", token), what="the run")
    assert leave(result)
    if pool == "threads":
        # It cannot end a run.
        wait_until(lambda: "does not implement kill_job" in rig.log(), what="the revoke")
        go_on(rig.client, token)
        assert result.get(timeout=TIMEOUT) == [token, result.id]
    else:
        wait_until(lambda: result.state == "REVOKED", what="the end of the run")
    still_works(rig)
