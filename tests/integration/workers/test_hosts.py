"""Workers on two hosts that share nothing but a Redis, and what the loss of one costs."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace

import pytest

from jobtastic_signals.installation import installation_on
from tests.support.servers import redis_server, wait_until
from tests.support.workers.hosts import host
from tests.support.workers.project import close, create_app
from tests.support.workers.projects import wait_until_ready, worker

TIMEOUT = 60
LEASE = 2.0


@pytest.fixture
def client(tmp_path):
    """A client on this host; ``logs`` are those of the two workers."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(host()) for _ in range(2)]
        binds = {"127.0.0.1", *(each.gateway for each in hosts)}
        (tmp_path / "redis").mkdir()
        url = stack.enter_context(redis_server(tmp_path / "redis", bind=sorted(binds)))
        client = create_app(**made(url, tmp_path))
        client.store = installation_on(client.app).store
        stack.callback(close, client.app)
        client.logs = [tmp_path / f"worker-{number}.log" for number in range(2)]
        for each, log in zip(hosts, client.logs, strict=True):
            there = made(url.replace("127.0.0.1", each.gateway), tmp_path)
            env = {"XDG_CACHE_HOME": f"{log}-cache"}
            stack.enter_context(worker(there, "prefork", log, concurrency=2, prefix=each.command, env=env))
        wait_until_ready(*client.logs)
        yield client


def made(url, folder):
    conf = {
        "broker_url": f"{url}/0",
        "result_backend": f"{url}/1",
        "jobtastic_store": f"{url}/2",
        "jobtastic_lease": LEASE,
    }
    return {"conf": conf, "journal": str(folder / "journal")}


def owner_of(client, token):
    """The process group of the worker that runs for *token*."""
    [run] = wait_until(lambda: client.runs("cached", token), what="the run")
    return SimpleNamespace(id=run["id"], group=os.getpgid(run["pid"]))


def test_500_equal_calls_are_one_run(client, token):
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: client.cached.delay(token, seconds=1.5), range(500)))
    # Those that called in the same instant have ids of their own, and are served.
    values = {result.id: tuple(result.get(timeout=TIMEOUT)) for result in results}
    assert len(values) <= 16
    [run] = client.runs("cached", token)
    assert set(values.values()) == {(token, run["id"])}
    assert [b"another store" in log.read_bytes() for log in client.logs] == [False, False]


@pytest.mark.thorough
def test_equal_members_of_groups_on_both_hosts_wait_for_one_run(client, token):
    ids = [f"{token}-{number}" for number in range(40)]
    results = [client.cached.apply_async((token, 1.0), task_id=task_id) for task_id in ids]
    values = [result.get(timeout=TIMEOUT) for result in results]
    assert {tuple(value) for value in values} == {tuple(values[0])}
    assert len(client.runs("cached", token)) == 1


def test_a_host_that_is_lost_frees_its_calls_within_the_lease(client, token):
    call = partial(client.cached.delay, token, seconds=60)
    key = client.key("cached", token, seconds=60)
    call()
    owner = owner_of(client, token)
    first = client.store.lookup(key).expires
    wait_until(lambda: client.store.lookup(key).expires > first, what="a renewal")
    assert call().id == owner.id
    os.killpg(owner.group, signal.SIGKILL)
    # Redis has the clock of this machine.
    assert client.store.lookup(key).expires <= time.time() + LEASE
    wait_until(lambda: call().id != owner.id, what="the end of the lease")
    wait_until(lambda: len(client.runs("cached", token)) == 2, what="the next run")


@pytest.mark.thorough
def test_of_two_that_run_since_one_could_not_renew_the_late_one_loses(client, token):
    first = client.cached.delay(token, seconds=1)
    owner = owner_of(client, token)
    os.killpg(owner.group, signal.SIGSTOP)
    try:
        second = wait_until(
            lambda: next(iter({client.cached.delay(token, seconds=1)} - {first}), None), what="the next"
        )
        assert second.get(timeout=TIMEOUT) == [token, second.id]
    finally:
        os.killpg(owner.group, signal.SIGCONT)
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    later = client.cached.delay(token, seconds=1)
    assert (later.id, later.get(timeout=TIMEOUT)) == (second.id, [token, second.id])
    assert len(client.runs("cached", token)) == 2
