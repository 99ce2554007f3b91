"""``leave``: who wants a result no more, and when that was the last one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ...stores import Claim, Store
from ..clock import Clock
from .base import LATER, LEASE, Fixtures, Make, complete, payload_of, put, queue, queued, run, running

__all__ = ["Leaving"]


class Leaving(Fixtures):
    """The contract's sentences about callers that leave."""

    @pytest.mark.parametrize("make", [queue, run])
    def test_the_last_who_leaves_is_found_and_no_other(self, store: Store, make: Make) -> None:
        make(store, "owner")
        for _ in range(9):
            queue(store, "caller")
        seats = ["owner", *(f"caller-{number}" for number in range(9))]
        assert [store.leave("key", "owner", seat) for seat in seats] == [False] * 9 + [True]

    def test_a_queued_claim_that_was_dropped_is_nobodys(self, store: Store) -> None:
        queue(store, "owner")
        assert store.leave("key", "owner", "owner") is True
        assert store.leave("key", "owner", "owner") is None

    def test_who_left_a_run_with_everybody_can_leave_it_again(self, store: Store) -> None:
        run(store, "owner")
        queue(store, "caller")
        assert [store.leave("key", "owner", seat) for seat in ("owner", "caller")] == [False, True]
        assert [store.leave("key", "owner", seat) for seat in ("owner", "caller")] == [True, True]

    def test_a_seat_leaves_once(self, store: Store) -> None:
        run(store, "owner")
        queue(store, "caller")
        assert store.leave("key", "owner", "caller") is False
        assert store.leave("key", "owner", "caller") is False
        assert store.lookup("key").left == ("caller",)  # type: ignore[union-attr]
        assert store.leave("key", "owner", "owner") is True

    def test_nobody_leaves_what_everybody_has_left(self, store: Store) -> None:
        run(store, "owner")
        assert store.leave("key", "owner", "owner") is True
        assert store.leave("key", "owner", "somebody") is False
        assert store.lookup("key").left == ("owner",)  # type: ignore[union-attr]

    def test_who_has_joined_since_is_still_there(self, store: Store) -> None:
        queue(store, "owner")
        queue(store, "caller")
        store.leave("key", "owner", "owner")
        run(store, "owner")
        queue(store, "later")
        assert store.leave("key", "owner", "caller") is False
        assert store.leave("key", "owner", "later") is True

    def test_nobody_leaves_the_claim_of_another_or_none(self, store: Store) -> None:
        assert store.leave("key", "owner", "owner") is None
        claim = run(store, "owner")
        assert store.leave("key", "other", "other") is None
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("waited")
    def test_nobody_leaves_a_claim_on_which_other_messages_rely(self, store: Store, clock: Clock) -> None:
        assert store.leave("key", "owner", "owner") is False
        assert store.lookup("key") == running("owner", clock(), awaited=True)

    # What becomes of the claim

    def test_a_queued_claim_that_everybody_left_is_dropped(self, store: Store, clock: Clock) -> None:
        queue(store, "owner")
        assert store.leave("key", "owner", "owner") is True
        assert store.lookup("key") is None
        assert queue(store, "next") == queued("next", clock())

    def test_nobody_joins_a_run_that_everybody_left(self, store: Store, clock: Clock) -> None:
        began = clock()
        run(store, "owner")
        clock.advance(1)
        store.leave("key", "owner", "owner")
        claim = running("owner", began, left=("owner",), forgotten=began)
        assert store.lookup("key") == claim
        following = queued("next", clock(), fresh=True)
        assert queue(store, "next") == replace(claim, next=following)
        assert queue(store, "caller").joined == 0
        assert run(store, "waiter").awaited is False
        store.release("key", "owner", "")
        assert store.lookup("key") == replace(following, joined=1, awaited=True)

    def test_a_good_result_stays_when_everybody_leaves_the_run_that_is_to_replace_it(
        self, store: Store, clock: Clock
    ) -> None:
        put(store, "key", b"old")
        clock.advance(1)
        queue(store, "refresh", fresh=True)
        run(store, "refresh", fresh=True)
        assert store.leave("key", "refresh", "refresh") is True
        assert payload_of(queue(store, "caller")) == payload_of(store.lookup("key")) == b"old"
        store.release("key", "refresh", "")
        assert payload_of(queue(store, "caller")) == b"old"

    def test_a_run_that_ends_all_the_same_has_a_result(self, store: Store) -> None:
        run(store, "owner")
        store.leave("key", "owner", "owner")
        assert complete(store, "owner") is True
        assert payload_of(store.lookup("key")) == b"42"

    def test_a_retry_keeps_who_joined_and_left_and_is_not_joined_if_everybody_did(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        queue(store, "caller")
        store.leave("key", "owner", "owner")
        store.release("key", "owner", "", requeue=LATER)
        assert store.lookup("key") == queued("owner", clock(), LATER, joined=1, left=("owner",))
        run(store, "owner")
        store.leave("key", "owner", "caller")
        store.release("key", "owner", "", requeue=LATER)
        found = queue(store, "next")
        assert (found.owner, found.previous) == ("next", "owner")

    def test_a_run_keeps_who_joined_and_left_its_message(self, store: Store, clock: Clock) -> None:
        queue(store, "owner")
        queue(store, "caller")
        store.leave("key", "owner", "caller")
        assert run(store, "owner") == running("owner", clock(), joined=1, left=("caller",))
        clock.advance(LEASE)
        again = store.claim("key", "owner", "owner/2", LEASE)
        assert isinstance(again, Claim)
        assert (again.joined, again.left) == (1, ("caller",))

    def test_the_next_claim_is_left_as_well(self, store: Store, clock: Clock) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        queue(store, "caller", fresh=True)
        assert store.leave("key", "next", "next") is False
        assert store.leave("key", "next", "caller") is True
        assert store.lookup("key") == running("owner", clock())

    def test_the_next_claim_takes_the_place_of_a_queued_one_that_everybody_left(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        queue(store, "next", fresh=True)
        store.release("key", "owner", "", requeue=LATER)
        assert store.leave("key", "owner", "owner") is True
        assert store.lookup("key") == queued("next", clock(), fresh=True)
