"""One more run: calls that are *fresh* or a *rerun*, and the next claim behind a running one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ...stores import Claim, Result, Store
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
    run,
    running,
)

__all__ = ["NextClaims"]

_one_more = pytest.mark.parametrize(
    "asks", [{"fresh": True}, {"rerun": True}], ids=lambda asks: next(iter(asks))
)


class NextClaims(Fixtures):
    """The contract's sentences about runs that begin after the present one."""

    # lookup_or_claim

    @_one_more
    def test_one_call_during_a_run_gets_the_next_claim_and_all_others_find_it(
        self, store: Store, clock: Clock, asks: dict[str, Any]
    ) -> None:
        run(store, "owner")
        clock.advance(LATER)
        following = queued("first", clock(), fresh=True)
        for caller in ("first", "second", "first"):
            found = queue(store, caller, joins=False, **asks)
            assert found == running("owner", clock() - LATER, next=following) == store.lookup("key")
            assert store.entry("key").next == following

    def test_a_fresh_call_joins_the_next_run_and_a_rerun_the_present_one(self, store: Store) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        queue(store, "caller", fresh=True)
        found = queue(store, "caller", rerun=True)
        assert (found.joined, found.next.joined) == (1, 1)

    def test_a_call_of_which_the_message_goes_out_marks_the_run_that_it_relies_on(self, store: Store) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        found = queue(store, "caller", fresh=True, goes_out=True)
        assert (found.awaited, found.next.awaited) == (False, True)
        assert queue(store, "caller", rerun=True, goes_out=True).awaited is True

    @_one_more
    def test_a_call_whose_message_expires_gets_no_next_claim_and_finds_one(
        self, store: Store, asks: dict[str, Any]
    ) -> None:
        run(store, "owner")
        assert queue(store, "expiring", expires=10, **asks).next is None
        queue(store, "next", rerun=True)
        assert queue(store, "expiring", expires=10, **asks).next.owner == "next"

    def test_no_stored_result_answers_a_fresh_call_and_others_still_get_it(
        self, store: Store, clock: Clock
    ) -> None:
        put(store, "key", b"old", ttl=1000)
        assert queue(store, "fresh", fresh=True) == queued("fresh", clock(), fresh=True)
        assert payload_of(queue(store, "caller")) == b"old"
        assert run(store, "fresh", called=clock(), fresh=True).owner == "fresh"
        assert payload_of(queue(store, "caller")) == payload_of(store.lookup("key")) == b"old"
        complete(store, "fresh", b"new")
        assert payload_of(queue(store, "caller")) == b"new"

    def test_a_stored_result_answers_a_rerun_while_nothing_runs(self, store: Store, clock: Clock) -> None:
        put(store, "key", b"old")
        assert payload_of(queue(store, "caller", rerun=True)) == b"old"
        queue(store, "fresh", fresh=True)
        assert payload_of(queue(store, "caller", rerun=True)) == b"old"
        run(store, "fresh", fresh=True)
        assert queue(store, "caller", rerun=True) == running(
            "fresh", clock(), joined=1, next=queued("caller", clock(), fresh=True)
        )

    def test_a_fresh_call_joins_only_a_queued_claim_that_is_fresh(self, store: Store, clock: Clock) -> None:
        queue(store, "plain")
        found = queue(store, "fresh", fresh=True)
        assert found == queued("fresh", clock(), awaited=True, fresh=True, previous="plain")
        assert queue(store, "again", fresh=True).owner == "fresh"
        assert queue(store, "caller").owner == "fresh"
        assert queue(store, "caller", rerun=True).joined == 3

    @_one_more
    def test_a_next_claim_that_lapsed_is_renewed_by_its_owner_or_replaced_by_another(
        self, store: Store, clock: Clock, asks: dict[str, Any]
    ) -> None:
        run(store, "owner", lease=1000)
        queue(store, "next", **asks)
        clock.advance(LEASE)
        assert store.lookup("key").next is None  # type: ignore[union-attr]
        following = queued("next", clock() - LEASE, 2 * LEASE, fresh=True)
        assert queue(store, "next", **asks).next == following
        clock.advance(LEASE)
        following = queued("other", clock(), fresh=True, awaited=True)
        assert queue(store, "other", **asks).next == following

    # What becomes of it

    def test_the_next_claim_is_the_claim_when_the_run_before_has_ended(
        self, store: Store, clock: Clock
    ) -> None:
        for key, end in (("completed", complete), ("released", store.release)):
            run(store, "owner", key)
            queue(store, "next", key, rerun=True)
            queue(store, "caller", key, fresh=True)
            if end is complete:
                complete(store, "owner", ttl=0, key=key)
            else:
                store.release(key, "owner", "")
            assert store.lookup(key) == queued("next", clock(), fresh=True, joined=1)

    def test_the_next_claim_is_the_claim_when_the_one_before_has_lapsed(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "late")
        clock.advance(LATER)
        queue(store, "next", rerun=True)
        clock.advance(LATER)
        following = queued("next", clock() - LATER, fresh=True, awaited=True)
        assert store.lookup("key") == following
        assert store.entry("key").next is None
        assert dict(store.entries())["key"].claim == following
        assert queue(store, "caller") == replace(following, joined=1)
        assert store.release("key", "late", "") is False

    def test_a_next_claim_holds_back_no_delivery_and_is_dropped_by_the_run(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        clock.advance(1)
        store.release("key", "owner", "")
        assert run(store, "other") == running("other", clock(), awaited=True, previous="next")
        assert store.entry("key").next is None
        complete(store, "other", ttl=0, kept_for=1000)
        assert run(store, "next", called=clock() - 1, fresh=True).owner == "other"

    def test_a_retry_that_displaces_a_next_claim_keeps_its_result_for_that(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        called = clock()
        store.release("key", "owner", "", requeue=LATER)
        assert store.entry("key").next == queued("next", clock(), fresh=True)
        clock.advance(1)
        assert store.claim("key", "owner", delivery_of("owner", 2), LEASE) == running(
            "owner", clock(), delivery=delivery_of("owner", 2), awaited=True
        )
        store.complete("key", "owner", delivery_of("owner", 2), b"42", ttl=0, kept_for=1000)
        assert payload_of(run(store, "next", called=called, fresh=True)) == b"42"

    @pytest.mark.parametrize("delivery", [None, "", delivery_of("next")])
    def test_release_and_complete_give_up_the_next_claim_of_an_owner(
        self, store: Store, clock: Clock, delivery: str | None
    ) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        assert store.release("key", "next", delivery) is True
        assert store.release("key", "next", delivery) is False
        assert store.lookup("key") == running("owner", clock())
        queue(store, "next", fresh=True)
        clock.advance(LEASE)
        assert complete(store, "next", ttl=0) is True
        assert store.lookup("key") is None
        assert queue(store, "caller").previous == "owner"

    def test_a_next_claim_is_requeued_and_remembered_as_any_queued_one(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        queue(store, "waiting", fresh=True, goes_out=True)
        assert store.release("key", "next", None, unless_awaited=True) is False
        assert store.release("key", "next", None, requeue=5) is True
        assert store.entry("key").next == queued("next", clock(), 5, awaited=True)
        assert store.release("key", "next", None) is True
        assert store.release("key", "next", None) is False
        assert store.entry("key").next is None
        store.release("key", "owner", "")
        assert run(store, "other").awaited is True

    def test_renew_keeps_the_next_claim(self, store: Store) -> None:
        run(store, "owner")
        queue(store, "next", rerun=True)
        assert renew(store, "owner", lease=1000) is True
        assert store.entry("key").next is not None
        found = run(store, "owner")
        assert found == store.lookup("key")
        assert found.next.owner == "next"

    # claim

    def test_a_fresh_delivery_waits_behind_an_earlier_run_without_relying_on_it(
        self, store: Store, clock: Clock
    ) -> None:
        began = clock()
        run(store, "owner")
        clock.advance(LATER)
        called = clock()
        following = queued("waiter", clock(), fresh=True)
        claim = running("owner", began, next=following)
        for _ in range(2):
            assert run(store, "waiter", called=called, fresh=True) == claim
        awaited = replace(claim, next=replace(following, awaited=True))
        assert run(store, "other", called=called, fresh=True) == awaited
        complete(store, "owner", ttl=1000)
        assert isinstance(run(store, "waiter", called=called, waited_for="owner", fresh=True), Claim)

    def test_a_fresh_delivery_relies_on_a_run_that_began_after_its_call(
        self, store: Store, clock: Clock
    ) -> None:
        called = clock()
        clock.advance(1)
        run(store, "owner")
        claim = running("owner", clock(), awaited=True)
        assert run(store, "waiter", called=called, fresh=True) == claim == store.lookup("key")
        complete(store, "owner", ttl=0, kept_for=1000)
        assert isinstance(run(store, "waiter", called=called, fresh=True), Result)

    @pytest.mark.parametrize(
        ("called", "answered"), [(None, False), (-1.0, True), (0.0, False), (1.0, False)]
    )
    def test_only_a_run_that_began_after_its_call_answers_a_fresh_delivery(
        self, store: Store, clock: Clock, called: float | None, answered: bool
    ) -> None:
        complete(store, "owner", ttl=1000)
        made = None if called is None else clock() + called
        clock.advance(2)
        found = run(store, "fresh", called=made, waited_for="owner", fresh=True)
        assert isinstance(found, Result) is answered
