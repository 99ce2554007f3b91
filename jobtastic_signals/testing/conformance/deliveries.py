"""What a delivery does where no result answers it, and how a claim is given up: ``claim`` and ``release``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...stores import Claim, Store
from ..clock import Clock
from .base import LATER, LEASE, Fixtures, Make, complete, delivery_of, queue, queued, renew, run, running

__all__ = ["Deliveries"]

ANOTHER = [("other", 1), ("owner", 2)]


class Deliveries(Fixtures):
    """The contract's sentences about running claims."""

    # claim

    def test_a_delivery_runs_on_a_free_key(self, store: Store, clock: Clock) -> None:
        claim = Claim("owner", clock() + LEASE, since=clock(), delivery=delivery_of("owner"), awaited=False)
        assert run(store, "owner") == claim == store.lookup("key")
        assert claim.is_running is True

    def test_a_delivery_turns_its_queued_claim_into_a_running_one(self, store: Store, clock: Clock) -> None:
        queue(store, "owner", expires=1000)
        clock.advance(LATER)
        assert run(store, "owner") == running("owner", clock()) == store.lookup("key")

    def test_a_delivery_keeps_the_mark_of_its_queued_claim(self, store: Store, clock: Clock) -> None:
        queue(store, "owner")
        queue(store, "other", goes_out=True)
        assert run(store, "owner") == running("owner", clock(), awaited=True)

    def test_a_queued_claim_holds_no_delivery_back(self, store: Store, clock: Clock) -> None:
        queue(store, "queued")
        claim = running("owner", clock(), awaited=True)
        assert run(store, "owner") == replace(claim, previous="queued")
        assert store.lookup("key") == claim

    @pytest.mark.parametrize(("owner", "number"), ANOTHER)
    def test_a_delivery_waits_for_a_running_one_and_marks_it(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        claim = run(store, "owner")
        clock.advance(LATER)
        awaited = replace(claim, awaited=True)
        for _ in range(2):
            assert store.claim("key", owner, delivery_of(owner, number), LEASE) == awaited
            assert store.lookup("key") == awaited

    @pytest.mark.parametrize(("owner", "number"), ANOTHER)
    def test_a_delivery_takes_over_from_a_lapsed_run(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        run(store, "owner")
        clock.advance(LEASE)
        claim = running(owner, clock(), delivery=delivery_of(owner, number), awaited=True)
        previous = None if owner == "owner" else "owner"
        granted = store.claim("key", owner, delivery_of(owner, number), LEASE)
        assert granted == replace(claim, previous=previous)
        assert store.lookup("key") == claim

    @pytest.mark.parametrize("awaited", [True, False])
    @pytest.mark.parametrize("lapse", [LATER, LEASE], ids=["live", "lapsed"])
    def test_a_delivery_that_asks_again_renews_its_claim(
        self, store: Store, clock: Clock, lapse: float, awaited: bool
    ) -> None:
        began = clock()
        run(store, "owner")
        queue(store, "other", goes_out=awaited)
        clock.advance(lapse)
        claim = running("owner", began, LEASE + lapse, awaited=awaited, joined=0 if awaited else 1)
        assert run(store, "owner") == claim == store.lookup("key")

    @pytest.mark.usefixtures("waited")
    def test_a_delivery_that_asks_again_renews_its_claim_even_if_it_calls_it_lapsed(
        self, store: Store, clock: Clock
    ) -> None:
        claim = running("owner", clock(), awaited=True)
        assert run(store, "owner", lapsed=claim) == claim

    @pytest.mark.parametrize(("owner", "number"), ANOTHER)
    def test_a_run_that_ended_counts_as_lapsed(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        ended = run(store, "owner")
        granted = store.claim("key", owner, delivery_of(owner, number), LEASE, lapsed=ended)
        assert isinstance(granted, Claim)
        assert granted.delivery == delivery_of(owner, number)
        assert granted.awaited is True

    def test_a_later_run_of_an_owner_that_ended_before_does_not_count_as_lapsed(
        self, store: Store, clock: Clock
    ) -> None:
        first = run(store, "owner")
        second = store.claim("key", "owner", delivery_of("owner", 2), LEASE, lapsed=first)
        waiting = run(store, "other", lapsed=first)
        assert waiting == second == store.lookup("key")

    @pytest.mark.usefixtures("waited")
    def test_an_owner_that_ended_does_not_make_the_claim_of_another_lapsed(
        self, store: Store, clock: Clock
    ) -> None:
        claim = store.lookup("key")
        assert run(store, "other", lapsed=running("ended", clock())) == claim == store.lookup("key")

    # release

    @pytest.mark.parametrize("delivery", [None, "", delivery_of("owner")])
    def test_release_gives_up_a_queued_claim_and_a_second_one_does_nothing(
        self, store: Store, clock: Clock, delivery: str | None
    ) -> None:
        queue(store, "owner")
        assert store.release("key", "owner", delivery) is True
        assert store.lookup("key") is None
        assert store.release("key", "owner", delivery) is False
        assert queue(store, "next") == queued("next", clock())

    @pytest.mark.parametrize(
        ("given", "releases"),
        [
            (None, False),
            ("", True),
            ("wor", True),
            ("worker-1", True),
            ("worker-1/7", True),
            ("worker-1/", True),
            ("worker-1/70", False),
            ("worker-2", False),
            ("orker", False),
            ("/7", False),
            ("worker.1", False),
        ],
    )
    def test_release_gives_up_a_run_whose_token_starts_with_what_is_given(
        self, store: Store, given: str | None, releases: bool
    ) -> None:
        claim = store.claim("key", "owner", "worker-1/7", LEASE)
        assert store.release("key", "owner", given) is releases
        assert store.lookup("key") == (None if releases else claim)
        assert store.release("key", "owner", given) is False

    @pytest.mark.parametrize("make", [queue, run])
    def test_release_leaves_a_claim_to_its_owner(self, store: Store, clock: Clock, make: Make) -> None:
        claim = make(store, "owner")
        assert store.release("key", "other", "") is False
        assert store.lookup("key") == claim
        clock.advance(LEASE)
        assert store.release("key", "other", "") is False
        assert queue(store, "next") == queued("next", clock(), awaited=True, previous="owner")

    @pytest.mark.parametrize("make", [queue, run])
    def test_release_gives_up_a_lapsed_claim(self, store: Store, clock: Clock, make: Make) -> None:
        make(store, "owner")
        clock.advance(LEASE)
        assert store.release("key", "owner", delivery_of("owner")) is True
        assert queue(store, "next") == queued("next", clock())

    def test_release_refuses_without_a_claim(self, store: Store) -> None:
        assert store.release("key", "owner", "") is False

    def test_a_second_release_does_not_hit_the_claim_that_came_after(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        store.release("key", "owner", "")
        claim = store.claim("key", "owner", delivery_of("owner", 2), LEASE)
        assert store.release("key", "owner", delivery_of("owner")) is False
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("waited")
    def test_release_unless_awaited_refuses_only_if_somebody_relies_on_the_run(
        self, store: Store, clock: Clock
    ) -> None:
        assert store.release("key", "owner", "", unless_awaited=True) is False
        assert store.release("key", "owner", "", unless_awaited=True, requeue=LATER) is False
        assert store.lookup("key") == running("owner", clock(), awaited=True)
        run(store, "owner", "other key")
        assert store.release("other key", "owner", "", unless_awaited=True) is True
        assert store.lookup("other key") is None

    @pytest.mark.usefixtures("waited")
    def test_a_claim_that_was_awaited_is_remembered_once(self, store: Store, clock: Clock) -> None:
        assert store.release("key", "owner", delivery_of("owner")) is True
        assert store.lookup("key") is None
        for delivery in (None, "", delivery_of("owner")):
            assert store.release("key", "owner", delivery) is False
        clock.advance(1)
        assert store.release("key", "owner", None) is False
        assert run(store, "next") == running("next", clock(), awaited=True, previous="owner")

    @pytest.mark.usefixtures("waited")
    def test_the_run_after_a_release_keeps_its_result_for_those_who_waited(
        self, store: Store, clock: Clock
    ) -> None:
        store.release("key", "owner", delivery_of("owner"))
        called = clock()
        clock.advance(1)
        run(store, "next")
        complete(store, "next", ttl=0, kept_for=1000)
        assert run(store, "waiter", called=called).owner == "next"
        assert run(store, "waiter", waited_for="next").owner == "next"

    @pytest.mark.parametrize("make", [queue, run])
    @pytest.mark.parametrize("awaited", [True, False])
    @pytest.mark.parametrize("lapse", [LATER, LEASE], ids=["live", "lapsed"])
    def test_release_can_leave_a_queued_claim_for_the_owners_next_message(
        self, store: Store, clock: Clock, make: Make, awaited: bool, lapse: float
    ) -> None:
        make(store, "owner")
        queue(store, "other", goes_out=awaited)
        clock.advance(lapse)
        assert store.release("key", "owner", delivery_of("owner"), requeue=5) is True
        claim = queued("owner", clock(), 5, awaited=awaited, joined=0 if awaited else 1)
        assert store.lookup("key") == claim == queue(store, "caller", joins=False)
        clock.advance(5)
        assert store.lookup("key") is None

    def test_a_requeued_claim_runs_again(self, store: Store, clock: Clock) -> None:
        run(store, "owner")
        store.release("key", "owner", "", requeue=LATER)
        assert renew(store, "owner", ran_for=0) is True
        assert store.lookup("key") == running("owner", clock())

    def test_a_queued_claim_is_requeued_as_well(self, store: Store, clock: Clock) -> None:
        queue(store, "owner", expires=7)
        assert store.release("key", "owner", None, requeue=LATER) is True
        assert store.lookup("key") == queued("owner", clock(), LATER)
