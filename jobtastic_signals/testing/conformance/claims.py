"""Claims: ``lookup``, ``admit``, ``extend`` and ``release`` where there is no result."""

from __future__ import annotations

import pytest

from ...stores import Claim, Store
from ..clock import Clock
from .base import LATER, LEASE, Fixtures

__all__ = ["Claims"]


class Claims(Fixtures):
    """The contract's sentences about claims."""

    # lookup

    def test_lookup_finds_nothing_under_a_new_key(self, store: Store) -> None:
        assert store.lookup("key") is None

    def test_lookup_finds_a_claim_until_it_expires_and_not_then(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        clock.advance(LEASE - 1)
        assert store.lookup("key") == Claim("owner", clock() + 1)
        clock.advance(1)
        assert store.lookup("key") is None

    def test_lookup_changes_nothing(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        store.lookup("key")
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=False)

    # admit

    def test_admit_gives_a_free_key_to_the_owner(self, store: Store, clock: Clock) -> None:
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE)

    def test_admit_answers_with_somebody_elses_live_claim_marked_as_waited(
        self, store: Store, clock: Clock
    ) -> None:
        store.admit("key", "owner", LEASE)
        end = clock() + LEASE
        clock.advance(LATER)
        assert store.admit("key", "waiter", LEASE) == Claim("owner", end, waited=True)
        assert store.lookup("key") == Claim("owner", end, waited=True)

    def test_admit_leaves_a_claim_unmarked_for_one_that_does_not_wait(
        self, store: Store, clock: Clock
    ) -> None:
        claim = store.admit("key", "owner", LEASE)
        assert store.admit("key", "caller", LEASE, waits=False) == claim == store.lookup("key")
        store.admit("key", "waiter", LEASE)
        assert store.admit("key", "caller", LEASE, waits=False) == Claim(
            "owner", clock() + LEASE, waited=True
        )

    def test_ask_answers_as_lookup_and_claims_where_there_is_nothing(
        self, store: Store, clock: Clock
    ) -> None:
        claim = Claim("owner", clock() + LEASE)
        assert store.ask("key", "owner", LEASE) == claim == store.lookup("key")
        assert store.ask("key", "caller", LEASE) == claim == store.lookup("key")
        store.settle("key", "owner", b"42", None)
        assert store.ask("key", "caller", LEASE) == store.lookup("key")
        store.forget("key")
        assert store.lookup("key") is None

    def test_ask_takes_over_a_lapsed_claim(self, store: Store, clock: Clock, lapsed: None) -> None:
        assert store.ask("key", "next", LEASE) == Claim("next", clock() + LEASE, previous="late")

    def test_admit_renews_the_owners_own_claim(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        clock.advance(LATER)
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE)
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize("lapse", [LATER, LEASE], ids=["live", "lapsed"])
    def test_a_renewed_claim_stays_marked(self, store: Store, clock: Clock, lapse: float) -> None:
        clock.advance(lapse)
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE, waited=True)
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)

    @pytest.mark.usefixtures("waited")
    def test_a_claim_that_calls_itself_stale_is_renewed(self, store: Store, clock: Clock) -> None:
        assert store.admit("key", "owner", LEASE, stale="owner") == Claim("owner", clock() + LEASE, True)

    @pytest.mark.usefixtures("lapsed")
    def test_admit_replaces_a_lapsed_claim_and_says_whose_it_was(self, store: Store, clock: Clock) -> None:
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE, previous="late")

    @pytest.mark.usefixtures("lapsed")
    def test_only_the_answer_to_admit_says_whose_the_claim_was(self, store: Store, clock: Clock) -> None:
        store.admit("key", "next", LEASE)
        assert store.lookup("key") == Claim("next", clock() + LEASE)
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE)
        assert store.admit("key", "waiter", LEASE) == Claim("next", clock() + LEASE, waited=True)

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize("lapse", [0, LEASE], ids=["stale", "lapsed"])
    def test_a_claim_does_not_inherit_the_mark_of_the_one_it_replaces(
        self, store: Store, clock: Clock, lapse: float
    ) -> None:
        clock.advance(lapse)
        claim = store.admit("key", "next", LEASE, stale="owner")
        assert claim == Claim("next", clock() + LEASE, waited=False, previous="owner")

    def test_admit_replaces_the_live_claim_of_an_owner_that_ended(self, store: Store, clock: Clock) -> None:
        store.admit("key", "ended", LEASE)
        claim = store.admit("key", "next", LEASE, stale="ended")
        assert claim == Claim("next", clock() + LEASE, previous="ended")

    def test_an_owner_that_ended_does_not_make_the_claim_of_another_stale(
        self, store: Store, clock: Clock
    ) -> None:
        store.admit("key", "owner", LEASE)
        claim = store.admit("key", "caller", LEASE, stale="ended")
        assert claim == Claim("owner", clock() + LEASE, waited=True)

    # extend

    @pytest.mark.usefixtures("waited")
    def test_extend_counts_from_now_and_keeps_the_mark(self, store: Store, clock: Clock) -> None:
        clock.advance(LATER)
        assert store.extend("key", "owner", 1000) is True
        assert store.lookup("key") == Claim("owner", clock() + 1000, waited=True)

    def test_extend_can_shorten_a_lease(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        assert store.extend("key", "owner", LATER) is True
        assert store.lookup("key") == Claim("owner", clock() + LATER)

    def test_extend_refuses_without_a_claim(self, store: Store) -> None:
        assert store.extend("key", "owner", LEASE) is False
        assert store.lookup("key") is None

    @pytest.mark.usefixtures("lapsed")
    def test_extend_refuses_a_lapsed_claim(self, store: Store) -> None:
        assert store.extend("key", "late", LEASE) is False
        assert store.lookup("key") is None

    def test_extend_refuses_somebody_elses_claim(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        assert store.extend("key", "other", 1000) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    # release

    def test_release_gives_up_the_claim_and_a_second_one_does_nothing(
        self, store: Store, clock: Clock
    ) -> None:
        store.admit("key", "owner", LEASE)
        assert store.release("key", "owner") is True
        assert store.lookup("key") is None
        assert store.release("key", "owner") is False
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE, previous=None)

    def test_a_second_release_does_not_hit_the_claim_that_came_after(
        self, store: Store, clock: Clock
    ) -> None:
        store.admit("key", "owner", LEASE)
        store.release("key", "owner")
        store.admit("key", "next", LEASE)
        assert store.release("key", "owner") is False
        assert store.lookup("key") == Claim("next", clock() + LEASE)

    @pytest.mark.usefixtures("lapsed")
    def test_release_gives_up_a_lapsed_claim(self, store: Store, clock: Clock) -> None:
        assert store.release("key", "late") is True
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE, previous=None)

    @pytest.mark.usefixtures("lapsed")
    def test_release_leaves_a_lapsed_claim_to_its_owner(self, store: Store, clock: Clock) -> None:
        assert store.release("key", "other") is False
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE, previous="late")

    def test_release_refuses_without_a_claim(self, store: Store) -> None:
        assert store.release("key", "owner") is False

    @pytest.mark.usefixtures("waited")
    def test_release_unless_waited_refuses_only_if_somebody_waits(self, store: Store, clock: Clock) -> None:
        assert store.release("key", "owner", unless_waited=True) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)
        assert store.release("key", "owner") is True
        store.admit("key", "next", LEASE)
        assert store.release("key", "next", unless_waited=True) is True
        assert store.lookup("key") is None
