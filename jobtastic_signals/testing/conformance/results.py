"""Results: ``settle`` and ``forget``, and what ``lookup``, ``admit`` and ``release`` make of them."""

from __future__ import annotations

import pytest

from ...stores import Claim, Result, Store
from ..clock import Clock
from .base import LEASE, Fixtures, payload_of

__all__ = ["Results"]

LONG = 100 * 86400.0


class Results(Fixtures):
    """The contract's sentences about results."""

    # lookup

    @pytest.mark.parametrize("ttl", [None, 1000.0])
    def test_lookup_finds_a_result_for_as_long_as_it_lives(
        self, store: Store, clock: Clock, ttl: float | None
    ) -> None:
        store.settle("key", "owner", b"42", ttl)
        end = None if ttl is None else clock() + ttl
        clock.advance(999)
        assert store.lookup("key") == Result("owner", b"42", end, end)
        clock.advance(1)
        assert (store.lookup("key") is None) == (ttl is not None)

    def test_lookup_finds_a_result_that_lives_for_ever_much_later(self, store: Store, clock: Clock) -> None:
        store.settle("key", "owner", b"42", None)
        clock.advance(100 * 365 * 86400)
        assert store.lookup("key") == Result("owner", b"42", None, None)

    def test_claims_and_results_may_last_for_very_long(self, store: Store, clock: Clock) -> None:
        end = clock() + LONG
        store.admit("claimed", "owner", LONG)
        store.settle("settled", "owner", b"42", LONG)
        clock.advance(LONG - 1)
        assert store.lookup("claimed") == Claim("owner", end)
        assert store.lookup("settled") == Result("owner", b"42", end, end)

    @pytest.mark.usefixtures("waited")
    def test_lookup_finds_the_claim_beside_a_result_that_is_only_kept_for_waiters(self, store: Store) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        assert store.lookup("key") is None
        claim = store.admit("key", "next", LEASE)
        assert store.lookup("key") == claim

    # admit

    def test_admit_answers_with_a_result_and_claims_nothing(self, store: Store) -> None:
        store.settle("key", "owner", b"42", None)
        assert store.admit("key", "caller", LEASE) == Result("owner", b"42", None, None)
        store.forget("key")
        assert store.lookup("key") is None

    def test_admit_claims_where_the_result_has_ended(self, store: Store, clock: Clock) -> None:
        store.settle("key", "owner", b"42", 1000)
        clock.advance(1000)
        assert store.admit("key", "caller", LEASE) == Claim("caller", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    def test_admit_gives_those_who_waited_what_answers_no_new_caller(
        self, store: Store, clock: Clock
    ) -> None:
        store.settle("key", "owner", b"42", 100, handover=1000)
        expires = clock() + 100
        clock.advance(999)
        result = store.admit("key", "waiter", LEASE, waited_for="owner")
        assert result == Result("owner", b"42", expires, kept=clock() + 1)
        assert store.lookup("key") is None
        clock.advance(1)
        assert store.admit("key", "waiter", LEASE, waited_for="owner") == Claim("waiter", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize("waited_for", [None, "somebody"])
    def test_admit_gives_what_is_kept_to_nobody_else(
        self, store: Store, clock: Clock, waited_for: str | None
    ) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        claim = store.admit("key", "caller", LEASE, waited_for=waited_for)
        assert claim == Claim("caller", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    def test_a_kept_result_is_there_for_each_who_waited_though_another_runs(self, store: Store) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.admit("key", "next", LEASE)
        for _ in range(2):
            assert payload_of(store.admit("key", "waiter", LEASE, waited_for="owner")) == b"42"

    @pytest.mark.parametrize("waited_for", [None, "owner", "somebody"])
    def test_admit_gives_a_result_that_answers_to_all(self, store: Store, waited_for: str | None) -> None:
        store.settle("key", "owner", b"42", 1000)
        assert payload_of(store.admit("key", "caller", LEASE, waited_for=waited_for)) == b"42"

    # settle

    def test_settle_stores_the_result_and_releases_the_claim(self, store: Store) -> None:
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key") == Result("owner", b"42", None, None)
        assert store.release("key", "owner") is False

    def test_settle_without_any_claim_stores_the_result(self, store: Store) -> None:
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key") == Result("owner", b"42", None, None)

    def test_settle_refuses_while_somebody_else_has_the_claim(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "other", b"42", None) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    @pytest.mark.usefixtures("lapsed")
    def test_settle_refuses_the_owner_whose_claim_was_taken_over(self, store: Store, clock: Clock) -> None:
        store.admit("key", "next", LEASE)
        assert store.settle("key", "late", b"late", None) is False
        assert store.lookup("key") == Claim("next", clock() + LEASE)

    @pytest.mark.usefixtures("lapsed")
    def test_settle_never_overwrites_what_came_after_a_late_owner(self, store: Store) -> None:
        store.admit("key", "next", LEASE)
        store.settle("key", "next", b"newer", None)
        assert store.settle("key", "late", b"late", None) is False
        assert store.lookup("key") == Result("next", b"newer", None, None)

    def test_settle_refuses_a_second_result_of_the_same_owner(self, store: Store) -> None:
        store.settle("key", "owner", b"first", None)
        assert store.settle("key", "owner", b"second", None) is False
        assert store.lookup("key") == Result("owner", b"first", None, None)

    def test_settle_replaces_a_result_that_answers_nobody_any_more(self, store: Store, clock: Clock) -> None:
        store.settle("key", "owner", b"old", 1000)
        clock.advance(1000)
        assert store.settle("key", "other", b"new", None) is True
        assert store.lookup("key") == Result("other", b"new", None, None)

    @pytest.mark.usefixtures("lapsed")
    def test_a_lapsed_claim_that_nobody_took_over_still_settles(self, store: Store) -> None:
        assert store.settle("key", "late", b"42", None) is True
        assert store.lookup("key") == Result("late", b"42", None, None)

    @pytest.mark.usefixtures("lapsed")
    def test_a_lapsed_claim_of_another_is_no_obstacle_and_stays(self, store: Store) -> None:
        assert store.settle("key", "other", b"42", None) is True
        assert store.lookup("key") == Result("other", b"42", None, None)
        assert store.release("key", "late") is True

    @pytest.mark.usefixtures("lapsed")
    def test_whoever_has_the_claim_settles_though_a_result_is_there(self, store: Store) -> None:
        store.settle("key", "other", b"42", None)
        assert store.settle("key", "late", b"43", None) is True
        assert store.lookup("key") == Result("late", b"43", None, None)

    def test_settle_for_no_time_answers_nobody_and_releases(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "owner", b"42", 0) is True
        assert store.lookup("key") is None
        assert store.release("key", "owner") is False
        assert store.admit("key", "owner", LEASE, waited_for="owner") == Claim("owner", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    def test_settle_for_no_time_leaves_what_is_kept_for_those_who_waited(self, store: Store) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.admit("key", "next", LEASE)
        assert store.settle("key", "next", b"43", 0) is True
        assert payload_of(store.admit("key", "waiter", LEASE, waited_for="owner")) == b"42"

    def test_settle_keeps_nothing_for_waiters_where_nobody_waited(self, store: Store, clock: Clock) -> None:
        store.admit("key", "owner", LEASE)
        store.settle("key", "owner", b"42", 100, handover=1000)
        clock.advance(100)
        claim = store.admit("key", "caller", LEASE, waited_for="owner")
        assert claim == Claim("caller", clock() + LEASE)

    @pytest.mark.usefixtures("waited")
    def test_who_waited_for_a_lapsed_owner_has_not_waited_for_the_one_that_settles(
        self, store: Store, clock: Clock
    ) -> None:
        clock.advance(LEASE)
        store.settle("key", "other", b"42", 100, handover=1000)
        end = clock() + 100
        assert store.lookup("key") == Result("other", b"42", end, kept=end)

    @pytest.mark.usefixtures("waited")
    def test_a_handover_shorter_than_the_results_life_takes_nothing_from_it(
        self, store: Store, clock: Clock
    ) -> None:
        store.settle("key", "owner", b"42", 1000, handover=10)
        clock.advance(999)
        assert payload_of(store.admit("key", "waiter", LEASE, waited_for="owner")) == b"42"

    @pytest.mark.usefixtures("waited")
    def test_a_result_for_ever_is_kept_for_ever(self, store: Store, clock: Clock) -> None:
        store.settle("key", "owner", b"42", None, handover=10)
        clock.advance(LONG)
        assert store.lookup("key") == Result("owner", b"42", None, None)

    @pytest.mark.usefixtures("waited")
    def test_settle_for_waiters_works_on_a_lapsed_claim_too(self, store: Store, clock: Clock) -> None:
        clock.advance(LEASE)
        assert store.settle("key", "owner", b"42", 0, handover=1000) is True
        assert payload_of(store.admit("key", "waiter", LEASE, waited_for="owner")) == b"42"

    # release

    @pytest.mark.usefixtures("waited")
    def test_release_leaves_the_result_alone(self, store: Store) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.admit("key", "next", LEASE)
        assert store.release("key", "next") is True
        assert payload_of(store.admit("key", "waiter", LEASE, waited_for="owner")) == b"42"

    # forget

    def test_forget_drops_the_result_once(self, store: Store) -> None:
        store.settle("key", "owner", b"42", None)
        assert store.forget("key") is True
        assert store.lookup("key") is None
        assert store.forget("key") is False

    def test_forget_says_that_there_was_none(self, store: Store, clock: Clock) -> None:
        assert store.forget("key") is False
        store.settle("key", "owner", b"42", 1000)
        clock.advance(1000)
        assert store.forget("key") is False

    @pytest.mark.usefixtures("waited")
    def test_forget_leaves_a_claim_that_settles_later(self, store: Store, clock: Clock) -> None:
        assert store.forget("key") is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key") == Result("owner", b"42", None, None)

    @pytest.mark.usefixtures("waited")
    def test_forget_drops_what_is_kept_for_waiters(self, store: Store, clock: Clock) -> None:
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.forget("key")
        assert store.admit("key", "waiter", LEASE, waited_for="owner") == Claim("waiter", clock() + LEASE)
