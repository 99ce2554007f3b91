"""A store against a dict: whatever is done to it, it answers what the contract says."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ...stores import Claim, Result, Store
from ..clock import Clock
from .base import Fixtures, MakeStore

__all__ = ["Agreement"]

ALL_KEYS = ["v1:a:1", "v1:b:1"]

KEYS = st.sampled_from(ALL_KEYS)
CALLERS = st.sampled_from(["ann", "bob", "cid"])
# Half of the time ``None``, for whoever has the claim or the result: others achieve little.
OWNERS = st.none() | CALLERS
# Far longer than a test runs: a storage may drop what has ended by the real clock as well.
SECONDS = st.sampled_from([1000.0, 2000.0])
NONE_OR_SECONDS = st.just(0.0) | SECONDS
TTLS = st.sampled_from([0.0, 0.0, 1000.0, 1000.0, None])


class Agreement(Fixtures):
    """Sequences of operations that Hypothesis makes up, and the shortest of those that show a difference."""

    def test_whatever_is_done_the_store_agrees_with_a_dict(self, make_store: MakeStore) -> None:
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


class Model:
    """The contract once more, in the order of its sentences, with one dict for each kind of thing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.claims: dict[str, Claim] = {}
        self.results: dict[str, Result] = {}

    def live(self, key: str) -> Claim | None:
        claim = self.claims.get(key)
        return claim if claim and self.clock() < claim.expires else None

    def answering(self, key: str, waited_for: str | None = None) -> Result | None:
        result = self.results.get(key)
        if result is None:
            return None
        end = result.kept if result.owner == waited_for else result.expires
        return result if end is None or self.clock() < end else None

    def lookup(self, key: str) -> Result | Claim | None:
        return self.answering(key) or self.live(key)

    def ask(self, key: str, owner: str, lease: float) -> Result | Claim:
        return self.lookup(key) or self.admit(key, owner, lease, None, None)

    def admit(
        self,
        key: str,
        owner: str,
        lease: float,
        waited_for: str | None,
        stale: str | None,
        waits: bool = True,
    ) -> Result | Claim:
        if result := self.answering(key, waited_for):
            return result
        old, new = self.claims.get(key), Claim(owner, self.clock() + lease)
        if old and old.owner == owner:
            self.claims[key] = Claim(owner, new.expires, old.waited)
            return self.claims[key]
        if old and self.live(key) and old.owner != stale:
            self.claims[key] = Claim(old.owner, old.expires, waits or old.waited)
            return self.claims[key]
        self.claims[key] = new
        return Claim(owner, new.expires, previous=old.owner if old else None)

    def extend(self, key: str, owner: str, lease: float) -> bool:
        claim = self.live(key)
        if not claim or claim.owner != owner:
            return False
        self.claims[key] = Claim(owner, self.clock() + lease, claim.waited)
        return True

    def settle(self, key: str, owner: str, payload: bytes, ttl: float | None, handover: float) -> bool:
        claim = self.claims.get(key)
        own = claim if claim and claim.owner == owner else None
        if not own and (self.live(key) or self.answering(key)):
            return False
        if own:
            del self.claims[key]
        kept = expires = None if ttl is None else self.clock() + ttl
        if expires is not None and own and own.waited:
            kept = max(expires, self.clock() + handover)
        if kept is None or kept > self.clock():
            self.results[key] = Result(owner, payload, expires, kept)
        return True

    def release(self, key: str, owner: str, unless_waited: bool) -> bool:
        claim = self.claims.get(key)
        if not claim or claim.owner != owner or (unless_waited and claim.waited):
            return False
        del self.claims[key]
        return True

    def forget(self, key: str) -> bool:
        known = self.answering(key) is not None
        self.results.pop(key, None)
        return known

    def entries(self, prefix: str) -> dict[str, Result | Claim]:
        keys = {*self.claims, *self.results}
        found = {key: self.lookup(key) for key in keys if key.startswith(prefix)}
        return {key: entry for key, entry in found.items() if entry}


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.model, self.store = Model(self.clock), self.new_store()
        self.asked = 0

    def new_store(self) -> Store:
        raise NotImplementedError

    def teardown(self) -> None:
        self.store.close()

    def owner_of(self, stored: Result | Claim | None) -> str:
        return stored.owner if stored else "nobody"

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(key=KEYS, owner=CALLERS, lease=SECONDS)
    def admit(self, key: str, owner: str, lease: float) -> None:
        assert self.store.admit(key, owner, lease) == self.model.admit(key, owner, lease, None, None)

    @rule(key=KEYS, lease=SECONDS)
    def ask(self, key: str, lease: float) -> None:
        self.asked += 1
        owner = f"caller {self.asked}"
        assert self.store.ask(key, owner, lease) == self.model.ask(key, owner, lease)

    @rule(
        key=KEYS, owner=CALLERS, lease=SECONDS, waited_for=OWNERS, stale=st.none() | OWNERS,
        waits=st.booleans(),
    )  # fmt: skip
    def admit_again(
        self, key: str, owner: str, lease: float, waited_for: str | None, stale: str | None, waits: bool
    ) -> None:
        waited_for = waited_for or self.owner_of(self.model.results.get(key))
        expected = self.model.admit(key, owner, lease, waited_for, stale, waits)
        admitted = self.store.admit(key, owner, lease, waited_for=waited_for, stale=stale, waits=waits)
        assert admitted == expected

    @rule(key=KEYS, owner=OWNERS, lease=SECONDS)
    def extend(self, key: str, owner: str | None, lease: float) -> None:
        owner = owner or self.owner_of(self.model.claims.get(key))
        assert self.store.extend(key, owner, lease) == self.model.extend(key, owner, lease)

    @rule(
        key=KEYS, owner=OWNERS, payload=st.binary(max_size=8), ttl=TTLS,
        handover=NONE_OR_SECONDS,
    )  # fmt: skip
    def settle(self, key: str, owner: str | None, payload: bytes, ttl: float | None, handover: float) -> None:
        owner = owner or self.owner_of(self.model.claims.get(key))
        expected = self.model.settle(key, owner, payload, ttl, handover)
        assert self.store.settle(key, owner, payload, ttl, handover=handover) == expected

    @rule(key=KEYS, owner=OWNERS, unless_waited=st.booleans())
    def release(self, key: str, owner: str | None, unless_waited: bool) -> None:
        owner = owner or self.owner_of(self.model.claims.get(key))
        expected = self.model.release(key, owner, unless_waited)
        assert self.store.release(key, owner, unless_waited=unless_waited) == expected

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        assert self.store.forget(key) == self.model.forget(key)

    @rule(prefix=st.sampled_from(["", "v1:a", "v1:b:1", "other"]))
    def entries(self, prefix: str) -> None:
        found = list(self.store.entries(prefix))
        assert dict(found) == self.model.entries(prefix)
        assert len(dict(found)) == len(found)

    @rule()
    def close(self) -> None:
        self.store.close()

    @invariant()
    def lookups_agree(self) -> None:
        for key in ALL_KEYS:
            assert self.store.lookup(key) == self.model.lookup(key)
