"""Results past their time that are still handed out while one run renews them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...stores import Claim, Entry, Result, Store
from ..clock import Clock
from .base import LATER, Fixtures, complete, payload_of, put, queue, queued, result_of, run, running

__all__ = ["StaleResults"]


class StaleResults(Fixtures):
    """The contract's sentences about stale results."""

    @pytest.fixture
    def stale(self, store: Store, clock: Clock) -> Result:
        """Return the result of ``"key"``, which has just become stale, for 1000 seconds."""
        run(store, "old")
        complete(store, "old", ttl=10, stale_for=1000)
        result = result_of("old", clock(), ttl=10, stale_until=clock() + 1010)
        clock.advance(10)
        return result

    def test_a_result_is_stale_after_its_time(self, store: Store, clock: Clock) -> None:
        complete(store, "old", ttl=10, stale_for=1000)
        result = result_of("old", clock(), ttl=10, stale_until=clock() + 1010)
        assert store.lookup("key") == queue(store, "caller") == result
        clock.advance(10)
        assert store.lookup("key") is None
        assert store.entry("key") == Entry(None, result) == dict(store.entries())["key"]
        clock.advance(999)
        assert store.entry("key").result == result
        clock.advance(1)
        assert store.entry("key") == Entry()
        assert queue(store, "caller") == queued("caller", clock())

    def test_the_first_call_is_to_renew_it_and_all_get_it(
        self, store: Store, clock: Clock, stale: Result
    ) -> None:
        assert queue(store, "first") == replace(stale, renewal="first")
        assert store.lookup("key") == queued("first", clock(), fresh=True)
        assert queue(store, "second") == stale
        assert queue(store, "first") == replace(stale, renewal="first")
        assert store.lookup("key") == queued("first", clock(), fresh=True)
        run(store, "first", fresh=True)
        assert queue(store, "second") == stale
        assert store.entry("key") == Entry(running("first", clock()), stale)
        complete(store, "first", b"new")
        assert payload_of(queue(store, "second")) == b"new"

    @pytest.mark.parametrize("state", ["FAILURE", "released"])
    def test_a_renewal_that_fails_leaves_it_to_the_next_call(
        self, store: Store, stale: Result, state: str
    ) -> None:
        queue(store, "first")
        run(store, "first", fresh=True)
        if state == "FAILURE":
            assert complete(store, "first", b"error", ttl=100, state=state) is False
        store.release("key", "first", "")
        assert queue(store, "second") == replace(stale, renewal="second")

    def test_no_fresh_call_and_no_rerun_of_a_run_gets_it(
        self, store: Store, clock: Clock, stale: Result
    ) -> None:
        assert queue(store, "fresh", fresh=True) == queued("fresh", clock(), fresh=True)
        assert queue(store, "caller", rerun=True) == stale
        run(store, "fresh", fresh=True)
        assert isinstance(queue(store, "caller", rerun=True), Claim)
        assert queue(store, "caller") == stale

    def test_a_delivery_renews_it_unless_another_does(
        self, store: Store, clock: Clock, stale: Result
    ) -> None:
        queue(store, "first")
        assert run(store, "other") == running("other", clock(), awaited=True, previous="first")
        assert run(store, "first") == stale
        assert store.lookup("key") == running("other", clock(), awaited=True)
        assert isinstance(run(store, "first", fresh=True), Claim)

    def test_a_call_that_is_earlier_than_the_renewing_run_gets_it_too_unless_it_is_fresh(
        self, store: Store, clock: Clock, stale: Result
    ) -> None:
        called = clock()
        clock.advance(1)
        run(store, "renewal", fresh=True)
        assert run(store, "caller", called=called) == stale
        claim = running("renewal", clock(), awaited=True)
        assert run(store, "caller", called=called, fresh=True) == claim

    def test_a_call_that_gets_it_has_joined_nothing(self, store: Store, stale: Result) -> None:
        queue(store, "first")
        queue(store, "second")
        queue(store, "third", goes_out=True)
        claim = store.lookup("key")
        assert isinstance(claim, Claim)
        assert (claim.joined, claim.awaited) == (0, False)

    def test_a_result_that_is_not_to_be_stale_is_not(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", stale_for=1000)
        assert store.lookup("key") == result_of("owner", clock())
        complete(store, "owner", ttl=0, key="at once", stale_for=1000)
        assert store.lookup("at once") is None
        assert store.entry("at once").result == result_of("owner", clock(), ttl=0, stale_until=clock() + 1000)
        assert queue(store, "caller", "at once").renewal == "caller"

    def test_it_is_kept_for_earlier_calls_beside_that(self, store: Store, clock: Clock) -> None:
        run(store, "owner")
        run(store, "waiter")
        complete(store, "owner", ttl=10, stale_for=100, kept_for=1000)
        clock.advance(110)
        assert store.entry("key") == Entry()
        assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    @pytest.mark.parametrize("lapse", [0.0, LATER], ids=["answers", "is stale"])
    def test_a_failure_never_replaces_a_good_success(self, store: Store, clock: Clock, lapse: float) -> None:
        put(store, "for ever")
        complete(store, "old", ttl=10, stale_for=1000)
        clock.advance(lapse)
        before = store.entry("key").result
        run(store, "owner", fresh=True)
        assert complete(store, "owner", b"error", ttl=100, state="FAILURE") is False
        assert store.entry("key") == Entry(running("owner", clock()), before)
        assert complete(store, "owner", b"new", ttl=100) is True

    def test_a_failure_replaces_a_failure_and_a_success_that_has_ended(
        self, store: Store, clock: Clock
    ) -> None:
        for state in ("SUCCESS", "FAILURE"):
            complete(store, "old", b"old", ttl=10, key=state, state=state)
            clock.advance(10 if state == "SUCCESS" else 0)
            run(store, "owner", state, fresh=True)
            assert complete(store, "owner", b"error", key=state, state="FAILURE") is True
            assert payload_of(store.lookup(state)) == b"error"
