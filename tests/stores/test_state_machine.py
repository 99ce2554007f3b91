"""Stores against a dict: whatever is done to them, they answer what their docstrings say."""

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jobtastic_signals import Claim, Result
from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.memory import MemoryStore

from .clock import Clock

KEYS = st.sampled_from(["v1:a:1", "v1:a:2", "v1:b:1"])
OWNERS = st.sampled_from(["ann", "bob", "cid"])
NOBODY_OR_OWNER = st.none() | OWNERS
# Whole units, far longer than a test runs: the disk drops what has ended by the real clock as well.
SECONDS = st.sampled_from([1000.0, 2000.0, 5000.0])
NONE_OR_SECONDS = st.just(0.0) | SECONDS


class Model:
    """The contract once more, in the order of its sentences, with one dict for each kind of thing."""

    def __init__(self, clock):
        self.clock, self.claims, self.results = clock, {}, {}

    def live(self, key):
        claim = self.claims.get(key)
        return claim if claim and self.clock() < claim.expires else None

    def answering(self, key, waited_for=None):
        result = self.results.get(key)
        if result is None:
            return None
        end = result.kept if result.owner == waited_for else result.expires
        return result if end is None or self.clock() < end else None

    def lookup(self, key):
        return self.answering(key) or self.live(key)

    def admit(self, key, owner, lease, waited_for, stale):
        if self.answering(key, waited_for):
            return self.answering(key, waited_for)
        old, new = self.claims.get(key), Claim(owner, self.clock() + lease)
        if old and old.owner == owner:
            self.claims[key] = Claim(owner, new.expires, old.waited)
            return self.claims[key]
        if old and self.live(key) and old.owner != stale:
            self.claims[key] = Claim(old.owner, old.expires, True)
            return self.claims[key]
        self.claims[key] = new
        return Claim(owner, new.expires, previous=old.owner if old else None)

    def extend(self, key, owner, lease):
        claim = self.live(key)
        if not claim or claim.owner != owner:
            return False
        self.claims[key] = Claim(owner, self.clock() + lease, claim.waited)
        return True

    def settle(self, key, owner, payload, ttl, handover):
        claim = self.claims.get(key)
        own = claim is not None and claim.owner == owner
        if (self.live(key) and not own) or (self.answering(key) and not own):
            return False
        if own:
            del self.claims[key]
        expires = None if ttl is None else self.clock() + ttl
        kept = expires
        if own and claim.waited and ttl is not None:
            kept = max(expires, self.clock() + handover)
        if kept is None or kept > self.clock():
            self.results[key] = Result(owner, payload, expires, kept)
        return True

    def release(self, key, owner, unless_waited):
        claim = self.claims.get(key)
        if not claim or claim.owner != owner or (unless_waited and claim.waited):
            return False
        del self.claims[key]
        return True

    def forget(self, key):
        known = self.answering(key) is not None
        self.results.pop(key, None)
        return known

    def entries(self, prefix=""):
        keys = {*self.claims, *self.results}
        found = {key: self.lookup(key) for key in keys if key.startswith(prefix)}
        return {key: entry for key, entry in found.items() if entry}


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.model = Model(self.clock)
        self.store = self.make_store()

    @rule(seconds=SECONDS)
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(key=KEYS, owner=OWNERS, lease=SECONDS, waited_for=NOBODY_OR_OWNER, stale=NOBODY_OR_OWNER)
    def admit(self, key, owner, lease, waited_for, stale):
        expected = self.model.admit(key, owner, lease, waited_for, stale)
        assert self.store.admit(key, owner, lease, waited_for=waited_for, stale=stale) == expected

    @rule(key=KEYS, owner=OWNERS, lease=SECONDS)
    def extend(self, key, owner, lease):
        assert self.store.extend(key, owner, lease) == self.model.extend(key, owner, lease)

    @rule(
        key=KEYS, owner=OWNERS, payload=st.binary(max_size=8), ttl=st.none() | NONE_OR_SECONDS,
        handover=NONE_OR_SECONDS,
    )  # fmt: skip
    def settle(self, key, owner, payload, ttl, handover):
        expected = self.model.settle(key, owner, payload, ttl, handover)
        assert self.store.settle(key, owner, payload, ttl, handover=handover) == expected

    @rule(key=KEYS, owner=OWNERS, unless_waited=st.booleans())
    def release(self, key, owner, unless_waited):
        expected = self.model.release(key, owner, unless_waited)
        assert self.store.release(key, owner, unless_waited=unless_waited) == expected

    @rule(key=KEYS)
    def forget(self, key):
        assert self.store.forget(key) == self.model.forget(key)

    @rule(prefix=st.sampled_from(["", "v1:a", "v1:b:1", "other"]))
    def entries(self, prefix):
        found = list(self.store.entries(prefix))
        assert dict(found) == self.model.entries(prefix)
        assert len(dict(found)) == len(found)

    @rule()
    def close(self):
        self.store.close()

    @invariant()
    def lookups_agree(self):
        for key in ("v1:a:1", "v1:a:2", "v1:b:1"):
            assert self.store.lookup(key) == self.model.lookup(key)


class MemoryMachine(StoreMachine):
    def make_store(self):
        return MemoryStore(clock=self.clock)


class DiskMachine(StoreMachine):
    def make_store(self):
        self.folder = tempfile.TemporaryDirectory()
        return DiskStore(f"disk://{self.folder.name}/store", clock=self.clock)

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


MemoryMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
DiskMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)

TestMemoryStoreAgreesWithADict = MemoryMachine.TestCase
TestDiskStoreAgreesWithADict = DiskMachine.TestCase
