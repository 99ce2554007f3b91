"""``entries``, what can be a key, an owner and a payload, and the store as an object."""

from __future__ import annotations

import pytest

from ...stores import Claim, Result, Store
from ..clock import Clock
from .base import LEASE, Fixtures, payload_of

__all__ = ["Contents"]

ODD_KEYS = [
    "v1:proj.tasks.divide:0f",
    "ключ-鍵-🔑-é",
    "two  spaces and a trailing one ",
    "a/b:c//..::",
    "line\nline\r\n\ttab",
    "%_*?[a-z]\\{}",
    "identity",
    "k" * 500,
    "鍵" * 500,
    "",
]

ODD_OWNERS = ["ключ \n\"'\\", "", "0", "null", "o" * 500]

ODD_PAYLOADS = [b"", b"\n", b"\n\n{}\n", b"\x00\xff\x80", b"[1]", b"7", bytes(range(256))]


def _name(value: str | bytes) -> str:
    return ascii(value[:12]) + (f"...{len(value)}" if len(value) > 12 else "")


class Contents(Fixtures):
    """What can be in a store, and how it is listed."""

    # entries

    @pytest.mark.usefixtures("lapsed")
    def test_entries_are_what_lookup_finds(self, store: Store, clock: Clock) -> None:
        store.admit("claimed", "owner", LEASE)
        store.settle("settled", "owner", b"42", None)
        store.settle("ended", "owner", b"42", 1)
        for key in ("kept", "kept beside a claim"):
            store.admit(key, "owner", LEASE)
            store.admit(key, "waiter", LEASE)
            store.settle(key, "owner", b"42", 0, handover=1000)
        store.admit("kept beside a claim", "next", LEASE)
        clock.advance(1)
        found = sorted(store.entries(), key=lambda entry: entry[0])
        assert found == [(key, store.lookup(key)) for key in ("claimed", "kept beside a claim", "settled")]

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("", {"a", "ab", "a_", "a_b", "a*", "a%", "A", "b/a", "[a]"}),
            ("a", {"a", "ab", "a_", "a_b", "a*", "a%"}),
            ("a_", {"a_", "a_b"}),
            ("a*", {"a*"}),
            ("a%", {"a%"}),
            ("[a]", {"[a]"}),
            ("A", {"A"}),
            ("z", set()),
        ],
    )
    def test_entries_start_with_the_prefix_taken_as_plain_text(
        self, store: Store, prefix: str, expected: set[str]
    ) -> None:
        for key in ("a", "ab", "a_", "a_b", "a*", "a%", "A", "b/a", "[a]"):
            store.settle(key, "owner", b"", None)
        assert {key for key, _ in store.entries(prefix)} == expected

    def test_entries_of_an_empty_store_are_none(self, store: Store) -> None:
        assert store.identity
        assert list(store.entries()) == []

    def test_entries_may_be_changed_while_they_are_read(self, store: Store) -> None:
        keys = {f"key-{number}" for number in range(300)}
        for key in keys:
            store.settle(key, "owner", b"42", None)
        assert {key for key, _ in store.entries() if store.forget(key)} == keys
        assert list(store.entries()) == []

    # Keys, owners and payloads

    @pytest.mark.parametrize("key", ODD_KEYS, ids=_name)
    def test_any_text_is_a_key(self, store: Store, clock: Clock, key: str) -> None:
        assert store.identity
        assert store.lookup(key) is None
        assert store.admit(key, "owner", LEASE) == Claim("owner", clock() + LEASE)
        assert dict(store.entries()) == {key: Claim("owner", clock() + LEASE)}
        assert store.extend(key, "owner", LEASE) is True
        assert store.settle(key, "owner", b"42", None) is True
        assert dict(store.entries(key)) == {key: Result("owner", b"42", None, None)}
        assert store.forget(key) is True
        assert store.release(key, "owner") is False
        assert store.lookup(key) is None

    def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        keys = ["key", "KEY", "key ", " key", "kéy", "ke\u0301y", "key\n", "k", "", "k" * 500, "k" * 501]
        for key in keys:
            assert store.settle(key, "owner", key.encode(), None) is True
        found = {key: payload_of(entry) for key, entry in store.entries()}
        assert found == {key: key.encode() for key in keys}
        assert {key: payload_of(store.lookup(key)) for key in keys} == found

    @pytest.mark.parametrize("owner", ODD_OWNERS, ids=_name)
    def test_any_text_is_an_owner(self, store: Store, clock: Clock, owner: str) -> None:
        assert store.admit("key", owner, LEASE) == Claim(owner, clock() + LEASE)
        claim = store.admit("key", "next", LEASE, stale=owner)
        assert claim == Claim("next", clock() + LEASE, previous=owner)
        assert store.settle("other", owner, b"42", None) is True
        assert store.lookup("other") == Result(owner, b"42", None, None)

    @pytest.mark.parametrize("payload", ODD_PAYLOADS, ids=_name)
    def test_any_bytes_are_a_payload(self, store: Store, payload: bytes) -> None:
        assert store.settle("key", "owner", payload, None) is True
        assert payload_of(store.lookup("key")) == payload
        assert payload_of(store.admit("key", "caller", LEASE)) == payload

    def test_a_payload_may_be_large(self, store: Store) -> None:
        payload = (bytes(range(256)) * (self.largest // 256 + 1))[: self.largest]
        assert store.settle("key", "owner", payload, None) is True
        for found in (store.lookup("key"), store.admit("key", "caller", LEASE)):
            # One word, since pytest would print what differs.
            assert (len(payload_of(found)), payload_of(found) == payload) == (self.largest, True)

    # The store itself

    def test_identity_is_a_text_that_stays(self, store: Store) -> None:
        assert isinstance(store.identity, str)
        assert store.identity == store.identity

    def test_a_closed_store_opens_again_when_it_is_used(self, store: Store, clock: Clock) -> None:
        identity = store.identity
        store.admit("claimed", "owner", LEASE)
        store.settle("settled", "owner", b"42", None)
        store.close()
        store.close()
        assert store.lookup("claimed") == Claim("owner", clock() + LEASE)
        assert store.lookup("settled") == Result("owner", b"42", None, None)
        assert store.identity == identity

    def test_its_text_names_the_url(self, store: Store) -> None:
        assert store.url in repr(store)
        assert store.url.partition("://")[0] in store.schemes
