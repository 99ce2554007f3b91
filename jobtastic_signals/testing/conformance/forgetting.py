"""``forget`` and ``forget_scope``: what is dropped, and runs whose result answers no later call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ...stores import REMEMBERED_FOR, Claim, Entry, Result, Store
from ..clock import Clock
from .base import (
    LATER,
    LEASE,
    Fixtures,
    complete,
    payload_of,
    put,
    queue,
    queued,
    renew,
    result_of,
    run,
    running,
)

__all__ = ["Forgetting"]

SCOPES = ("task:a", "tag:b")

Forget = Callable[[Store], object]

FORGET: dict[str, Forget] = {
    "its key": lambda store: store.forget("key"),
    "a scope of it": lambda store: store.forget_scope("tag:b", ttl=None),
    "a scope for a time": lambda store: store.forget_scope("task:a", ttl=1e6),
}

_each_way = pytest.mark.parametrize("forget", FORGET.values(), ids=FORGET)


class Forgetting(Fixtures):
    """The contract's sentences about what is forgotten."""

    # What is stored

    def test_forget_drops_the_result_once(self, store: Store) -> None:
        complete(store, "owner")
        assert store.forget("key") is True
        assert store.lookup("key") is None
        assert store.forget("key") is False

    def test_forget_says_that_there_was_none(self, store: Store, clock: Clock) -> None:
        assert store.forget("key") is False
        complete(store, "owner", ttl=1000)
        clock.advance(1000)
        assert store.forget("key") is False

    def test_forget_drops_a_stale_result(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", ttl=10, stale_for=1000)
        clock.advance(10)
        assert store.forget("key") is True
        assert queue(store, "caller") == queued("caller", clock())

    @pytest.mark.usefixtures("waited")
    def test_forget_drops_what_is_kept_for_others(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", ttl=0, kept_for=1000)
        assert store.forget("key") is False
        assert run(store, "waiter", waited_for="owner") == running("waiter", clock())

    def test_a_store_says_when_a_scope_was_forgotten(self, store: Store, clock: Clock) -> None:
        first = clock()
        store.forget_scope("tag:a", ttl=1000)
        clock.advance(999)
        assert store.forgotten("tag:a") == first
        assert store.forgotten("tag:b") is None
        clock.advance(1)
        assert store.forgotten("tag:a") in (None, first)  # A server may drop it by a clock of its own.
        store.forget_scope("tag:a", ttl=None)
        clock.advance(1e6)
        assert store.forgotten("tag:a") == first + 1000

    def test_forget_scope_forgets_all_keys_of_the_scope_and_no_others(
        self, store: Store, clock: Clock
    ) -> None:
        keys = {"one": ["tag:a"], "both": ["tag:a", "tag:b"], "other": ["tag:b"], "none": []}
        for key in keys:
            put(store, key)
        clock.advance(1)
        store.forget_scope("tag:a", ttl=None)
        found = {key for key, scopes in keys.items() if store.lookup(key, scopes=scopes)}
        assert found == {"other", "none"}
        assert {key for key in keys if store.entry(key, scopes=keys[key])} == found
        answers = {key: queue(store, "caller", key, scopes=scopes) for key, scopes in keys.items()}
        assert {key for key, answer in answers.items() if isinstance(answer, Result)} == found
        deliveries = {key: run(store, "caller", key, scopes=scopes) for key, scopes in keys.items()}
        assert {key for key, answer in deliveries.items() if isinstance(answer, Result)} == found

    def test_a_scope_that_was_forgotten_is_no_key(self, store: Store) -> None:
        store.forget_scope("tag:a", ttl=None)
        assert store.lookup("tag:a") is None
        assert store.entry("tag:a") == Entry()
        assert list(store.entries()) == []

    def test_what_is_stored_by_a_later_run_is_not_forgotten(self, store: Store, clock: Clock) -> None:
        put(store, "key", b"old")
        store.forget_scope("tag:b", ttl=None)
        clock.advance(1)
        run(store, "owner", scopes=SCOPES)
        complete(store, "owner", b"new", scopes=SCOPES)
        assert payload_of(store.lookup("key", scopes=SCOPES)) == b"new"
        assert payload_of(queue(store, "caller", scopes=SCOPES)) == b"new"
        assert payload_of(run(store, "caller", scopes=SCOPES)) == b"new"

    def test_a_scope_is_forgotten_for_the_longest_time_given(self, store: Store, clock: Clock) -> None:
        put(store, "key")
        for ttl in (1000.0, 10.0):
            store.forget_scope("tag:b", ttl=ttl)
        clock.advance(999)
        assert store.lookup("key", scopes=SCOPES) is None
        store.forget_scope("tag:b", ttl=None)
        store.forget_scope("tag:b", ttl=10)
        clock.advance(1e6)
        assert store.lookup("key", scopes=SCOPES) is None

    # Runs that have begun

    @_each_way
    def test_the_value_of_a_run_that_had_begun_does_not_come_back(
        self, store: Store, clock: Clock, forget: Forget
    ) -> None:
        run(store, "owner", scopes=SCOPES)
        clock.advance(1)
        forget(store)
        clock.advance(1)
        assert renew(store, "owner") is True
        assert complete(store, "owner", b"old", ttl=1000, stale_for=1000, scopes=SCOPES) is True
        assert store.lookup("key", scopes=SCOPES) is None
        assert store.entry("key", scopes=SCOPES) == Entry()
        assert queue(store, "caller", scopes=SCOPES) == queued("caller", clock())
        assert run(store, "caller", scopes=SCOPES) == running("caller", clock())

    def test_nor_does_it_where_the_run_did_not_name_its_scopes(self, store: Store, clock: Clock) -> None:
        run(store, "owner")
        clock.advance(1)
        store.forget_scope("tag:b", ttl=None)
        complete(store, "owner", b"old")
        assert store.lookup("key", scopes=SCOPES) is None
        assert isinstance(queue(store, "caller", scopes=SCOPES), Claim)

    @_each_way
    def test_in_doubt_a_run_is_forgotten(self, store: Store, forget: Forget) -> None:
        run(store, "owner", scopes=SCOPES)
        forget(store)
        complete(store, "owner", b"old", scopes=SCOPES)
        assert store.lookup("key", scopes=SCOPES) is None

    @_each_way
    def test_it_answers_calls_that_were_made_before_the_run_began_and_no_others(
        self, store: Store, clock: Clock, forget: Forget
    ) -> None:
        earlier = clock()
        clock.advance(1)
        run(store, "owner")
        run(store, "waiter", called=earlier)
        during = clock()
        clock.advance(1)
        forget(store)
        complete(store, "owner", b"old", ttl=1000, kept_for=1000, scopes=SCOPES)
        assert payload_of(run(store, "waiter", called=earlier, scopes=SCOPES)) == b"old"
        for called in (during, clock(), None):
            answer = store.claim(
                "key", "late", "late/1", LEASE, called=called, waited_for="owner", scopes=SCOPES
            )
            assert isinstance(answer, Claim)

    @_each_way
    def test_a_later_forgetting_does_not_hide_an_earlier_one(
        self, store: Store, clock: Clock, forget: Forget
    ) -> None:
        run(store, "owner")
        run(store, "waiter")
        clock.advance(1)
        forget(store)
        clock.advance(1)
        called = clock()
        clock.advance(1)
        forget(store)
        complete(store, "owner", b"old", ttl=1000, kept_for=1000, scopes=SCOPES)
        assert isinstance(run(store, "caller", called=called, waited_for="owner", scopes=SCOPES), Claim)

    @_each_way
    def test_a_call_during_a_forgotten_run_joins_the_next_one(
        self, store: Store, clock: Clock, forget: Forget
    ) -> None:
        began = clock()
        run(store, "owner")
        clock.advance(1)
        assert queue(store, "before", scopes=SCOPES).forgotten is None
        forget(store)
        following = queued("first", clock(), fresh=True)
        claim = running("owner", began, joined=1, forgotten=clock(), next=following)
        assert queue(store, "first", scopes=SCOPES) == claim == store.lookup("key", scopes=SCOPES)
        assert queue(store, "second", scopes=SCOPES).next.joined == 1
        assert queue(store, "second", scopes=SCOPES).joined == 1
        complete(store, "owner", b"old", scopes=SCOPES)
        assert store.lookup("key", scopes=SCOPES) == queued("first", clock(), fresh=True, joined=2)

    @_each_way
    def test_a_delivery_waits_behind_a_forgotten_run_without_relying_on_it(
        self, store: Store, clock: Clock, forget: Forget
    ) -> None:
        earlier = clock()
        clock.advance(1)
        run(store, "owner")
        clock.advance(1)
        forget(store)
        found = run(store, "late", scopes=SCOPES)
        assert (found.owner, found.awaited, found.next.owner) == ("owner", False, "late")
        found = run(store, "earlier", called=earlier, scopes=SCOPES)
        assert (found.owner, found.awaited, found.next.owner) == ("owner", True, "late")

    def test_a_claim_that_is_queued_or_was_made_since_is_not_forgotten(
        self, store: Store, clock: Clock
    ) -> None:
        claim = queue(store, "queued")
        clock.advance(1)
        store.forget("key")
        assert store.lookup("key") == claim
        clock.advance(1)
        assert run(store, "queued") == running("queued", clock()) == store.lookup("key")
        complete(store, "queued", b"new")
        assert store.lookup("key") == result_of("queued", clock(), b"new")

    @pytest.mark.usefixtures("lapsed")
    def test_the_run_of_a_lapsed_claim_is_forgotten_too(self, store: Store, clock: Clock) -> None:
        store.forget("key")
        assert renew(store, "late") is True
        assert store.lookup("key").forgotten == clock()  # type: ignore[union-attr]
        complete(store, "late", b"old")
        assert store.lookup("key") is None

    def test_a_run_is_forgotten_for_as_long_as_it_goes_on(self, store: Store, clock: Clock) -> None:
        run(store, "owner", lease=2 * REMEMBERED_FOR)
        clock.advance(1)
        store.forget("key")
        clock.advance(2 * REMEMBERED_FOR)
        renew(store, "owner")
        assert complete(store, "owner", b"old") is True
        assert store.lookup("key") is None

    def test_a_run_without_a_claim_is_forgotten_by_its_scopes(self, store: Store, clock: Clock) -> None:
        clock.advance(LATER)
        store.forget_scope("tag:b", ttl=None)
        clock.advance(1)
        assert complete(store, "owner", b"old", ran_for=LATER, scopes=SCOPES) is True
        assert store.lookup("key") is None

    # What is forgotten stands in nobody's way

    def test_a_forgotten_success_refuses_neither_a_failure_nor_a_late_result(
        self, store: Store, clock: Clock
    ) -> None:
        for key in ("claimed", "unclaimed"):
            put(store, key, b"old")
        clock.advance(1)
        store.forget_scope("tag:b", ttl=None)
        clock.advance(1)
        run(store, "owner", "claimed", scopes=SCOPES)
        for key, state in (("claimed", "FAILURE"), ("unclaimed", "SUCCESS")):
            assert complete(store, "owner", b"new", key=key, state=state, scopes=SCOPES) is True
            assert payload_of(store.lookup(key, scopes=SCOPES)) == b"new"

    def test_no_copy_is_stored_under_a_key_that_was_forgotten_since(self, store: Store, clock: Clock) -> None:
        queue(store, "caller", "of owner")
        run(store, "owner")
        clock.advance(1)
        store.forget("of owner")
        assert complete(store, "owner", index="of owner") is True
        assert isinstance(store.lookup("of owner"), Claim)
