"""Claims where there is no result: ``lookup``, ``lookup_or_claim`` and ``renew``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...stores import Claim, Store
from ...stores.entry import REMEMBERED_FOR
from ..clock import Clock
from .base import LATER, LEASE, Fixtures, Make, delivery_of, queue, queued, renew, run, running

__all__ = ["Claims"]


class Claims(Fixtures):
    """The contract's sentences about claims."""

    # lookup

    def test_lookup_finds_nothing_under_a_new_key(self, store: Store) -> None:
        assert store.lookup("key") is None

    @pytest.mark.parametrize("make", [queue, run])
    def test_lookup_finds_a_claim_until_its_lease_lapses_and_not_then(
        self, store: Store, clock: Clock, make: Make
    ) -> None:
        claim = make(store, "owner")
        clock.advance(LEASE - 1)
        assert store.lookup("key") == claim
        clock.advance(1)
        assert store.lookup("key") is None

    def test_lookup_changes_nothing(self, store: Store, clock: Clock) -> None:
        queue(store, "owner")
        store.lookup("key")
        assert store.lookup("key") == queued("owner", clock())

    def test_each_answer_says_when_it_was_given(self, store: Store, clock: Clock) -> None:
        for ask in (queue, queue, run, run):
            for asked_by in ("owner", "other"):
                clock.advance(0.1)
                assert ask(store, asked_by).at == clock()
        clock.advance(0.1)
        found = store.lookup("key")
        assert found is not None
        assert found.at == clock()
        assert [entry.claim and entry.claim.at for _, entry in store.entries()] == [clock()]

    # lookup_or_claim

    def test_a_call_gets_a_queued_claim_on_a_free_key(self, store: Store, clock: Clock) -> None:
        claim = Claim(
            "owner", clock() + LEASE, since=clock(), delivery=None, awaited=False, message_expires=None
        )
        assert queue(store, "owner") == claim == store.lookup("key")
        assert claim.is_running is False

    def test_a_queued_claim_says_when_its_message_expires(self, store: Store, clock: Clock) -> None:
        claim = queued("owner", clock(), message_expires=clock() + 100.25)
        assert queue(store, "owner", expires=100.25) == claim == store.lookup("key")

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_call_joins_a_live_claim_and_is_counted(self, store: Store, clock: Clock, make: Make) -> None:
        claim = make(store, "owner")
        clock.advance(LATER)
        for joined in (1, 2):
            assert queue(store, "caller") == replace(claim, joined=joined) == store.lookup("key")

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_call_can_ask_for_a_claim_without_joining_it(self, store: Store, make: Make) -> None:
        claim = make(store, "owner")
        assert queue(store, "caller", joins=False) == claim == store.lookup("key")

    def test_a_call_gets_its_own_live_queued_claim_as_it_is(self, store: Store, clock: Clock) -> None:
        claim = queue(store, "owner", expires=40)
        clock.advance(LATER)
        assert queue(store, "owner", expires=40) == claim == store.lookup("key")

    @pytest.mark.parametrize(
        ("of_message", "of_call", "joins"),
        [
            (None, None, True),
            (None, 40, True),
            (40, None, False),
            (40, 41, False),
            (40, 40, True),
            (40, 39, True),
            (1, 40, False),
        ],
    )
    def test_a_call_joins_a_message_that_does_not_expire_before_it_would(
        self, store: Store, clock: Clock, of_message: float | None, of_call: float | None, joins: bool
    ) -> None:
        queue(store, "owner", expires=None if of_message is None else of_message + LATER)
        clock.advance(LATER)
        assert queue(store, "caller", expires=of_call).owner == ("owner" if joins else "caller")

    def test_a_call_joins_a_run_though_the_message_of_it_would_have_expired(
        self, store: Store, clock: Clock
    ) -> None:
        queue(store, "owner", expires=1)
        run(store, "owner")
        clock.advance(LATER)
        assert queue(store, "caller") == running("owner", clock() - LATER, joined=1)

    def test_a_call_replaces_a_message_that_expires_too_early(self, store: Store, clock: Clock) -> None:
        queue(store, "first", expires=40)
        clock.advance(1)
        claim = queued("second", clock(), awaited=True, message_expires=clock() + 40)
        assert queue(store, "second", expires=40) == replace(claim, previous="first")
        assert store.lookup("key") == claim
        assert store.release("key", "first", None) is False

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_call_replaces_a_lapsed_claim_and_is_awaited(
        self, store: Store, clock: Clock, make: Make
    ) -> None:
        make(store, "late")
        clock.advance(LEASE)
        claim = queued("next", clock(), awaited=True)
        assert queue(store, "next") == replace(claim, previous="late")
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("lapsed")
    def test_only_the_answer_that_grants_a_claim_says_whose_it_displaced(
        self, store: Store, clock: Clock
    ) -> None:
        claim = queue(store, "next")
        assert claim == queued("next", clock(), awaited=True, previous="late")
        for answer in (store.lookup("key"), queue(store, "next"), queue(store, "caller", joins=False)):
            assert answer == replace(claim, previous=None)
        assert run(store, "next") == running("next", clock(), awaited=True)

    @pytest.mark.parametrize("awaited", [True, False])
    def test_a_call_renews_its_own_lapsed_claim_which_stays_awaited(
        self, store: Store, clock: Clock, awaited: bool
    ) -> None:
        queue(store, "owner")
        queue(store, "other", goes_out=awaited)
        clock.advance(LEASE)
        assert queue(store, "owner") == queued("owner", clock(), awaited=awaited)

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_call_whose_message_goes_out_marks_the_claim_of_another(
        self, store: Store, clock: Clock, make: Make
    ) -> None:
        claim = replace(make(store, "owner"), awaited=True)
        assert queue(store, "caller", goes_out=True) == claim == store.lookup("key")
        assert queue(store, "caller", goes_out=True) == claim == store.lookup("key")
        assert queue(store, "joining") == replace(claim, joined=1) == store.lookup("key")

    def test_a_call_whose_message_goes_out_does_not_mark_its_own_claim(
        self, store: Store, clock: Clock
    ) -> None:
        claim = queue(store, "owner", "claimed")
        assert queue(store, "owner", "claimed", goes_out=True) == claim == store.lookup("claimed")
        assert queue(store, "owner", "free", goes_out=True) == queued("owner", clock())

    def test_a_message_with_the_id_of_a_run_that_goes_on_marks_that_run(self, store: Store) -> None:
        claim = run(store, "owner")
        assert queue(store, "owner", goes_out=True) == replace(claim, awaited=True) == store.lookup("key")

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_claim_whose_owner_ended_counts_as_lapsed(self, store: Store, clock: Clock, make: Make) -> None:
        ended = make(store, "ended")
        assert queue(store, "next", lapsed=ended) == queued("next", clock(), awaited=True, previous="ended")
        run(store, "next")
        assert queue(store, "caller", lapsed=ended) == running("next", clock(), awaited=True, joined=1)

    def test_a_later_hold_of_an_owner_that_ended_before_does_not_count_as_lapsed(
        self, store: Store, clock: Clock
    ) -> None:
        waiting = queue(store, "owner")
        first = run(store, "owner")
        assert queue(store, "caller", lapsed=waiting, joins=False) == first
        store.release("key", "owner", "")
        second = store.claim("key", "owner", delivery_of("owner", 2), LEASE)
        assert queue(store, "caller", lapsed=first, joins=False) == second

    def test_a_hold_that_was_renewed_since_counts_as_lapsed_all_the_same(
        self, store: Store, clock: Clock
    ) -> None:
        ended = run(store, "ended")
        clock.advance(LATER)
        renew(store, "ended")
        run(store, "waiter")
        assert queue(store, "next", lapsed=ended).previous == "ended"

    @pytest.mark.usefixtures("lapsed")
    def test_a_lapsed_claim_is_remembered_for_an_hour_and_not_longer(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "late", "other key")
        clock.advance(REMEMBERED_FOR - 1)
        assert queue(store, "next") == queued("next", clock(), awaited=True, previous="late")
        clock.advance(1 + LEASE)
        assert queue(store, "next", "other key") == queued("next", clock())

    # renew

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize("lapse", [LATER, LEASE], ids=["live", "lapsed"])
    def test_renew_counts_from_now_and_keeps_the_mark_and_the_beginning(
        self, store: Store, clock: Clock, lapse: float
    ) -> None:
        began = clock()
        clock.advance(lapse)
        assert renew(store, "owner", lease=1000, ran_for=7) is True
        assert store.lookup("key") == running("owner", began, lapse + 1000, awaited=True)

    def test_renew_can_shorten_a_lease(self, store: Store, clock: Clock) -> None:
        run(store, "owner")
        assert renew(store, "owner", lease=LATER) is True
        assert store.lookup("key") == running("owner", clock(), LATER)

    def test_renew_makes_a_claim_that_was_lost_or_never_made(self, store: Store, clock: Clock) -> None:
        assert renew(store, "owner", ran_for=40.5) is True
        claim = Claim("owner", clock() + LEASE, clock() - 40.5, delivery_of("owner"))
        assert store.lookup("key") == claim

    @pytest.mark.parametrize("owner", ["owner", "other"])
    def test_renew_takes_the_key_from_a_queued_claim(self, store: Store, clock: Clock, owner: str) -> None:
        queue(store, owner)
        assert renew(store, "owner", ran_for=40) is True
        claim = running("owner", clock() - 40, LEASE + 40, awaited=owner == "other")
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("lapsed")
    @pytest.mark.parametrize(("owner", "number"), [("other", 1), ("late", 2)])
    def test_renew_takes_the_key_from_a_lapsed_run(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        assert store.renew("key", owner, delivery_of(owner, number), LEASE) is True
        claim = running(owner, clock(), delivery=delivery_of(owner, number), awaited=True)
        assert store.lookup("key") == claim

    @pytest.mark.parametrize(("owner", "number"), [("other", 1), ("owner", 2)])
    def test_renew_refuses_while_another_delivery_runs_and_changes_nothing(
        self, store: Store, clock: Clock, owner: str, number: int
    ) -> None:
        claim = run(store, "owner")
        assert store.renew("key", owner, delivery_of(owner, number), 1000) is False
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("lapsed")
    def test_renew_does_not_give_back_what_the_next_has(self, store: Store, clock: Clock) -> None:
        claim = run(store, "next")
        assert renew(store, "late") is False
        assert store.lookup("key") == replace(claim, previous=None)
