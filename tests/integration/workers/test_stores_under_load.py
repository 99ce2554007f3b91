"""A store that fails under a load of calls: none is lost, none waits for long, and sharing comes back.

``JOBTASTIC_LOAD_SECONDS=20`` makes each load as long.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from jobtastic_signals.installation import installation_on
from tests.support.servers import redis_server, wait_until
from tests.support.workers.project import close, create_app
from tests.support.workers.projects import wait_until_ready, worker

SECONDS = float(os.environ.get("JOBTASTIC_LOAD_SECONDS", "6"))
PER_SECOND, CALLERS = 50, 4
TIMEOUT = 60

#: Seconds by which a call may take longer than one of a task without options.
LONGER = 0.3


class Server:
    """A Redis for the store alone, that can be made to fail."""

    def __init__(self, folder, stack):
        self._folder, self._stack = folder, stack
        self._process = stack.enter_context(ExitStack())
        self.url = self._process.enter_context(redis_server(folder))
        self.port = int(self.url.rpartition(":")[2])

    @property
    def client(self):
        return redis.Redis(port=self.port)

    def _signal(self, signum):
        with self.client as client:
            os.kill(client.info("server")["process_id"], signum)

    @contextmanager
    def refusing(self):
        self._signal(signal.SIGKILL)
        yield
        self._process.close()
        self._process.enter_context(redis_server(self._folder, port=self.port))

    @contextmanager
    def hanging(self):
        with self.client as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        yield
        os.kill(pid, signal.SIGCONT)

    @contextmanager
    def dying_while_it_hangs(self):
        """What waits for an answer when it dies has been sent, and is answered by nobody."""
        with self.client as client:
            pid = client.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.15)
        os.kill(pid, signal.SIGKILL)
        yield
        self._process.close()
        self._process.enter_context(redis_server(self._folder, port=self.port))

    @contextmanager
    def forgetting(self):
        with self.client as client:
            client.flushall()
            yield
            client.flushall()

    @contextmanager
    def reading_only(self):
        """As after a fail-over: a replica, whose primary is gone."""
        with self.client as client:
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", 1)
            yield
            client.replicaof("NO", "ONE")

    @contextmanager
    def full(self):
        with self.client as client:
            client.config_set("maxmemory", 1)
            yield
            client.config_set("maxmemory", 0)


FAILURES = ["refusing", "hanging", "dying_while_it_hangs", "forgetting", "reading_only", "full"]


@pytest.fixture(scope="module")
def rig(shared, tmp_path_factory):
    """A store that can fail, and a client and a worker that share through it."""
    folder = tmp_path_factory.mktemp("rig")
    (folder / "store").mkdir()
    with ExitStack() as stack:
        server = Server(folder / "store", stack)
        conf = {
            "broker_url": shared.redis(),
            "result_backend": shared.redis(),
            "jobtastic_store": f"{server.url}/0",
        }
        made: dict[str, Any] = {"conf": conf, "journal": str(folder / "journal")}
        client = create_app(**made)
        stack.callback(close, client.app)
        log = folder / "worker.log"
        stack.enter_context(worker(made, "threads", log, concurrency=8))
        wait_until_ready(log)
        yield SimpleNamespace(server=server, client=client, log=log)


class Load:
    """Calls at a steady rate; of each is known when it began, how long it took, and what it gave."""

    def __init__(self, call):
        self._call, self._over = call, threading.Event()
        self.calls = []

    def __enter__(self):
        self._pool = ThreadPoolExecutor(CALLERS + 1)
        self._futures = [self._pool.submit(self._caller, number) for number in range(CALLERS)]
        self._futures.append(self._pool.submit(self._watch))
        return self

    def __exit__(self, *failure):
        self._over.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def slowest_since(self, moment):
        return max(took for began, took, _ in self.calls if began >= moment)

    def _caller(self, number):
        interval = CALLERS / PER_SECOND
        due = time.monotonic() + interval * number / CALLERS
        while not self._over.wait(max(due - time.monotonic(), 0)):
            due += interval
            began, late = time.monotonic(), self._late
            result = self._call(len(self.calls))
            took = time.monotonic() - began
            self.calls.append((began, took - (self._late - late), result))

    #: For how many seconds altogether the machine kept a thread waiting that wanted little of it.
    _late = 0.0

    def _watch(self):
        before = time.monotonic()
        while not self._over.wait(0.005):
            now = time.monotonic()
            self._late += max(now - before - 0.015, 0.0)
            before = now


@pytest.mark.thorough
@pytest.mark.parametrize("how", FAILURES)
def test_a_store_that_fails_costs_the_sharing_for_a_while_and_nothing_else(rig, token, how):
    client = rig.client
    plain = Load(lambda number: client.mark.apply_async((token,), queue="unread"))
    with Load(lambda number: client.double.delay(f"{token}-{number % 20}")) as load, plain:
        last_for(0.2 * SECONDS)
        well = time.monotonic()
        with getattr(rig.server, how)():
            last_for(0.4 * SECONDS)
        last_for(0.4 * SECONDS)
    assert len(load.calls) >= 0.8 * PER_SECOND * SECONDS
    # Beside them, calls of a task without options had the same machine, at the same time.
    slowest, beside = load.slowest_since(well), plain.slowest_since(well)
    print(f"{how}: {len(load.calls)} calls, {slowest:.3f} s at most, {beside:.3f} s without options")
    assert slowest <= beside + LONGER
    for result in {result.id: result for _, _, result in load.calls}.values():
        assert result.get(timeout=TIMEOUT)
    wait_until(lambda: shares(client), what="sharing again")


def last_for(seconds):
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, timeout=2 * seconds, what="the end of a phase")


def shares(client):
    """Whether two equal calls are one again, here and in the worker."""
    token = os.urandom(8).hex()
    first, second = client.cached.delay(token, seconds=0.2), client.cached.delay(token, seconds=0.2)
    if first.id != second.id or installation_on(client.app).store.is_down:
        return False
    value = first.get(timeout=TIMEOUT)
    served = client.cached.apply_async((token,), {"seconds": 0.2}, task_id=f"{token}-served")
    return served.get(timeout=TIMEOUT) == value and len(client.runs("cached", token)) == 1
