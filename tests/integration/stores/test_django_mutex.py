"""The mutex with which Django's caches are changed, deterministically: a clock is looked at in between."""

import multiprocessing
import re
import threading
import time
from contextlib import suppress
from functools import partial

import pytest
from django.core.cache import caches

from jobtastic_signals import StoreError
from jobtastic_signals.testing.conformance.base import put, queue, run
from tests.support.servers import wait_until
from tests.support.stores.clocks import Meddling
from tests.support.stores.django_caches import open_configured, stored
from tests.support.stores.operations import PATIENT


def mutexes():
    return {name: token for name, token in stored().items() if name.startswith("jobtastic-mutex-")}


def mutex_of(open_django, key="key"):
    """The name of the mutex of *key*."""
    seen = []
    open_django(Meddling(lambda: seen.extend(mutexes()))).release(key, "nobody", "")
    assert mutexes() == {}
    return seen[0]


def test_the_mutex_is_held_while_it_is_decided_and_not_for_a_look(open_django):
    assert re.fullmatch(r"jobtastic-mutex-[0-9a-f]{3}", mutex_of(open_django))
    looked = []
    clock = Meddling(lambda: looked.append(mutexes()), times=3)
    store = open_django(clock)
    store.lookup("key")
    queue(store, "owner")
    assert looked[:2] == [{}, {}]
    assert len(looked[2]) == 1
    queue(store, "other", goes_out=True)
    clock.times = 3
    looked.clear()
    queue(store, "other", goes_out=True)
    store.lookup("key")
    assert looked == [{}, {}], "each of them looks once"


def test_the_mutex_ends_by_itself_soon_after_the_timeout(open_django):
    ends = []

    def look():
        client = caches["redis"]._cache.get_client()
        ends.extend(client.ttl(name) for name in client.scan_iter("*jobtastic-mutex-*"))

    open_django(Meddling(look), timeout=1).release("key", "nobody", "")
    assert 3 <= ends[0] <= 5


def test_what_somebody_else_changes_waits_and_is_an_error_when_the_timeout_is_over(open_django):
    mutex = mutex_of(open_django)
    caches["redis"].add(mutex, "0" * 32, timeout=60)
    store = open_django(timeout=0.25)
    before = time.monotonic()
    with pytest.raises(StoreError, match="changed by others"):
        put(store, "key")
    assert time.monotonic() - before < PATIENT
    assert mutexes() == {mutex: "0" * 32}
    assert store.lookup("key") is None
    assert put(store, "another bucket") is True
    threading.Timer(0.2, caches["redis"].delete, [mutex]).start()
    assert put(open_django(), "key") is True


@pytest.mark.thorough
def test_a_process_that_is_killed_with_the_mutex_stops_others_for_some_seconds(django_conf, open_django):
    run(open_django(), "owner")
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_hang_with_the_mutex, args=(django_conf,))
    child.start()
    wait_until(mutexes)
    child.kill()
    child.join()
    with pytest.raises(StoreError, match="changed by others"):
        open_django(timeout=0.25).release("key", "owner", "")
    assert open_django(timeout=10).release("key", "owner", "") is True


def _hang_with_the_mutex(django_conf):
    clock = Meddling(partial(time.sleep, 60))
    store = open_configured(django_conf, "django://redis", timeout=0.5, clock=clock)
    with suppress(StoreError):
        store.release("key", "owner", "")
    time.sleep(60)


@pytest.mark.parametrize("instead", [None, "somebody's"])
def test_who_loses_the_mutex_says_so_and_leaves_that_of_the_next(open_django, instead):
    mutex = mutex_of(open_django)

    def lose():
        caches["redis"].delete(mutex)
        if instead:
            caches["redis"].add(mutex, instead, timeout=60)

    run(open_django(), "owner")
    store = open_django(Meddling(lose), timeout=0.25)
    with pytest.raises(StoreError):
        store.release("key", "owner", "")
    time.sleep(0.3)
    assert caches["redis"].get(mutex) == instead


def test_who_was_interrupted_for_too_long_writes_nothing(open_django):
    run(open_django(), "owner")
    go_on = threading.Event()
    store = open_django(Meddling(partial(go_on.wait, 30)), timeout=0.25)
    with pytest.raises(StoreError, match=r"no answer within 0\.3 s"):
        store.release("key", "owner", "")
    assert len(mutexes()) == 1
    go_on.set()
    wait_until(lambda: mutexes() == {})
    assert open_django().lookup("key").owner == "owner"
