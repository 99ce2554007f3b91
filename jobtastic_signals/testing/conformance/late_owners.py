"""Results that come too late, and the index: what ``complete`` refuses, and what it stores beside."""

from __future__ import annotations

import pytest

from ...stores import Store
from ..clock import Clock
from .base import (
    LATER,
    LEASE,
    Fixtures,
    complete,
    delivery_of,
    payload_of,
    put,
    queue,
    queued,
    renew,
    result_of,
    run,
    running,
)

__all__ = ["LateOwners"]

ANOTHER = [("other", 1), ("owner", 2)]


class LateOwners(Fixtures):
    """The rest of the contract's sentences about ``complete``."""

    # Refused

    @pytest.mark.parametrize(("owner", "number"), ANOTHER)
    def test_complete_refuses_while_another_delivery_runs(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        claim = run(store, "owner")
        assert store.complete("key", owner, delivery_of(owner, number), b"42", ttl=None) is False
        assert store.complete("key", "owner", None, b"42", ttl=None) is False
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("lapsed")
    def test_complete_refuses_the_owner_whose_claim_was_taken_over(self, store: Store, clock: Clock) -> None:
        run(store, "next")
        assert complete(store, "late", b"late", ran_for=LEASE) is False
        assert store.lookup("key") == running("next", clock(), awaited=True)

    @pytest.mark.usefixtures("lapsed")
    def test_complete_never_overwrites_what_came_after_a_late_owner(self, store: Store, clock: Clock) -> None:
        run(store, "next")
        complete(store, "next", b"newer")
        assert complete(store, "late", b"late") is False
        assert store.lookup("key") == result_of("next", clock(), b"newer")

    @pytest.mark.usefixtures("lapsed")
    @pytest.mark.parametrize(("ran_for", "stored"), [(LEASE, False), (1, True), (0, True)])
    def test_complete_refuses_if_a_result_that_is_only_kept_is_of_a_later_run(
        self, store: Store, clock: Clock, ran_for: float, stored: bool
    ) -> None:
        run(store, "next")
        complete(store, "next", b"newer", ttl=0, kept_for=1000)
        clock.advance(1)
        assert complete(store, "late", b"late", ttl=100, ran_for=ran_for) is stored
        assert run(store, "waiter", waited_for="next").owner == ("late" if stored else "next")

    @pytest.mark.usefixtures("lapsed")
    def test_complete_is_not_refused_for_a_later_run_of_which_nothing_is_there_any_more(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "next")
        complete(store, "next", b"newer", ttl=0, kept_for=1000)
        clock.advance(1000)
        assert complete(store, "late", b"late", ran_for=LEASE + 1000) is True
        assert payload_of(store.lookup("key")) == b"late"

    def test_complete_refuses_a_second_result_of_the_same_owner(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", b"first")
        assert complete(store, "owner", b"second") is False
        assert put(store, "key", b"third") is False
        assert store.lookup("key") == result_of("owner", clock(), b"first")

    def test_a_success_replaces_a_failure_that_is_remembered(self, store: Store, clock: Clock) -> None:
        complete(store, "one", b"error", ttl=1000, state="FAILURE")
        clock.advance(1)
        assert complete(store, "two", b"error", ttl=1000, state="FAILURE") is False
        assert complete(store, "other", ttl=1000, ran_for=1.5) is False
        assert complete(store, "other", ttl=1000) is True
        assert store.lookup("key") == result_of("other", clock(), ttl=1000)

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize("stale_for", [0, 1000])
    def test_a_result_for_no_time_replaces_no_success_that_callers_get(
        self, store: Store, clock: Clock, stale_for: float
    ) -> None:
        complete(store, "owner", ttl=100, stale_for=stale_for)
        result = store.entry("key").result
        clock.advance(100 if stale_for else 99)
        run(store, "refuses", fresh=True)
        run(store, "waiter", fresh=True, called=clock())
        assert complete(store, "refuses", b"43", ttl=0, kept_for=1000) is False
        assert store.entry("key").result == result

    @pytest.mark.usefixtures("waited")
    def test_a_result_for_no_time_replaces_a_failure(self, store: Store, clock: Clock) -> None:
        complete(store, "first", b"error", ttl=1000, state="FAILURE")
        assert complete(store, "owner", ttl=0, kept_for=1000) is True
        assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    def test_complete_that_is_refused_drops_no_queued_claim(self, store: Store, clock: Clock) -> None:
        complete(store, "first", ttl=10)
        renew(store, "owner")
        store.release("key", "owner", "", requeue=LEASE)
        assert complete(store, "owner", ttl=10) is False
        clock.advance(10)
        assert store.lookup("key") == queued("owner", clock() - 10)

    def test_complete_replaces_a_result_that_answers_nobody_any_more(
        self, store: Store, clock: Clock
    ) -> None:
        complete(store, "owner", b"old", 1000)
        clock.advance(1000)
        assert complete(store, "other", b"new") is True
        assert store.lookup("key") == result_of("other", clock(), b"new")

    def test_whoever_has_the_claim_completes_though_a_result_is_there(
        self, store: Store, clock: Clock
    ) -> None:
        complete(store, "other")
        clock.advance(LATER)
        renew(store, "owner", ran_for=1)
        assert complete(store, "owner", b"43") is True
        assert store.lookup("key") == result_of("owner", clock(), b"43", began=clock() - 1)

    # The index

    @pytest.mark.parametrize("ttl", [1000.0, None])
    def test_the_index_leads_to_the_key_of_a_result(
        self, store: Store, clock: Clock, ttl: float | None
    ) -> None:
        began = clock()
        run(store, "owner", "ключ")
        clock.advance(LATER)
        complete(store, "owner", key="ключ", ttl=ttl, state="FAILURE", index="of owner")
        result = result_of("owner", clock(), "ключ".encode(), ttl, began=began, state="FAILURE")
        clock.advance(999)
        assert store.lookup("of owner") == result
        assert payload_of(store.lookup("ключ")) == b"42"
        clock.advance(1)
        assert (store.lookup("of owner") is None) == (ttl is not None)

    def test_the_index_can_last_for_another_time(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", index="of owner", index_ttl=100)
        assert store.lookup("of owner") == result_of("owner", clock(), b"key", 100)

    @pytest.mark.usefixtures("waited")
    def test_the_index_of_a_result_that_is_only_kept_lasts_for_its_own_time(
        self, store: Store, clock: Clock
    ) -> None:
        complete(store, "owner", ttl=0, kept_for=1000, index="of owner", index_ttl=100)
        assert store.lookup("of owner") == result_of("owner", clock(), b"key", 100)

    @pytest.mark.usefixtures("waited")
    def test_the_index_is_left_alone_if_it_would_last_for_no_time(self, store: Store) -> None:
        put(store, "of owner", b"before")
        complete(store, "owner", ttl=0, kept_for=1000, index="of owner")
        assert payload_of(store.lookup("of owner")) == b"before"

    def test_the_index_replaces_what_was_there(self, store: Store, clock: Clock) -> None:
        put(store, "of owner", b"before")
        complete(store, "owner", index="of owner", index_ttl=10)
        assert store.lookup("of owner") == result_of("owner", clock(), b"key", 10)

    def test_nothing_is_indexed_that_is_not_stored(self, store: Store) -> None:
        complete(store, "first")
        assert complete(store, "owner", index="of owner") is False
        assert complete(store, "owner", key="other key", ttl=0, index="of owner", index_ttl=100) is True
        assert store.lookup("of owner") is None

    def test_the_index_leaves_a_claim_alone(self, store: Store, clock: Clock) -> None:
        claim = queue(store, "caller", "of owner")
        complete(store, "owner", index="of owner", index_ttl=10)
        clock.advance(10)
        assert store.lookup("of owner") == claim
