"""The parts of the endpoints that need no server: readers, places for streams, and signs of a shutdown."""

from __future__ import annotations

import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from jobtastic_signals.web.places import Places
from jobtastic_signals.web.readers import Readers
from jobtastic_signals.web.shutdown import is_shutting_down

# Readers


def test_readers_return_what_their_functions_return_and_raise():
    readers = Readers(2)
    assert [readers.submit(partial(abs, n)).result() for n in range(20)] == list(range(20))
    with pytest.raises(ZeroDivisionError):
        readers.submit(lambda: 1 / 0).result()


def test_no_more_readers_than_allowed_work_and_none_before_the_first_call():
    before = threading.active_count()
    readers = Readers(3)
    assert threading.active_count() == before
    barrier = threading.Barrier(3)
    for _ in range(5):  # All three at a time, or the barrier would break.
        futures = [readers.submit(lambda: barrier.wait(60) or threading.get_ident()) for _ in range(3)]
        [future.result() for future in futures]
    with ThreadPoolExecutor(8) as pool:
        readings = list(pool.map(lambda _: readers.submit(threading.get_ident).result(), range(200)))
    assert len(set(readings)) <= 3


def test_a_reading_that_nobody_waits_for_any_more_is_left_out():
    readers = Readers(1)
    go_on, read = threading.Event(), []
    busy = readers.submit(go_on.wait)
    unwanted = readers.submit(lambda: read.append(1))
    assert unwanted.cancel()
    go_on.set()
    assert busy.result()
    readers.submit(lambda: None).result()
    assert read == []


def test_a_thread_that_cannot_start_leaves_others_the_chance(monkeypatch):
    readers = Readers(1)
    monkeypatch.setattr(threading.Thread, "start", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        readers.submit(lambda: 1)
    monkeypatch.undo()
    assert readers.submit(lambda: 2).result() == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_readers_of_its_own():
    readers = Readers(1)
    assert readers.submit(lambda: 1).result() == 1
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child, which must not come back
        try:
            os.write(write, str(readers.submit(os.getpid).result(60)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == str(child).encode()
    os.close(read)


# Places


def test_each_task_has_so_many_places():
    places = Places(2)
    taken = [places.take("a"), places.take("a")]
    assert all(taken)
    assert places.take("a") is None
    assert places.take("b") is not None
    taken[0].leave()
    assert places.take("a") is not None


def test_a_place_is_given_up_once():
    places = Places(1)
    first = places.take("a")
    first.leave()
    second = places.take("a")
    first.leave()
    assert second is not None
    assert places.take("a") is None


def test_a_place_that_is_forgotten_is_free():
    places = Places(1)
    place = places.take("a")
    assert place is not None
    del place
    gc.collect()
    assert places.take("a") is not None


def test_nothing_is_kept_of_tasks_without_streams():
    places = Places(1)
    for number in range(10):
        places.take(f"task-{number}").leave()
    assert not places._taken


# Shutdown


class Server:
    def __init__(self, **flags):
        vars(self).update(flags)

    def handle_exit(self, number, frame):
        pass


@pytest.mark.parametrize(
    ("flags", "shuts_down"),
    [
        ({"should_exit": True}, True),
        ({"should_exit": False}, False),
        ({"alive": False}, True),
        ({"alive": True}, False),
        ({}, False),
    ],
)
def test_a_shutdown_is_seen_where_the_signal_arrives(flags, shuts_down):
    before = signal.signal(signal.SIGTERM, Server(**flags).handle_exit)
    try:
        assert is_shutting_down() is shuts_down
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_server_nothing_shuts_down():
    assert not is_shutting_down()
