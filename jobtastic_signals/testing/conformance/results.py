"""Results: which calls they answer, and when they are stored, kept and dropped."""

from __future__ import annotations

import pytest

from ...stores import Claim, Result, Store
from ..clock import Clock
from .base import (
    LATER,
    LEASE,
    Fixtures,
    Make,
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

__all__ = ["Results"]

LONG = 100 * 86400.0


class Results(Fixtures):
    """The contract's sentences about results, but for those on late owners, the index and forgetting."""

    # lookup, lookup_or_claim

    @pytest.mark.parametrize("ttl", [None, 1000.0])
    def test_a_result_answers_new_callers_for_as_long_as_it_lives(
        self, store: Store, clock: Clock, ttl: float | None
    ) -> None:
        complete(store, "owner", ttl=ttl)
        result = result_of("owner", clock(), ttl=ttl)
        clock.advance(999)
        assert store.lookup("key") == result == queue(store, "caller") == run(store, "caller")
        clock.advance(1)
        assert (store.lookup("key") is None) == (ttl is not None)
        assert isinstance(run(store, "caller"), Claim) == (ttl is not None)

    def test_a_result_says_when_it_was_given(self, store: Store, clock: Clock) -> None:
        complete(store, "owner")
        for ask in (queue, run, lambda store, _: store.lookup("key")):
            clock.advance(0.1)
            assert ask(store, "caller").at == clock()
        assert [entry.result and entry.result.at for _, entry in store.entries()] == [clock()]

    def test_a_result_that_lives_for_ever_is_found_much_later(self, store: Store, clock: Clock) -> None:
        complete(store, "owner")
        result = result_of("owner", clock())
        clock.advance(100 * 365 * 86400)
        assert store.lookup("key") == result

    def test_claims_and_results_may_last_for_very_long(self, store: Store, clock: Clock) -> None:
        claim = queue(store, "owner", "claimed", LONG, expires=LONG)
        complete(store, "owner", ttl=LONG)
        result = result_of("owner", clock(), ttl=LONG)
        clock.advance(LONG - 1)
        assert store.lookup("claimed") == claim
        assert store.lookup("key") == result

    def test_a_result_answers_new_callers_though_another_delivery_runs(
        self, store: Store, clock: Clock
    ) -> None:
        complete(store, "owner")
        renew(store, "again")
        assert store.lookup("key") == result_of("owner", clock()) == queue(store, "caller")
        assert run(store, "caller") == result_of("owner", clock())

    def test_who_is_answered_claims_nothing(self, store: Store) -> None:
        complete(store, "owner")
        queue(store, "caller")
        run(store, "caller")
        store.forget("key")
        assert store.lookup("key") is None
        assert store.release("key", "caller", "") is False

    # Which delivery a result answers

    @pytest.mark.usefixtures("waited")
    @pytest.mark.parametrize(
        ("called", "waited_for", "answered"),
        [
            (None, None, False),
            (-0.5, None, True),
            (-1000.0, "somebody", True),
            (0.0, None, False),
            (0.5, None, False),
            (None, "owner", True),
            (0.5, "owner", True),
            (None, "waiter", False),
        ],
    )
    def test_a_kept_result_answers_calls_made_before_the_run_began_and_those_that_waited_for_it(
        self, store: Store, clock: Clock, called: float | None, waited_for: str | None, answered: bool
    ) -> None:
        began = clock()
        clock.advance(LATER)
        complete(store, "owner", ttl=100, kept_for=1000)
        result = result_of("owner", clock(), ttl=100, began=began, kept=clock() + 1000)
        clock.advance(999)
        assert store.lookup("key") is None
        made = None if called is None else began + called
        answer = run(store, "caller", called=made, waited_for=waited_for)
        assert answer == (result if answered else running("caller", clock()))

    @pytest.mark.usefixtures("waited")
    def test_a_kept_result_answers_nobody_from_its_end_on(self, store: Store, clock: Clock) -> None:
        called = clock() - 1
        complete(store, "owner", ttl=100, kept_for=1000)
        clock.advance(1000)
        assert run(store, "caller", called=called, waited_for="owner") == running("caller", clock())

    @pytest.mark.usefixtures("waited")
    def test_a_kept_result_answers_no_new_call(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", ttl=0, kept_for=1000)
        assert store.lookup("key") is None
        assert queue(store, "caller") == queued("caller", clock())
        assert store.lookup("key") == queued("caller", clock())

    @pytest.mark.usefixtures("waited")
    def test_a_kept_result_is_there_for_each_who_waited_though_another_runs(self, store: Store) -> None:
        complete(store, "owner", ttl=0, kept_for=1000)
        run(store, "next")
        for _ in range(2):
            assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    @pytest.mark.parametrize("called", [None, 5.0])
    @pytest.mark.parametrize("waited_for", [None, "owner", "somebody"])
    def test_a_result_that_answers_new_callers_answers_each_delivery(
        self, store: Store, clock: Clock, called: float | None, waited_for: str | None
    ) -> None:
        complete(store, "owner", ttl=1000)
        made = None if called is None else clock() + called
        assert payload_of(run(store, "caller", called=made, waited_for=waited_for)) == b"42"

    # complete

    def test_complete_stores_the_result_and_drops_the_claim(self, store: Store, clock: Clock) -> None:
        began = clock()
        run(store, "owner")
        clock.advance(LATER)
        assert complete(store, "owner", state="FAILURE", ran_for=7) is True
        assert store.lookup("key") == result_of("owner", clock(), began=began, state="FAILURE")
        assert store.release("key", "owner", "") is False

    def test_complete_stores_the_result_of_a_run_that_had_no_claim(self, store: Store, clock: Clock) -> None:
        assert complete(store, "owner", ran_for=40.5) is True
        assert store.lookup("key") == result_of("owner", clock(), began=clock() - 40.5)

    def test_complete_stores_what_no_run_computed(self, store: Store, clock: Clock) -> None:
        assert put(store, "key") is True
        assert store.lookup("key") == result_of("owner", clock())

    @pytest.mark.parametrize("delivery", [None, delivery_of("owner")])
    def test_complete_drops_the_owners_queued_claim(
        self, store: Store, clock: Clock, delivery: str | None
    ) -> None:
        queue(store, "owner")
        assert store.complete("key", "owner", delivery, b"42", ttl=None) is True
        assert store.release("key", "owner", "") is False
        assert store.lookup("key") == result_of("owner", clock())

    def test_complete_leaves_the_queued_claim_of_another(self, store: Store, clock: Clock) -> None:
        claim = queue(store, "queued")
        assert complete(store, "owner", ttl=10) is True
        clock.advance(10)
        assert store.lookup("key") == claim

    @pytest.mark.usefixtures("lapsed")
    def test_complete_leaves_the_lapsed_claim_of_another(self, store: Store) -> None:
        assert complete(store, "other") is True
        assert store.release("key", "late", "") is True

    @pytest.mark.usefixtures("lapsed")
    def test_a_lapsed_claim_that_nobody_took_over_still_completes(self, store: Store, clock: Clock) -> None:
        assert complete(store, "late") is True
        assert store.lookup("key") == result_of("late", clock(), began=clock() - LEASE)

    def test_complete_for_no_time_answers_nobody_and_drops_the_claim(
        self, store: Store, clock: Clock
    ) -> None:
        run(store, "owner")
        assert complete(store, "owner", ttl=0, kept_for=1000) is True
        assert store.lookup("key") is None
        assert store.release("key", "owner", "") is False
        assert run(store, "owner", waited_for="owner") == running("owner", clock())

    @pytest.mark.usefixtures("waited")
    def test_complete_for_no_time_leaves_what_is_kept_for_others(self, store: Store) -> None:
        complete(store, "owner", ttl=0, kept_for=1000)
        run(store, "next")
        assert complete(store, "next", b"43", 0) is True
        assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    @pytest.mark.parametrize("make", [queue, run])
    def test_a_result_is_kept_for_the_message_that_a_run_displaced(
        self, store: Store, clock: Clock, make: Make
    ) -> None:
        make(store, "displaced")
        called = clock()
        clock.advance(LEASE)
        run(store, "owner")
        complete(store, "owner", ttl=0, kept_for=1000)
        assert run(store, "displaced", called=called).owner == "owner"

    def test_a_result_is_kept_if_a_run_without_a_claim_finds_one(self, store: Store, clock: Clock) -> None:
        called = clock()
        queue(store, "queued")
        clock.advance(LATER)
        complete(store, "owner", ttl=0, kept_for=1000, ran_for=LATER / 2)
        assert run(store, "queued", called=called).owner == "owner"

    @pytest.mark.parametrize("claimed", [True, False])
    def test_a_result_is_not_kept_where_nobody_relies_on_it(
        self, store: Store, clock: Clock, claimed: bool
    ) -> None:
        if claimed:
            run(store, "owner")
        complete(store, "owner", ttl=100, kept_for=1000)
        clock.advance(100)
        answer = run(store, "caller", called=clock() - 1000, waited_for="owner")
        assert answer == running("caller", clock())

    @pytest.mark.usefixtures("waited")
    def test_a_result_is_kept_no_shorter_than_it_answers_new_callers(
        self, store: Store, clock: Clock
    ) -> None:
        complete(store, "owner", ttl=1000, kept_for=10)
        assert store.lookup("key") == result_of("owner", clock(), ttl=1000)

    @pytest.mark.usefixtures("waited")
    def test_a_result_for_ever_is_kept_for_ever(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", kept_for=10)
        result = result_of("owner", clock())
        clock.advance(LONG)
        assert store.lookup("key") == result

    @pytest.mark.usefixtures("waited")
    def test_a_result_is_kept_by_a_lapsed_claim_too(self, store: Store, clock: Clock) -> None:
        clock.advance(LEASE)
        assert complete(store, "owner", ttl=0, kept_for=1000) is True
        assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    # renew, release

    def test_renew_regains_a_claim_beside_a_result(self, store: Store, clock: Clock) -> None:
        complete(store, "owner", ttl=10)
        assert renew(store, "again") is True
        assert store.lookup("key") == result_of("owner", clock(), ttl=10)
        clock.advance(10)
        assert store.lookup("key") == running("again", clock() - 10)

    @pytest.mark.usefixtures("lapsed")
    def test_renew_refuses_beside_the_result_of_a_later_run(self, store: Store, clock: Clock) -> None:
        run(store, "next")
        complete(store, "next", b"newer")
        clock.advance(1)
        assert renew(store, "late", ran_for=LEASE + 1) is False
        assert complete(store, "late", b"late", ran_for=LEASE + 1) is False
        assert payload_of(store.lookup("key")) == b"newer"

    @pytest.mark.usefixtures("waited")
    def test_release_leaves_the_result_alone(self, store: Store) -> None:
        complete(store, "owner", ttl=0, kept_for=1000)
        run(store, "next")
        assert store.release("key", "next", "") is True
        assert payload_of(run(store, "waiter", waited_for="owner")) == b"42"

    def test_an_answer_is_a_plain_result(self, store: Store) -> None:
        complete(store, "owner")
        answers = [store.lookup("key"), queue(store, "caller"), run(store, "caller")]
        assert {type(answer) for answer in answers} == {Result}
