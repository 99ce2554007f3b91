"""The store on a real Memcached: the contract, its items, and who is faster."""

import json
import multiprocessing
import multiprocessing.dummy
import re
import time
from contextlib import closing
from functools import partial

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import Clock, StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.base import complete, put, queue, renew, run, running
from jobtastic_signals.testing.conformance.races import contend
from tests.support.servers import memcached
from tests.support.stores.clocks import Meddling, forked_in_the_middle
from tests.support.stores.memcached_items import client_of, flush, items_of
from tests.support.stores.operations import LARGE, PATIENT, open_patient
from tests.support.stores.unreadable import UNREADABLE, counts_as_absent

DAY = 86400


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with memcached(tmp_path_factory.mktemp("memcached")) as (url, _):
        yield url


@pytest.fixture
def url(server):
    """A server that holds nothing."""
    flush(server)
    return server


@pytest.fixture
def connect(url):
    made = []

    def connect(clock=time.time, *, timeout=PATIENT):
        made.append(open_store(url, clock=clock, timeout=timeout))
        return made[-1]

    yield connect
    for store in made:
        store.close()


class TestMemcachedStore(StoreConformance):
    rounds = 10

    @pytest.fixture
    def make_store(self, server):
        def make_store(clock):
            flush(server)
            return open_patient(server, clock=clock)

        return make_store


# Crowds


def test_threads_with_a_store_each_are_atomic(url):
    contend(multiprocessing.dummy, partial(open_patient, url), rounds=5)


@pytest.mark.thorough
def test_processes_are_atomic(url):
    contend(multiprocessing.get_context("spawn"), partial(open_patient, url), rounds=2)


@forks
def test_a_child_has_connections_of_its_own(connect, url):
    store = connect()
    put(store, "key")
    with client_of(url) as client:
        before = client.stats()[b"total_connections"]
        child = multiprocessing.get_context("fork").Process(target=store.lookup, args=("key",))
        child.start()
        child.join()
        assert int(client.stats()[b"total_connections"]) == int(before) + 1
        assert store.lookup("key").payload == b"42"
        assert int(client.stats()[b"total_connections"]) == int(before) + 1


@forks
def test_a_child_forked_in_the_middle_of_a_decision_takes_nothing_from_its_parent(connect):
    """The child is faster, and the parent, whose decision was for another state, decides again."""
    assert forked_in_the_middle(connect) == ("child", "child")


# Whoever is faster, deterministically: the clock is looked at between reading and writing


@pytest.fixture
def raced(connect):
    """A store while whose first decision another does something."""

    def raced(meddle, *, times=1, timeout=PATIENT):
        other = connect(Clock())
        return connect(Meddling(lambda: meddle(other), times=times), timeout=timeout)

    return raced


def test_a_claim_that_was_faster_counts(raced):
    store = raced(lambda other: run(other, "other"))
    assert run(store, "me").owner == "other"
    assert (
        raced(lambda other: queue(other, "other", "key 2")).lookup_or_claim("key 2", "me", 60).owner
        == "other"
    )


def test_a_claim_that_went_meanwhile_comes_back_by_no_mark(raced, connect, clock):
    run(connect(clock), "gone")
    store = raced(lambda other: other.release("key", "gone", ""))
    assert run(store, "me") == running("me", clock())


def test_a_claim_that_was_taken_over_meanwhile_is_not_released(raced, connect, clock):
    ended = run(connect(clock), "me")
    store = raced(lambda other: run(other, "next", lapsed=ended))
    assert store.release("key", "me", "") is False
    assert store.lookup("key") == running("next", clock(), awaited=True)


def test_a_claim_that_was_taken_over_meanwhile_completes_nothing_and_leaves_nothing(raced, connect, url):
    ended = run(connect(Clock()), "me")
    store = raced(lambda other: run(other, "next", lapsed=ended))
    assert complete(store, "me", LARGE, index="of me") is False
    assert store.lookup("key").owner == "next"
    assert len(items_of(url)) == 1


def test_a_claim_and_its_successors_are_not_mixed_up_by_equal_contents(raced, connect, clock):
    run(connect(clock), "me")

    def anew(other):
        other.release("key", "me", "")
        run(other, "me")
        run(other, "waiter")

    store = raced(anew)
    assert store.release("key", "me", "", unless_awaited=True) is False


def test_a_result_that_is_replaced_while_it_is_read_is_found_anew(raced, connect):
    put(connect(Clock()), "key", LARGE, owner="old")

    def replace(other):
        other.forget("key")
        put(other, "key", LARGE[::-1], owner="new")

    assert (raced(replace).lookup("key").owner, raced(replace).lookup("key").payload) == ("new", LARGE[::-1])
    assert queue(raced(replace), "me").payload == LARGE[::-1]
    assert run(raced(replace), "me").payload == LARGE[::-1]


def test_one_who_is_always_too_late_is_told_when_the_timeout_is_over(raced, connect):
    run(connect(Clock()), "me")
    leases = iter(range(1000, 10**9))
    store = raced(lambda other: renew(other, "me", lease=next(leases)), times=10**9, timeout=0.25)
    before = time.monotonic()
    with pytest.raises(StoreError, match="others were faster to change key"):
        store.release("key", "me", "")
    assert time.monotonic() - before < PATIENT


# Items


def test_items_are_json_and_bytes_under_names_that_memcached_takes(connect, url):
    store = connect()
    keys = ["two words", "ключ", "k" * 1000, "line\nbreak\0"]
    for key in keys:
        assert put(store, key, b"\x80\x04.") is True
    put(store, "large", LARGE)
    assert store.identity
    names = list(items_of(url))
    assert all(re.fullmatch(r"jobtastic-[a-z0-9-]{1,200}", name) for name in names)
    with client_of(url) as client:
        values = client.get_many([name for name in names if name.startswith("jobtastic-key-")]).values()
    lines = [value.split(b"\n", 2) for value in values]
    assert sorted(json.loads(key) for key, _, _ in lines) == sorted([*keys, "large"])
    assert all(
        "pieces" in json.loads(head)["result"] or payload == b"\x80\x04." for _, head, payload in lines
    )


def test_an_item_that_holds_another_key_counts_as_absent(connect, url):
    store = connect()
    put(store, "one")
    (one,) = items_of(url)
    put(store, "other", b"43")
    (other,) = set(items_of(url)) - {one}
    with client_of(url) as client:
        client.set(other, client.get(one))
    assert "it is not of this key" in counts_as_absent(store, "other")
    assert store.lookup("one").payload == b"42"


@pytest.mark.parametrize("planted", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("key", [b'"key"\n', b""], ids=["under its key", "without a key"])
def test_an_item_that_cannot_be_read_counts_as_absent(connect, url, planted, key):
    store = connect()
    put(store, "key")
    with client_of(url) as client:
        client.set(*items_of(url), key + planted)
    put(store, "other")
    counts_as_absent(store)
    assert store.lookup("other").payload == b"42"


def test_the_items_of_others_are_no_entries(connect, url):
    with client_of(url) as client:
        client.set("key", b"theirs")
        client.set("jobtastic", b"theirs")
    assert dict(connect().entries()) == {}


# Large payloads


def pieces_of(url):
    return [name for name in items_of(url) if name.startswith("jobtastic-piece-")]


def lose_a_piece(url):
    with client_of(url) as client:
        client.delete(pieces_of(url)[-1])


def test_a_large_result_whose_piece_is_lost_is_none(connect, url, clock):
    store = connect(clock)
    put(store, "key", LARGE)
    lose_a_piece(url)
    assert store.lookup("key") is None
    assert dict(store.entries()) == {}
    assert store.forget("key") is False
    put(store, "key", LARGE)
    lose_a_piece(url)
    assert run(store, "next") == running("next", clock())
    assert complete(store, "next", LARGE) is True
    lose_a_piece(url)
    assert complete(store, "late", LARGE[::-1]) is True
    assert (store.lookup("key").owner, store.lookup("key").payload) == ("late", LARGE[::-1])


def test_a_large_result_that_is_replaced_or_forgotten_leaves_no_piece(connect, url, clock):
    store = connect(clock)
    for _ in range(3):
        assert put(store, "key", LARGE, 1000) is True
        clock.advance(1000)
    assert len(pieces_of(url)) == 3
    run(store, "next")
    assert pieces_of(url) == []
    complete(store, "next", LARGE)
    store.forget("key")
    assert pieces_of(url) == []


def test_a_large_result_that_is_refused_leaves_no_piece(connect, url):
    store = connect()
    run(store, "owner")
    assert complete(store, "other", LARGE) is False
    assert pieces_of(url) == []


def test_a_result_that_the_server_has_no_room_for_is_an_error(tmp_path):
    with (
        memcached(tmp_path, "-I", "128k", "-o", "slab_chunk_max=131072") as (url, _),
        closing(open_patient(url)) as store,
    ):
        run(store, "owner")
        with pytest.raises(StoreError, match="too large"):
            complete(store, "owner", LARGE)
        assert store.lookup("key").owner == "owner"


# How long


@pytest.mark.parametrize(
    ("ttl", "days"),
    [(100, 100 / DAY), (30 * DAY, 30), (30 * DAY + 1, 30), (40 * DAY, 40), (366 * DAY, 366), (None, None)],
)
@pytest.mark.parametrize("payload", [b"42", LARGE], ids=["small", "large"])
def test_items_end_when_their_result_does(connect, url, ttl, days, payload):
    store = connect()
    assert put(store, "key", payload, ttl) is True
    assert store.lookup("key").payload == payload
    assert all(
        end == -1 if days is None else -60 < end - time.time() - days * DAY < 65
        for end in items_of(url).values()
    )


def test_a_result_that_lives_longer_than_memcached_can_count_is_there(connect, url):
    store = connect()
    put(store, "key", ttl=100 * 365 * DAY)
    assert store.lookup("key").payload == b"42"
    assert list(items_of(url).values()) == [-1]


def test_a_claim_stays_for_an_hour_after_its_lease(connect, url):
    store = connect()
    queue(store, "owner", lease=0.5)
    ((_, end),) = items_of(url).items()
    assert 3000 < end - time.time() < 3700
    time.sleep(0.5)
    assert store.lookup("key") is None
    assert queue(store, "next").previous == "owner"


def test_a_key_of_which_nothing_is_known_leaves_no_item(connect, url):
    store = connect()
    run(store, "owner", "released")
    store.release("released", "owner", "")
    put(store, "forgotten")
    store.forget("forgotten")
    run(store, "owner", "ended")
    complete(store, "owner", ttl=0, key="ended")
    assert items_of(url) == {}


def test_an_identity_that_was_dropped_is_noticed(connect, url):
    store, other = connect(), connect()
    identity = store.identity
    flush(url)
    assert other.identity == store.identity != identity
