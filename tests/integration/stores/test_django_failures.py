"""Servers of Django's caches that fail: each operation ends in time and with an error, and tasks go on."""

from functools import partial

import psutil
import pytest
import redis

from jobtastic_signals import Claim, StoreError
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores.django import store as django_module
from jobtastic_signals.testing.conformance.base import renew, run
from tests.support.servers import redis_server, wait_until
from tests.support.stores.django_caches import BACKENDS
from tests.support.stores.failing import goes_on_without_sharing, wait_until_recovered
from tests.support.stores.operations import OPERATIONS, TIMEOUT, every_operation, fails_in_time
from tests.support.stores.project import Project


@every_operation
def test_a_server_that_cannot_be_reached_costs_one_timeout(add_cache, open_django, deaf, use):
    alias = add_cache(BACKEND=f"{BACKENDS}.redis.RedisCache", LOCATION=f"redis://127.0.0.1:{deaf}")
    fails_in_time(partial(use, open_django(alias=alias, timeout=TIMEOUT)))


@pytest.fixture(scope="module")
def redis_to_halt(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url, redis.Redis.from_url(url) as client:
        yield url, psutil.Process(client.info("server")["process_id"])


@pytest.fixture
def own_redis(redis_to_halt, add_cache):
    """The alias of a Redis that may be halted, and its process."""
    url, process = redis_to_halt
    yield add_cache(BACKEND=f"{BACKENDS}.redis.RedisCache", LOCATION=f"{url}/0"), process
    process.resume()
    with redis.Redis.from_url(url) as client:
        client.flushall()


def halt(process):
    process.suspend()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)


@every_operation
def test_a_server_that_is_stopped(own_redis, open_django, use):
    alias, process = own_redis
    run(open_django(alias=alias), "owner")
    store = open_django(alias=alias, timeout=TIMEOUT)
    halt(process)
    fails_in_time(partial(use, store))


@pytest.mark.thorough
def test_nothing_is_decided_late_by_a_server_that_goes_on(own_redis, open_django):
    alias, process = own_redis
    run(open_django(alias=alias), "owner")
    store = open_django(alias=alias, timeout=TIMEOUT)
    halt(process)
    for use in OPERATIONS.values():
        fails_in_time(partial(use, store))
        store.close()
    process.resume()
    again = open_django(alias=alias)
    assert wait_until(lambda: again.lookup("key")).owner == "owner"
    assert renew(again, "owner") is True
    assert isinstance(again.lookup("key"), Claim)


def test_questions_to_a_server_that_hangs_are_not_asked_without_end(own_redis, open_django, monkeypatch):
    monkeypatch.setattr(django_module, "_MOST", 5)
    alias, process = own_redis
    store = open_django(alias=alias, timeout=0.1)
    halt(process)
    for _ in range(5):
        with pytest.raises(StoreError, match="no answer"):
            store.lookup("key")
    with pytest.raises(StoreError, match="5 questions have not been answered yet"):
        store.lookup("key")
    process.resume()
    wait_until(lambda: not any(store._asked.values()))
    assert store.lookup("key") is None


def test_tasks_go_on_without_a_server_and_share_again_with_one(own_redis, monkeypatch):
    monkeypatch.setattr(Settings, "store_retry_after", 0.0)
    alias, process = own_redis
    project = Project(f"django://{alias}")
    assert project.shares(1)
    halt(process)
    assert "no answer within" in goes_on_without_sharing(project, 2)
    process.resume()
    wait_until_recovered(project)
    project.close()
