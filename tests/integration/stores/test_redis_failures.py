"""Redis servers that fail: each operation ends in time and with an error, and tasks go on without it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest
import redis

from jobtastic_signals import stores
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing.conformance.base import complete, put, queue, run
from tests.support.rare import rare
from tests.support.redis_servers import redis_server
from tests.support.servers import reserve_port, wait_until
from tests.support.stores.failing import goes_on_without_sharing, recovers
from tests.support.stores.operations import (
    OPERATIONS,
    broken_off,
    every_operation,
    fails_in_time,
    open_patient,
)
from tests.support.stores.project import Project

# Servers that do not answer


@pytest.mark.parametrize(
    "url",
    [
        "redis://{0}",
        rare("rediss://{0}"),
        "redis+cluster://{0}",
        rare("redis+cluster://{0};redis+cluster://{0};redis+cluster://{0};redis+cluster://{0}"),
        "sentinel://{0};sentinel://{0};sentinel://{0}?master_name=main",
    ],
    ids=["redis", "rediss", "cluster", "four nodes", "sentinels"],
)
def test_a_server_that_cannot_be_reached_costs_one_timeout(deaf, url):
    # For TLS each connection reads all certificates first, which takes a busy machine long.
    with closing(open_store(url.format(f"127.0.0.1:{deaf}"), timeout=0.5)) as store:
        fails_in_time(partial(store.lookup, "key"), timeout=0.5)


def test_a_socket_that_is_not_there_is_an_error(tmp_path):
    store = open_store(f"unix://{tmp_path}/nosuch.sock")
    fails_in_time(partial(store.lookup, "key"))


@every_operation
def test_a_server_that_hangs_costs_each_operation_one_timeout(hanging, use):
    with closing(open_store(hanging.url)) as store:
        hanging.resume()
        use(store)
        hanging.pause()
        for _ in range(2):
            fails_in_time(partial(use, store), redis.TimeoutError)
        hanging.resume()
        use(store)


def test_a_server_that_hangs_costs_one_timeout_however_many_connections_it_has(hanging):
    hanging.resume()
    with closing(open_store(hanging.url)) as store:
        meet = threading.Barrier(8, timeout=60)

        def look(_):
            meet.wait()
            return [store.lookup("key") for _ in range(20)]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(look, range(8)))
        hanging.pause()
        fails_in_time(partial(store.lookup, "key"), redis.TimeoutError)
        hanging.resume()
        wait_until(lambda: hanging.ask("INFO", "clients")["connected_clients"] == 1, what="all being closed")


def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_question(hanging):
    hanging.resume()
    with closing(open_patient(hanging.url)) as store:
        put(store, "one", b"1")
        put(store, "two", b"2")
        hanging.pause()
        with broken_off(0.05):
            store.lookup("one")
        goes_on = threading.Timer(0.2, hanging.resume)
        goes_on.start()
        assert store.lookup("two").payload == b"2"
        goes_on.join()


@pytest.fixture(scope="module")
def hanging(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("hanging")) as server:
        yield server


# Servers that refuse


def refused(store, names, error):
    for name in names:
        with pytest.raises(redis.RedisError, match=error):
            OPERATIONS[name](store)


@pytest.fixture
def used(tmp_path):
    """Yield a server of the test's own, and a store on it that has an identity, a claim and a result."""
    with redis_server(tmp_path) as server, closing(open_store(server.url, timeout=10)) as store:
        store.identity  # noqa: B018
        run(store, "owner", lease=600)
        put(store, "completed")
        yield server, store


def test_a_full_server_refuses_what_takes_room_and_can_be_read(used):
    server, store = used
    before, claim = store.identity, store.lookup("key")
    server.ask("CONFIG SET", "maxmemory", "1")
    refused(store, ["renew", "complete"], "maxmemory")
    with pytest.raises(redis.RedisError, match="maxmemory"):
        queue(store, "other", "free")
    assert store.identity == before
    assert store.lookup("key") == claim
    assert store.lookup("completed").payload == b"42"
    assert len(list(store.entries())) == 2
    assert run(store, "other", "completed").payload == b"42"
    assert store.release("key", "owner", "owner/1")
    assert store.forget("completed")
    server.ask("CONFIG SET", "maxmemory", "0")
    assert complete(store, "owner")


def test_a_full_server_stores_no_result_by_halves(used):
    server, store = used
    claim = store.lookup("key")
    server.ask("CONFIG SET", "maxmemory", "1")
    with pytest.raises(redis.RedisError):
        complete(store, "owner", ttl=60, index="of owner")
    server.ask("CONFIG SET", "maxmemory", "0")
    assert store.lookup("key") == claim
    assert store.lookup("of owner") is None


def test_a_server_that_became_a_replica_refuses_and_can_be_read(used):
    server, store = used
    before = store.identity
    server.ask("REPLICAOF", "127.0.0.1", reserve_port())
    refused(store, ["claim", "renew", "complete", "release"], "read only")
    with pytest.raises(redis.RedisError, match="read only"):
        store.forget("completed")
    assert store.identity == before
    assert store.lookup("completed").payload == b"42"
    assert len(list(store.entries())) == 2
    server.ask("REPLICAOF", "NO", "ONE")
    assert store.release("key", "owner", "owner/1")


# Tasks


@pytest.fixture
def project_on(monkeypatch):
    """Yield a function that makes projects whose store is tried again by each call."""
    monkeypatch.setattr(Settings, "store_retry_after", 0.0)
    made = []

    def project_on(url):
        made.append(Project(url, {"timeout": 10}))
        return made[-1]

    yield project_on
    for project in made:
        project.close()


def test_a_server_that_is_gone_costs_the_sharing_until_it_is_back(used, project_on):
    server, _ = used
    project = project_on(server.url)
    assert project.shares(1)
    server.kill()
    assert "Connection refused" in goes_on_without_sharing(project, 2)
    server.start()
    assert recovers(project, 3)


def test_a_full_server_costs_the_sharing_until_there_is_room(used, project_on):
    server, _ = used
    project = project_on(server.url)
    assert project.shares(1)
    server.ask("CONFIG SET", "maxmemory", "1")
    assert "maxmemory" in goes_on_without_sharing(project, 2)
    assert project.run(1) == 2
    assert project.runs == 3
    server.ask("CONFIG SET", "maxmemory", "0")
    assert recovers(project, 3)


def test_a_flushed_server_costs_a_run_and_no_word(used, project_on):
    server, _ = used
    project = project_on(server.url)
    assert project.shares(1)
    server.flush()
    assert recovers(project, 1)
    assert project.runs == 2


def test_without_redis_py_tasks_run_and_a_warning_names_the_extra(project_on, monkeypatch):
    monkeypatch.setitem(stores._STORES, "redis", ("no_such_driver:RedisStore", "redis"))
    warning = goes_on_without_sharing(project_on("redis://127.0.0.1"), 1)
    assert "pip install 'jobtastic-signals[redis]'" in warning
