"""``count`` and ``counts``: numbers that are added up."""

from __future__ import annotations

import pytest

from ...stores import Store
from ..clock import Clock
from .base import Fixtures, put, queue

__all__ = ["Counts"]


class Counts(Fixtures):
    """The contract's sentences about numbers."""

    def test_numbers_are_added_up_by_name(self, store: Store) -> None:
        store.count("counts:a", {"calls": 1, "run_seconds": 0.5}, ttl=1000)
        store.count("counts:a", {"calls": 2, "hits": 1}, ttl=1000)
        store.count("counts:b", {"calls": -3.5}, ttl=1000)
        found = {key: dict(amounts) for key, amounts in store.counts()}
        assert found == {
            "counts:a": {"calls": 3, "run_seconds": 0.5, "hits": 1},
            "counts:b": {"calls": -3.5},
        }

    def test_numbers_last_for_their_time_after_the_last_was_added(self, store: Store, clock: Clock) -> None:
        store.count("key", {"calls": 1}, ttl=1000)
        clock.advance(999)
        store.count("key", {"calls": 1}, ttl=1000)
        clock.advance(999)
        assert dict(store.counts()) == {"key": {"calls": 2}}
        clock.advance(1)
        assert list(store.counts()) == []
        store.count("key", {"calls": 1}, ttl=1000)
        assert dict(store.counts()) == {"key": {"calls": 1}}

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [("", {"a", "ab", "a_b", "b"}), ("a", {"a", "ab", "a_b"}), ("a_", {"a_b"}), ("z", set())],
    )
    def test_numbers_are_listed_by_the_prefix_taken_as_plain_text(
        self, store: Store, prefix: str, expected: set[str]
    ) -> None:
        for key in ("a", "ab", "a_b", "b"):
            store.count(key, {"calls": 1}, ttl=1000)
        assert {key for key, _ in store.counts(prefix)} == expected

    def test_numbers_are_no_entry_and_entries_are_no_numbers(self, store: Store) -> None:
        store.count("counts", {"calls": 1}, ttl=1000)
        put(store, "a result")
        queue(store, "owner", "claimed")
        assert {key for key, _ in store.entries()} == {"a result", "claimed"}
        assert {key for key, _ in store.counts()} == {"counts"}
        assert store.lookup("counts") is None
        assert store.forget("counts") is False
        assert dict(store.counts()) == {"counts": {"calls": 1}}

    def test_nothing_is_added_to_what_is_not_named(self, store: Store) -> None:
        store.count("counts", {}, ttl=1000)
        assert not any(amounts for _, amounts in store.counts())
