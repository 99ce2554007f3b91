"""Memcached servers that fail: each operation ends in time and with an error, and tasks go on without it."""

import itertools
import math
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial

import psutil
import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing.conformance.base import complete, put, run
from tests.support.servers import memcached, wait_until
from tests.support.stores.failing import goes_on_without_sharing, wait_until_recovered
from tests.support.stores.operations import (
    OPERATIONS,
    broken_off,
    every_operation,
    fails_in_time,
    open_patient,
)
from tests.support.stores.project import Project


def fails(store, use, why):
    fails_in_time(partial(use, store), StoreError, why=why)
    store.close()


@every_operation
def test_a_server_that_cannot_be_reached_costs_one_timeout(deaf, use):
    fails(open_store(f"memcached://127.0.0.1:{deaf}"), use, f":{deaf}.*(refused|timed out)")


@pytest.fixture
def own_server(tmp_path):
    """A server of this test: its URL, and its process."""
    with memcached(tmp_path) as (url, process):
        yield url, process
        process.send_signal(signal.SIGCONT)


def halt(process):
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


@every_operation
def test_a_server_that_is_stopped(own_server, use):
    url, process = own_server
    store = open_store(url)
    run(store, "owner")
    halt(process)
    fails(store, use, "timed out")


def test_a_server_that_goes_on_is_asked_as_before(own_server):
    url, process = own_server
    store = open_store(url)
    run(store, "owner")
    halt(process)
    for use in OPERATIONS.values():
        with pytest.raises(StoreError):
            use(store)
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: answers(store))
    assert run(store, "owner", "other").owner == "owner"
    store.close()


def answers(store):
    try:
        return store.lookup("other") is None
    except StoreError:
        return False


def port_of(url):
    return int(url.rpartition(":")[2])


def end(process):
    process.kill()
    process.wait()


def test_a_server_that_was_restarted_is_connected_to_at_once(own_server, tmp_path):
    url, process = own_server
    store = open_patient(url)
    identity = store.identity
    with ThreadPoolExecutor(4) as pool:  # Several connections.
        list(pool.map(store.lookup, ["key"] * 100))
    run(store, "owner")
    end(process)
    with memcached(tmp_path, port=port_of(url)), closing(store), closing(open_patient(url)) as other:
        assert run(store, "next").owner == "next"
        assert store.identity == other.identity != identity
        with ThreadPoolExecutor(4) as pool:
            assert {claim.owner for claim in pool.map(store.lookup, ["key"] * 100)} == {"next"}


def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_question(own_server):
    url, process = own_server
    store = open_patient(url)
    put(store, "one", b"1")
    put(store, "two", b"2")
    halt(process)
    with broken_off(0.05):
        store.lookup("one")
    goes_on = threading.Timer(0.2, process.send_signal, [signal.SIGCONT])
    goes_on.start()
    assert store.lookup("two").payload == b"2"
    goes_on.join()
    store.close()


@pytest.fixture
def busy():
    """A stand-in, since a real one is not busy for long: lists nothing, and but so many times not at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve(times):
            def answer():
                for turn in itertools.count():
                    connection, _ = listener.accept()
                    with connection, suppress(ConnectionError):
                        connection.recv(100)
                        connection.sendall(b"BUSY currently processing\r\n" if turn < times else b"END\r\n")

            pool.submit(answer)
            return "memcached://{}:{}".format(*listener.getsockname())

        yield serve
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_lists_its_items_for_somebody_else_is_asked_again(busy):
    with closing(open_patient(busy(3))) as store:
        assert list(store.entries()) == []


def test_a_server_that_lists_its_items_for_others_all_the_time_costs_one_timeout(busy):
    fails(open_store(busy(math.inf)), OPERATIONS["entries"], "others list its items|timed out")


def test_a_server_that_lists_nothing_says_so(tmp_path):
    with memcached(tmp_path, "-o", "no_lru_crawler") as (url, _), closing(open_patient(url)) as store:
        put(store, "key")
        with pytest.raises(StoreError, match="does not list its items"):
            list(store.entries())
        assert store.lookup("key").payload == b"42"


def test_a_server_that_drops_what_it_has_no_room_for_costs_runs_and_no_errors(tmp_path):
    owner = "o" * 50_000  # So large that it lies among the results, with its delivery.
    with memcached(tmp_path, "-m", "2") as (url, _), closing(open_patient(url)) as store:
        run(store, owner, "claimed", 3600)
        for number in range(100):
            assert put(store, f"key-{number}", bytes(100_000)) is True
        assert store.lookup("key-99").payload == bytes(100_000)
        assert store.lookup("key-0") is None
        assert store.lookup("claimed") is None
        assert run(store, "next", "claimed", 3600).previous is None
        assert complete(store, owner, b"late", key="claimed") is False
        assert complete(store, "next", key="claimed") is True


def test_tasks_go_on_without_a_server_and_share_again_with_one(own_server, tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "store_retry_after", 0.0)
    url, process = own_server
    project = Project(url)
    assert project.shares(1)
    end(process)
    assert "refused" in goes_on_without_sharing(project, 2)
    with memcached(tmp_path, port=port_of(url)):
        wait_until_recovered(project)
    project.close()
