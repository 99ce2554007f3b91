"""What is the disk store's own of atomicity: many objects on one folder, from its creation on, and forks."""

import multiprocessing
import multiprocessing.dummy
from functools import partial

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.races import contend
from tests.support.stores.clocks import forked_in_the_middle


@pytest.fixture
def url(tmp_path):
    return f"disk://{tmp_path}/store"


def test_threads_that_use_a_store_first_at_the_same_time_are_atomic(url):
    for number in range(15):
        store = open_store(f"{url}-{number}", timeout=30)
        contend(multiprocessing.dummy, lambda store=store: store, rounds=1)  # type: ignore[misc]


def test_threads_with_a_store_each_are_atomic_from_its_creation_on(url):
    contend(multiprocessing.dummy, partial(open_store, url), rounds=8)


@pytest.mark.thorough
def test_processes_that_share_a_folder_are_atomic_from_its_creation_on(url):
    contend(multiprocessing.get_context("spawn"), partial(open_store, url), rounds=8)


@forks
def test_a_child_forked_in_the_middle_of_an_operation_has_a_memory_store_of_its_own():
    assert forked_in_the_middle(lambda clock: MemoryStore(clock=clock)) == ("child", "parent")


@forks
def test_a_child_forked_in_the_middle_of_a_transaction_is_not_in_it(url):
    locked_out = forked_in_the_middle(lambda clock: open_store(url, clock=clock, timeout=0.1))
    assert locked_out == (StoreError.__name__, "parent")
