"""A rolling upgrade: this version and the one before or after it use a store at once."""

from __future__ import annotations

import json

import pytest

from jobtastic_signals.stores import records
from jobtastic_signals.stores.cas import CompareAndSwapStore
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.testing.conformance.base import complete, put, run
from tests.unit.stores.test_compare_and_swap import Table


class OfAnotherVersion:
    """A package of another version on the same rows: it writes another version, and reads only its own."""

    def __init__(self, rows, version):
        self.store, self.version = Table(), version
        self.store.rows = rows

    def __call__(self, operation):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(records, "FORMAT_VERSION", self.version)
            return operation(self.store)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_each_version_takes_the_entries_of_the_other_for_absent_and_replaces_them(version):
    ours = Table()
    theirs = OfAnotherVersion(ours.rows, version)
    guarded = GuardedStore(lambda: ours, ours.url)
    assert put(ours, "key", b"ours")
    for _ in range(3):
        assert theirs(lambda store: store.lookup("key")) is None
        assert theirs(lambda store: run(store, "them")).previous is None
        assert theirs(lambda store: complete(store, "them", b"theirs"))
        assert theirs(lambda store: store.lookup("key")).payload == b"theirs"
        assert guarded.lookup("key") is None
        assert run(ours, "us").previous is None
        assert complete(ours, "us", b"ours")
        assert guarded.lookup("key").payload == b"ours"
    assert not guarded.is_down


def test_a_field_more_of_a_later_release_costs_nothing():
    store = Table()
    run(store, "owner")
    version, record = store.rows["key"]
    head, _, payload = record.partition(b"\n")
    fields = json.loads(head)
    fields["claim"]["a field of the next version"] = [1]
    store.rows["key"] = version, json.dumps(fields).encode() + b"\n" + payload
    assert isinstance(store, CompareAndSwapStore)
    assert store.lookup("key").owner == "owner"
