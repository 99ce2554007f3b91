"""Stores on the public base: the least that one has to implement, and one whose records are small."""

import os
import threading
import uuid
from dataclasses import replace

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores.cas import CompareAndSwapStore, Entry
from jobtastic_signals.testing import Clock, StoreConformance
from jobtastic_signals.testing.conformance.base import complete, put, queue, renew, run, running
from tests.support.stores.clocks import Meddling
from tests.support.stores.unreadable import UNREADABLE, counts_as_absent

LARGE = b"a large payload"


class Table(CompareAndSwapStore):
    """Stands for a table of records with a version each, which only the right version can replace."""

    schemes = ("table",)

    def __init__(self, url="table://", **options):
        super().__init__(url, **options)
        self.rows, self.lock, self.name = {}, threading.Lock(), uuid.uuid4().hex

    @property
    def identity(self):
        return f"{self.name}:{os.getpid()}"

    def read(self, key):
        return self.load(key, self.rows.get(key, (0, None))[1])

    def exchange(self, key, decide):
        while True:
            version, record = self.rows.get(key, (0, None))
            before = self.load(key, record)
            answer, after = decide(before, self._clock())
            if after == before or self.replace(key, version, self.dump(after) if after else None):
                return answer

    def scan(self, prefix):
        yield from ((key, self.read(key)) for key in list(self.rows) if key.startswith(prefix))

    def replace(self, key, version, record):
        with self.lock:
            if self.rows.get(key, (0, None))[0] != version:
                return False
            self.rows[key] = version + 1, record
            return True


class Pages(Table):
    """A table whose records hold a few bytes of a payload, so that others lie on pages."""

    schemes = ("pages",)
    inline_size, piece_size = 8, 4
    looks_first = True

    def __init__(self, url="pages://", **options):
        super().__init__(url, **options)
        self.pages, self.written = {}, 0

    def read_pieces(self, pieces):
        found = [self.pages.get(name) for name in pieces.names]
        return None if None in found else found

    def write_pieces(self, pieces, contents, seconds):
        self.written += 1
        self.pages.update(zip(pieces.names, contents, strict=True))

    def drop_pieces(self, pieces):
        for name in pieces.names:
            self.pages.pop(name, None)


class TestTheLeast(StoreConformance):
    shared_by_processes = False

    @pytest.fixture
    def make_store(self):
        return lambda clock: Table(clock=clock)


@pytest.mark.thorough
class TestSmallRecords(StoreConformance):
    shared_by_processes = False
    examples, largest = 100, 100_000

    @pytest.fixture
    def make_store(self):
        return lambda clock: Pages(clock=clock)


@pytest.mark.parametrize("record", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_that_cannot_be_read_counts_as_absent(record):
    store = Table()
    store.rows["key"] = 7, record
    counts_as_absent(store)


# Pieces


@pytest.fixture
def pages(clock):
    return Pages(clock=clock)


def lose_a_piece(store):
    del store.pages[max(store.pages)]


@pytest.mark.parametrize(("size", "count"), [(0, 0), (8, 0), (9, 3), (12, 3), (13, 4)])
def test_a_payload_lies_in_as_many_pieces_as_it_needs(pages, size, count):
    payload = bytes(range(size))
    put(pages, "key", payload)
    assert len(pages.pages) == count
    assert pages.lookup("key").payload == payload
    assert [entry.result.payload for _, entry in pages.entries()] == [payload]


def test_pieces_that_nobody_can_find_are_dropped(pages, clock):
    for _ in range(3):
        assert put(pages, "key", LARGE, 10) is True
        assert len(pages.pages) == 4
        clock.advance(10)
    run(pages, "owner")
    assert pages.pages == {}
    complete(pages, "owner", LARGE)
    renew(pages, "again")
    complete(pages, "again", LARGE[::-1])
    assert len(pages.pages) == 4
    assert pages.forget("key") is True
    assert pages.pages == {}


def test_a_refused_result_leaves_no_pieces(pages):
    run(pages, "owner")
    assert complete(pages, "other", LARGE) is False
    assert (pages.written, pages.pages) == (0, {})


def test_pieces_are_written_once_by_who_is_late_and_dropped_if_the_record_is_not(clock):
    def taken_over():
        run(store, "next", lapsed=running("late", 0.0))

    store = Pages(clock=clock)
    run(store, "late")
    store._clock = Meddling(taken_over)
    assert complete(store, "late", LARGE) is False
    assert (store.written, store.pages) == (1, {})


def test_an_exchange_that_fails_leaves_no_pieces(pages, monkeypatch):
    put(pages, "before", LARGE)
    kept = dict(pages.pages)

    def fail(*_):
        raise StoreError("full")

    monkeypatch.setattr(pages, "replace", fail)
    with pytest.raises(StoreError, match="full"):
        put(pages, "key", LARGE)
    assert pages.pages == kept


def test_what_does_not_concern_a_result_leaves_its_pieces_alone(pages, monkeypatch):
    renew(pages, "owner")
    queue(pages, "other", "key")
    put(pages, "another key", LARGE)
    put(pages, "key", LARGE)
    complete(pages, "owner", LARGE)
    monkeypatch.setattr(pages, "read_pieces", lambda pieces: pytest.fail("read"))
    renew(pages, "owner")
    renew(pages, "owner")
    assert pages.release("key", "owner", "") is True
    assert len(pages.pages) == 8


@pytest.mark.parametrize("lapse", [0.0, 20.0], ids=["answers", "is kept"])
def test_a_result_whose_piece_is_lost_is_no_result(pages, clock, lapse):
    run(pages, "owner")
    run(pages, "waiter")
    complete(pages, "owner", LARGE, 10, kept_for=1000)
    lose_a_piece(pages)
    clock.advance(lapse)
    assert pages.lookup("key") is None
    assert dict(pages.entries()) == {}
    claim = run(pages, "waiter", waited_for="owner")
    assert claim == running("waiter", clock())
    assert pages.pages == {}


@pytest.mark.parametrize("use", ["forget", "complete", "lookup_or_claim"])
def test_a_lost_result_stands_in_nobodys_way(pages, clock, use):
    put(pages, "key", LARGE)
    lose_a_piece(pages)
    if use == "forget":
        assert pages.forget("key") is False
    elif use == "complete":
        assert put(pages, "key", LARGE[::-1]) is True
        assert pages.lookup("key").payload == LARGE[::-1]
    else:
        assert queue(pages, "caller").owner == "caller"
    assert len(pages.pages) == (4 if use == "complete" else 0)


def test_a_result_that_is_replaced_while_it_is_read_is_found_anew(pages, monkeypatch):
    put(pages, "key", LARGE)
    read, changes = pages.read_pieces, [lambda: (pages.forget("key"), put(pages, "key", LARGE[::-1]))]

    def replaced_meanwhile(pieces):
        if changes:
            changes.pop()()
        return read(pieces)

    monkeypatch.setattr(pages, "read_pieces", replaced_meanwhile)
    assert pages.lookup("key").payload == LARGE[::-1]


# Exchanges


def test_what_changes_nothing_is_not_written(clock):
    store = Table(clock=clock)
    run(store, "owner", "claimed")
    put(store, "ended", ttl=10)
    clock.advance(10)
    before = dict(store.rows)
    store.lookup("ended")
    assert store.forget("ended") is False
    assert store.release("ended", "owner", "") is False
    assert queue(store, "caller", "claimed", joins=False).owner == "owner"
    assert store.leave("claimed", "other", "caller") is None
    assert complete(store, "other", key="claimed") is False
    assert store.rows == before


def test_what_has_ended_goes_when_its_entry_changes(clock):
    store = Table(clock=clock)
    put(store, "key", ttl=10)
    clock.advance(10)
    claim = run(store, "owner")
    assert store.read("key") == Entry(replace(claim, previous=None))


def test_a_lookup_is_judged_by_a_time_after_its_entry_was_read():
    """By an earlier time, a result that has ended when it is stored would answer a new call."""
    clock = Clock()
    store = Table(clock=clock)
    run(store, "owner")
    run(store, "waiter")
    store._clock = Meddling(lambda: complete(store, "owner", ttl=0, kept_for=1000))
    assert store.lookup("key").owner == "owner"
    assert store.lookup("key") is None


def test_a_change_meanwhile_is_decided_anew(clock):
    store = Table(clock=clock)
    store._clock = Meddling(lambda: run(store, "faster"))
    assert run(store, "slower") == running("faster", clock(), awaited=True)


def test_who_looks_first_exchanges_nothing_for_a_result(pages, monkeypatch):
    put(pages, "key")
    monkeypatch.setattr(pages, "exchange", lambda *_: pytest.fail("exchanged"))
    assert queue(pages, "caller").payload == b"42"
    with pytest.raises(pytest.fail.Exception, match="exchanged"):
        queue(pages, "caller", fresh=True)


def test_a_result_and_its_index_are_one_step_where_the_store_can_do_that(clock, monkeypatch):
    store, steps = Table(clock=clock), []

    class Step:
        def __enter__(self):
            steps.append("begin")

        def __exit__(self, *_):
            steps.append("end")

    exchange = store.exchange
    monkeypatch.setattr(store, "in_one_step", Step)
    monkeypatch.setattr(store, "exchange", lambda key, decide: steps.append(key) or exchange(key, decide))
    complete(store, "owner", index="of owner")
    assert steps == ["begin", "key", "of owner", "end"]


def test_when_scopes_were_forgotten_is_read_only_where_that_matters(clock, monkeypatch):
    store, read = Table(clock=clock), []
    monkeypatch.setattr(store, "read_mark", lambda scope: read.append(scope) or Entry())
    queue(store, "caller", scopes=["scope"])
    run(store, "caller", scopes=["scope"])
    assert read == [], "nothing is there that could have been forgotten"
    queue(store, "later", scopes=["scope"])
    assert read == ["scope"]
