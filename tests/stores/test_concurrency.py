"""What is the disk store's own of atomicity: many objects on one folder, from its creation on, and forks."""

import multiprocessing
import multiprocessing.dummy
import threading
from functools import partial

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.testing import Clock
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.races import contend

TIMEOUT = 60


@pytest.fixture
def url(tmp_path):
    return f"disk://{tmp_path}/store"


def test_threads_that_use_a_store_first_at_the_same_time_are_atomic(url):
    for number in range(15):
        store = open_store(f"{url}-{number}", timeout=30)
        contend(multiprocessing.dummy, lambda store=store: store, rounds=1)


def test_threads_with_a_store_each_are_atomic_from_its_creation_on(url):
    contend(multiprocessing.dummy, partial(open_store, url), rounds=20)


def test_processes_that_share_a_folder_are_atomic_from_its_creation_on(url):
    contend(multiprocessing.get_context("spawn"), partial(open_store, url), rounds=20)


class Pausing(Clock):
    """A clock that keeps the first who looks, and so whatever it is doing, until told to go on."""

    def __init__(self):
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self):
        if not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(TIMEOUT)
        return super().__call__()


def _admit_in_a_thread(store, answers):
    """In the child. A new thread can get the identity of one that the parent had, and the child has not."""

    def admit():
        try:
            answers.put(store.admit("key", "child", 60).owner)
        except Exception as error:
            answers.put(type(error).__name__)

    thread = threading.Thread(target=admit)
    thread.start()
    thread.join()


def forked_in_the_middle(open_paused):
    """What a child gets from ``admit`` if it was forked while a thread of its parent was in one."""
    context, clock = multiprocessing.get_context("fork"), Pausing()
    store, answers = open_paused(clock), context.SimpleQueue()
    assert store.identity
    parent = threading.Thread(target=store.admit, args=("key", "parent", 60))
    parent.start()
    try:
        assert clock.reached.wait(TIMEOUT)
        child = context.Process(target=_admit_in_a_thread, args=(store, answers))
        child.start()
        child.join(TIMEOUT)
        child.kill()  # One that hangs would keep pytest from ending.
        assert child.exitcode == 0
    finally:
        clock.go_on.set()
        parent.join()
    assert store.lookup("key").owner == "parent"
    store.close()
    return answers.get()


@forks
def test_a_child_forked_in_the_middle_of_an_operation_has_a_memory_store_of_its_own():
    assert forked_in_the_middle(lambda clock: MemoryStore(clock=clock)) == "child"


@forks
def test_a_child_forked_in_the_middle_of_a_transaction_is_not_in_it(url):
    locked_out = forked_in_the_middle(lambda clock: open_store(url, clock=clock, timeout=0.1))
    assert locked_out == StoreError.__name__
