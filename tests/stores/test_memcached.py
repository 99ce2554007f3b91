"""The store on a real Memcached: the contract, its items, and who is faster."""

import json
import multiprocessing
import multiprocessing.dummy
import re
import time
from contextlib import closing
from functools import partial

import pytest

from jobtastic_signals import Claim, Result, StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import Clock, StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.races import contend

from ..workers.servers import memcached
from .clocks import Meddling, forked_in_the_middle
from .memcached_items import client_of, flush, items_of
from .operations import LARGE, PATIENT, open_patient

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


def test_processes_are_atomic(url):
    contend(multiprocessing.get_context("spawn"), partial(open_patient, url), rounds=2)


@forks
def test_a_child_has_connections_of_its_own(connect, url):
    store = connect()
    store.settle("key", "owner", b"42", None)
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
    store = raced(lambda other: other.admit("key", "other", 60))
    assert store.admit("key", "me", 60).owner == "other"


def test_a_claim_that_went_meanwhile_comes_back_by_no_mark(raced, connect, clock):
    connect(clock).admit("key", "gone", 60)
    store = raced(lambda other: other.release("key", "gone"))
    assert store.admit("key", "me", 60) == Claim("me", clock() + 60)


def test_a_claim_that_was_taken_over_meanwhile_is_not_released(raced, connect, clock):
    connect(clock).admit("key", "me", 60)
    store = raced(lambda other: other.admit("key", "next", 60, stale="me"))
    assert store.release("key", "me") is False
    assert store.lookup("key") == Claim("next", clock() + 60)


def test_a_claim_that_was_taken_over_meanwhile_settles_nothing_and_leaves_nothing(raced, connect, url):
    connect(Clock()).admit("key", "me", 60)
    store = raced(lambda other: other.admit("key", "next", 60, stale="me"))
    assert store.settle("key", "me", LARGE, None) is False
    assert store.lookup("key").owner == "next"
    assert len(items_of(url)) == 1


def test_a_claim_and_its_successors_are_not_mixed_up_by_equal_contents(raced, connect, clock):
    connect(clock).admit("key", "me", 60)

    def anew(other):
        other.release("key", "me")
        other.admit("key", "me", 60)
        other.admit("key", "waiter", 60)

    store = raced(anew)
    assert store.release("key", "me", unless_waited=True) is False


def test_a_result_that_is_replaced_while_it_is_read_is_found_anew(raced, connect):
    connect(Clock()).settle("key", "old", LARGE, None)

    def replace(other):
        other.forget("key")
        other.settle("key", "new", LARGE[::-1], None)

    assert raced(replace).lookup("key") == Result("new", LARGE[::-1], None, None)
    assert raced(replace).admit("key", "me", 60).owner == "new"


def test_one_who_is_always_too_late_is_told_when_the_timeout_is_over(raced, connect):
    connect(Clock()).admit("key", "me", 60)
    leases = iter(range(1000, 10**9))
    store = raced(lambda other: other.extend("key", "me", next(leases)), times=10**9, timeout=0.25)
    before = time.monotonic()
    with pytest.raises(StoreError, match="others were faster to change 'key'"):
        store.release("key", "me")
    assert time.monotonic() - before < 2, "the timeout is 0.25 s"


# Items


def test_items_are_json_and_bytes_under_names_that_memcached_takes(connect, url):
    store = connect()
    keys = ["two words", "ключ", "k" * 1000, "line\nbreak\0"]
    for key in keys:
        assert store.settle(key, "owner", b"\x80\x04.", None) is True
    store.settle("large", "owner", LARGE, None)
    assert store.identity
    names = list(items_of(url))
    assert all(re.fullmatch(r"jobtastic-[a-z0-9-]{1,200}", name) for name in names)
    with client_of(url) as client:
        values = client.get_many([name for name in names if name.startswith("jobtastic-key-")]).values()
    heads = [json.loads(value.partition(b"\n")[0]) for value in values]
    assert sorted(head[0] for head in heads) == sorted([*keys, "large"])
    assert [value.partition(b"\n")[2] for value in values].count(b"\x80\x04.") == len(keys)


def test_an_item_that_holds_another_key_is_an_error_and_no_answer(connect, url):
    store = connect()
    store.settle("one", "owner", b"42", None)
    (one,) = items_of(url)
    store.settle("other", "owner", b"43", None)
    (other,) = set(items_of(url)) - {one}
    with client_of(url) as client:
        client.set(other, client.get(one))
    with pytest.raises(StoreError, match="the item of 'other' holds 'one'"):
        store.lookup("other")


@pytest.mark.parametrize("planted", [b"", b"\x80\x04K\x01.", b"[]\n", b'["key"]\n', b'["key", 1, 2, 3]\n42'])
def test_an_item_that_holds_something_else_is_an_error(connect, url, planted):
    store = connect()
    store.settle("key", "owner", b"42", None)
    with client_of(url) as client:
        client.set(*items_of(url), planted)
    for use in (store.lookup, store.forget, lambda _: dict(store.entries())):
        with pytest.raises(StoreError, match="did not write"):
            use("key")


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
    store.settle("key", "owner", LARGE, None)
    lose_a_piece(url)
    assert store.lookup("key") is None
    assert dict(store.entries()) == {}
    assert store.forget("key") is False
    store.settle("key", "owner", LARGE, None)
    lose_a_piece(url)
    assert store.admit("key", "next", 60) == Claim("next", clock() + 60)
    assert store.settle("key", "next", LARGE, None) is True
    lose_a_piece(url)
    assert store.settle("key", "late", LARGE[::-1], None) is True
    assert store.lookup("key") == Result("late", LARGE[::-1], None, None)


def test_a_large_result_that_is_replaced_or_forgotten_leaves_no_piece(connect, url, clock):
    store = connect(clock)
    for _ in range(3):
        assert store.settle("key", "owner", LARGE, 1000) is True
        clock.advance(1000)
    assert len(pieces_of(url)) == 3
    store.admit("key", "next", 60)
    assert pieces_of(url) == []
    store.settle("key", "next", LARGE, None)
    store.forget("key")
    assert pieces_of(url) == []


def test_a_large_result_that_is_refused_leaves_no_piece(connect, url):
    store = connect()
    store.admit("key", "owner", 60)
    assert store.settle("key", "other", LARGE, None) is False
    assert pieces_of(url) == []


def test_a_result_that_the_server_has_no_room_for_is_an_error(tmp_path):
    with (
        memcached(tmp_path, "-I", "128k", "-o", "slab_chunk_max=131072") as (url, _),
        closing(open_patient(url)) as store,
    ):
        store.admit("key", "owner", 60)
        with pytest.raises(StoreError, match="too large"):
            store.settle("key", "owner", LARGE, None)
        assert store.lookup("key").owner == "owner"


# How long


@pytest.mark.parametrize(
    ("ttl", "days"),
    [(100, 100 / DAY), (30 * DAY, 30), (30 * DAY + 1, 30), (40 * DAY, 40), (366 * DAY, 366), (None, None)],
)
@pytest.mark.parametrize("payload", [b"42", LARGE], ids=["small", "large"])
def test_items_end_when_their_result_does(connect, url, ttl, days, payload):
    store = connect()
    assert store.settle("key", "owner", payload, ttl) is True
    assert store.lookup("key").payload == payload
    assert all(
        end == -1 if days is None else -5 < end - time.time() - days * DAY < 65
        for end in items_of(url).values()
    )


def test_a_result_that_lives_longer_than_memcached_can_count_is_there(connect, url):
    store = connect()
    store.settle("key", "owner", b"42", 100 * 365 * DAY)
    assert store.lookup("key").payload == b"42"
    assert list(items_of(url).values()) == [-1]


def test_a_claim_stays_for_an_hour_after_its_lease(connect, url):
    store = connect()
    store.admit("key", "owner", 0.5)
    ((_, end),) = items_of(url).items()
    assert 3500 < end - time.time() < 3700
    time.sleep(0.5)
    assert store.lookup("key") is None
    assert store.admit("key", "next", 60).previous == "owner"


def test_a_key_of_which_nothing_is_known_leaves_no_item(connect, url):
    store = connect()
    store.admit("released", "owner", 60)
    store.release("released", "owner")
    store.settle("forgotten", "owner", b"42", None)
    store.forget("forgotten")
    store.admit("ended", "owner", 60)
    store.settle("ended", "owner", b"42", 0)
    assert items_of(url) == {}


def test_an_identity_that_was_dropped_is_noticed(connect, url):
    store, other = connect(), connect()
    identity = store.identity
    flush(url)
    assert other.identity == store.identity != identity
