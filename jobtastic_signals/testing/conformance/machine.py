"""A store against a model: whatever is done to it, it answers what the contract says."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ...stores import Claim, Result, Store
from ..clock import Clock
from .base import Fixtures, MakeStore
from .model import Model

__all__ = ["Agreement"]

ALL_KEYS = ["v1:a:1", "v1:b:1"]
CALLERS = ["ann", "bob", "cid"]

KEYS = st.sampled_from(ALL_KEYS)
INDEXES = st.none() | st.sampled_from([*ALL_KEYS, "v1:index"])
OWNERS = st.sampled_from(CALLERS)
NUMBERS = st.sampled_from([1, 2])
# Far longer than a test runs: a storage may drop what has ended by the real clock as well.
# 1600 more, a lease of 1000 and a step of 2000 make the hour for which a lapsed claim is remembered.
SECONDS = st.sampled_from([1000.0, 2000.0, 1600.0])
NONE_OR_SECONDS = st.just(0.0) | SECONDS
TTLS = st.sampled_from([0.0, 0.0, 1000.0, 1000.0, None])
EXPIRES = st.none() | SECONDS
ALL_SCOPES = ["task:a", "tag:b"]
SCOPES = st.sampled_from([(), (), ("task:a",), ("tag:b",), tuple(ALL_SCOPES)])
STATES = st.sampled_from(["SUCCESS", "SUCCESS", "FAILURE"])
PREFIXES = st.sampled_from(["", "a", "ann/", "bob/1"])


def ended(owner: str, number: int | None) -> Claim:
    """Return the claim of *owner*, as somebody names it who knows that it ended."""
    return Claim(owner, 0.0, 0.0, None if number is None else f"{owner}/{number}")


class Agreement(Fixtures):
    """Sequences of operations that Hypothesis makes up, and the shortest of those that show a difference."""

    def test_whatever_is_done_the_store_agrees_with_a_model(self, make_store: MakeStore) -> None:
        class Machine(StoreMachine):
            def new_store(self) -> Store:
                return make_store(self.clock)

        settings = hypothesis.settings(
            max_examples=self.examples,
            stateful_step_count=self.steps,
            deadline=None,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
        )
        run_state_machine_as_test(Machine, settings=settings)


class StoreMachine(RuleBasedStateMachine):
    """Does everything to a store and to the model, and compares their answers."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock = Clock()
        self.model: Model = Model(self.clock)
        self.store: Store = self.new_store()

    def new_store(self) -> Store:
        """Return the store, on storage that is empty."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()

    def both(self, operation: str, key: str, *given: Any, **options: Any) -> None:
        """Do *operation* to both, and compare."""
        self.model.tidy()
        expected = getattr(self.model, operation)(key, *given, **options)
        answer = getattr(self.store, operation)(key, *given, **options)
        assert answer == expected
        if isinstance(answer, (Claim, Result)):
            assert answer.at == self.clock()

    def holder_of(self, key: str, owner: str, number: int) -> tuple[str, str]:
        """Return who has the claim, if it is a running one, and otherwise the delivery given."""
        claim = self.model.claims.get(key)
        if claim is None or claim.delivery is None:
            return owner, f"{owner}/{number}"
        return claim.owner, claim.delivery

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        """Let leases lapse, and results end."""
        self.clock.advance(seconds)

    @rule(
        key=KEYS, owner=OWNERS, lease=SECONDS, expires=EXPIRES, goes_out=st.booleans(), ended=st.booleans(),
        scopes=SCOPES, fresh=st.booleans(), rerun=st.booleans(), joins=st.booleans(),
    )  # fmt: skip
    def lookup_or_claim(self, key: str, owner: str, lease: float, ended: bool, **options: Any) -> None:
        lapsed = self.model.claims.get(key) if ended else None
        self.both("lookup_or_claim", key, owner, lease, lapsed=lapsed, **options)

    @rule(key=KEYS, owner=OWNERS, lease=SECONDS, scopes=SCOPES)
    def join(self, key: str, owner: str, lease: float, scopes: tuple[str, ...]) -> None:
        self.both("lookup_or_claim", key, owner, lease, scopes=scopes)

    @rule(key=KEYS, owner=OWNERS, lease=SECONDS, asks=st.sampled_from(["fresh", "rerun"]))
    def ask_for_one_more_run(self, key: str, owner: str, lease: float, asks: str) -> None:
        self.both("lookup_or_claim", key, owner, lease, **{asks: True})

    @rule(key=KEYS, owner=OWNERS, number=NUMBERS, lease=SECONDS, scopes=SCOPES)
    def claim(self, key: str, owner: str, number: int, lease: float, scopes: tuple[str, ...]) -> None:
        self.both("claim", key, owner, f"{owner}/{number}", lease, scopes=scopes)

    @rule(
        key=KEYS, owner=OWNERS, number=NUMBERS, lease=SECONDS, called_before=st.none() | NONE_OR_SECONDS,
        waited_for=st.none() | OWNERS, lapsed=st.none() | st.tuples(OWNERS, st.none() | NUMBERS),
        scopes=SCOPES, fresh=st.booleans(),
    )  # fmt: skip
    def claim_again(
        self, key: str, owner: str, number: int, lease: float, called_before: float | None,
        waited_for: str | None, lapsed: tuple[str, int | None] | None, **options: Any,
    ) -> None:  # fmt: skip
        called = None if called_before is None else self.clock() - called_before
        self.both(
            "claim", key, owner, f"{owner}/{number}", lease,
            called=called, waited_for=waited_for, lapsed=lapsed and ended(*lapsed), **options,
        )  # fmt: skip

    @rule(
        key=KEYS,
        owner=OWNERS,
        number=NUMBERS,
        by_holder=st.booleans(),
        lease=SECONDS,
        ran_for=NONE_OR_SECONDS,
    )
    def renew(self, key: str, owner: str, number: int, by_holder: bool, lease: float, ran_for: float) -> None:
        owner, delivery = self.holder_of(key, owner, number) if by_holder else (owner, f"{owner}/{number}")
        self.both("renew", key, owner, delivery, lease, ran_for=ran_for)

    @rule(
        key=KEYS, payload=st.binary(max_size=8), ttl=TTLS, kept_for=NONE_OR_SECONDS, index=INDEXES,
        index_ttl=TTLS, state=STATES, stale_for=NONE_OR_SECONDS, scopes=SCOPES,
    )  # fmt: skip
    def complete_by_its_holder(self, key: str, payload: bytes, **options: Any) -> None:
        owner, delivery = self.holder_of(key, "ann", 1)
        self.both("complete", key, owner, delivery, payload, **options)

    @rule(
        key=KEYS, owner=OWNERS, number=st.none() | NUMBERS, payload=st.binary(max_size=8), ttl=TTLS,
        kept_for=NONE_OR_SECONDS, ran_for=NONE_OR_SECONDS, index=INDEXES, state=STATES,
        stale_for=NONE_OR_SECONDS, scopes=SCOPES,
    )  # fmt: skip
    def complete_late(self, key: str, owner: str, number: int | None, payload: bytes, **options: Any) -> None:
        delivery = None if number is None else f"{owner}/{number}"
        self.both("complete", key, owner, delivery, payload, **options)

    @rule(
        key=KEYS,
        owner=OWNERS,
        prefix=st.none() | PREFIXES,
        requeue=NONE_OR_SECONDS,
        unless_awaited=st.booleans(),
    )
    def release(self, key: str, owner: str, prefix: str | None, **options: Any) -> None:
        self.both("release", key, owner, prefix, **options)

    @rule(key=KEYS)
    def release_by_its_holder(self, key: str) -> None:
        self.both("release", key, *self.holder_of(key, "ann", 1))

    @rule(key=KEYS, owner=OWNERS, seat=st.sampled_from([*CALLERS, "dan"]))
    def leave(self, key: str, owner: str, seat: str) -> None:
        self.both("leave", key, owner, seat)

    @rule(key=KEYS, seat=st.sampled_from(CALLERS))
    def leave_the_holder(self, key: str, seat: str) -> None:
        self.both("leave", key, self.holder_of(key, "ann", 1)[0], seat)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.both("forget", key)

    # As long as results may last: what comes back after a shorter time is not laid down.
    @rule(scope=st.sampled_from(ALL_SCOPES), ttl=st.none() | st.just(1e9))
    def forget_scope(self, scope: str, ttl: float | None) -> None:
        self.both("forget_scope", scope, ttl=ttl)

    @rule(scope=st.sampled_from(ALL_SCOPES))
    def forgotten(self, scope: str) -> None:
        self.both("forgotten", scope)

    @rule(
        key=st.sampled_from(["counts:a", "counts:b"]), amount=st.sampled_from([1.0, 0.5, -2.0]), ttl=SECONDS
    )
    def count(self, key: str, amount: float, ttl: float) -> None:
        self.both("count", key, {"calls": amount, f"of {amount}": 1.0}, ttl=ttl)

    @rule(prefix=st.sampled_from(["", "counts:a", "other"]))
    def counts(self, prefix: str) -> None:
        assert dict(self.store.counts(prefix)) == self.model.counts(prefix)

    @rule(key=KEYS, scopes=SCOPES)
    def entry(self, key: str, scopes: tuple[str, ...]) -> None:
        self.model.tidy()
        assert self.store.entry(key, scopes=scopes) == self.model.entry(key, scopes)

    @rule(prefix=st.sampled_from(["", "v1:a", "v1:b:1", "other"]))
    def entries(self, prefix: str) -> None:
        self.model.tidy()
        found = list(self.store.entries(prefix))
        assert dict(found) == self.model.entries(prefix)
        assert len(dict(found)) == len(found)

    @rule()
    def close(self) -> None:
        self.store.close()

    @invariant()
    def lookups_agree(self) -> None:
        self.model.tidy()
        for key in [*ALL_KEYS, "v1:index"]:
            for scopes in ((), ALL_SCOPES) if self.model.marks else ((),):
                assert self.store.lookup(key, scopes=scopes) == self.model.lookup(key, scopes)
