"""Each operation is atomic: shown with threads and processes that really run at once."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.memory import MemoryStore

from .clock import Clock
from .races import check, contend

CROWD = 8
TIMEOUT = 60

# Python 3.12 and later warn of any fork beside a thread; a store's promise is about forks.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def url(tmp_path):
    return f"disk://{tmp_path}/store"


def threads_contend(stores, rounds):
    barrier = threading.Barrier(CROWD, timeout=TIMEOUT)

    def contender(number):
        try:
            return contend(stores[number], number, barrier, rounds)
        finally:
            stores[number].close()  # This thread's files.

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(contender, range(CROWD)))


def test_threads_that_share_a_memory_store_are_atomic():
    check(threads_contend([MemoryStore()] * CROWD, rounds=100))


def test_threads_that_share_a_disk_store_are_atomic(url):
    check(threads_contend([open_store(url)] * CROWD, rounds=20))


def test_threads_that_use_a_disk_store_first_at_the_same_time_are_atomic(url):
    for number in range(15):
        check(threads_contend([open_store(f"{url}-{number}", timeout=30)] * CROWD, rounds=1))


def test_threads_with_a_disk_store_each_are_atomic_from_its_creation_on(url):
    check(threads_contend([open_store(url) for _ in range(CROWD)], rounds=20))


_in_child = {}


def _begin(store, barrier):
    _in_child.update(store=open_store(store) if isinstance(store, str) else store, barrier=barrier)


def _contend(number, rounds):
    try:
        return os.getpid(), contend(_in_child["store"], number, _in_child["barrier"], rounds)
    finally:
        _in_child["store"].close()


def test_processes_that_share_a_folder_are_atomic_from_its_creation_on(url):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(CROWD, timeout=TIMEOUT)
    with ProcessPoolExecutor(CROWD, context, _begin, (url, barrier)) as pool:
        pids, seen = zip(*pool.map(_contend, range(CROWD), [20] * CROWD), strict=True)
    assert len(set(pids)) == CROWD
    check(seen)


@forks
def test_a_store_in_use_goes_on_in_forked_children_and_in_their_parent(url):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(CROWD, timeout=TIMEOUT)
    store = open_store(url)
    store.admit("before", "parent", 600)
    store.settle("settled before", "parent", b"42", None)
    with ProcessPoolExecutor(CROWD - 1, context, _begin, (store, barrier)) as pool:
        children = pool.map(_contend, range(1, CROWD), [20] * CROWD)
        own = contend(store, 0, barrier, 20)
        pids, seen = zip(*children, strict=True)
    assert len({os.getpid(), *pids}) == CROWD
    check([own, *seen])
    assert store.lookup("before").owner == "parent"
    assert store.lookup("settled before").payload == b"42"
    store.close()


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
