"""``entries``, what can be a key, an owner and a payload, and the store as an object."""

from __future__ import annotations

import pytest

from ...stores import Entry, Store
from ..clock import Clock
from .base import LEASE, Fixtures, complete, payload_of, put, queue, queued, renew, result_of, run, running

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
    def test_entries_are_live_claims_and_results_that_are_handed_out(
        self, store: Store, clock: Clock
    ) -> None:
        queue(store, "owner", "queued")
        run(store, "owner", "running")
        put(store, "a result")
        put(store, "ended", ttl=1)
        for key in ("kept", "kept beside a claim"):
            run(store, "owner", key)
            run(store, "waiter", key)
            complete(store, "owner", ttl=0, key=key, kept_for=1000)
        run(store, "next", "kept beside a claim")
        clock.advance(1)
        complete(store, "owner", ttl=0, key="stale beside a claim", stale_for=1000)
        queue(store, "renewal", "stale beside a claim")
        store.forget_scope("a scope", ttl=None)
        store.count("counts", {"calls": 1}, ttl=1000)
        found = sorted(store.entries(), key=lambda entry: entry[0])
        keys = ["a result", "kept beside a claim", "queued", "running", "stale beside a claim"]
        assert found == [(key, store.entry(key)) for key in keys]
        for key in keys[:-1]:
            entry = store.entry(key)
            assert (entry.result or entry.claim) == store.lookup(key)

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
            put(store, key, b"")
        assert {key for key, _ in store.entries(prefix)} == expected

    def test_entries_of_an_empty_store_are_none(self, store: Store) -> None:
        assert store.identity
        assert list(store.entries()) == []

    def test_entries_may_be_changed_while_they_are_read(self, store: Store) -> None:
        keys = {f"key-{number}" for number in range(300)}
        for key in keys:
            put(store, key)
        assert {key for key, _ in store.entries() if store.forget(key)} == keys
        assert list(store.entries()) == []

    # Keys, owners and payloads

    @pytest.mark.parametrize("key", ODD_KEYS, ids=_name)
    def test_any_text_is_a_key(self, store: Store, clock: Clock, key: str) -> None:
        assert store.identity
        assert store.lookup(key) is None
        assert queue(store, "owner", key) == queued("owner", clock())
        assert dict(store.entries()) == {key: Entry(queued("owner", clock()))}
        assert run(store, "owner", key) == running("owner", clock())
        assert renew(store, "owner", key) is True
        assert complete(store, "owner", key=key, index="index") is True
        assert store.lookup(key) == result_of("owner", clock())
        assert dict(store.entries(key))[key] == store.entry(key) == Entry(None, result_of("owner", clock()))
        assert payload_of(store.lookup("index")) == key.encode()
        assert store.forget(key) is True
        assert store.release(key, "owner", "") is False
        assert store.lookup(key) is None

    def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        keys = ["key", "KEY", "key ", " key", "kéy", "ke\u0301y", "key\n", "k", "", "k" * 500, "k" * 501]
        for key in keys:
            assert put(store, key, key.encode()) is True
        found = {key: payload_of(entry.result) for key, entry in store.entries()}
        assert found == {key: key.encode() for key in keys}
        assert {key: payload_of(store.lookup(key)) for key in keys} == found

    @pytest.mark.parametrize("owner", ODD_OWNERS, ids=_name)
    def test_any_text_is_an_owner(self, store: Store, clock: Clock, owner: str) -> None:
        assert queue(store, owner) == queued(owner, clock())
        claim = run(store, owner)
        assert claim == running(owner, clock())
        assert run(store, "next", lapsed=claim) == running("next", clock(), awaited=True, previous=owner)
        assert put(store, "other", owner=owner) is True
        assert store.lookup("other") == result_of(owner, clock())

    @pytest.mark.parametrize("delivery", ODD_OWNERS, ids=_name)
    def test_any_text_is_a_delivery(self, store: Store, clock: Clock, delivery: str) -> None:
        claim = store.claim("key", "owner", delivery, LEASE)
        assert claim == running("owner", clock(), delivery=delivery) == store.lookup("key")
        assert store.claim("key", "owner", delivery + ".", LEASE).owner == "owner"
        assert store.renew("key", "owner", delivery, LEASE) is True
        assert store.release("key", "owner", delivery + ".") is False
        assert store.complete("key", "owner", delivery, b"42", ttl=None) is True
        assert store.lookup("key") == result_of("owner", clock())

    @pytest.mark.parametrize("payload", ODD_PAYLOADS, ids=_name)
    def test_any_bytes_are_a_payload(self, store: Store, payload: bytes) -> None:
        assert put(store, "key", payload) is True
        for found in (store.lookup("key"), queue(store, "caller"), run(store, "caller")):
            assert payload_of(found) == payload

    @pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "СОСТОЯНИЕ"])
    def test_any_text_is_a_state(self, store: Store, clock: Clock, state: str) -> None:
        assert complete(store, "owner", state=state) is True
        assert store.lookup("key") == result_of("owner", clock(), state=state)

    @pytest.mark.parametrize("fraction", [0.1, 0.123456, 1 / 3, 0.999999, 0.0])
    def test_times_are_what_the_clock_said_to_the_last_digit(
        self, store: Store, clock: Clock, fraction: float
    ) -> None:
        clock.now = int(clock.now) + fraction
        assert queue(store, "owner", lease=1 / 3, expires=2 / 3) == queued(
            "owner", clock(), 1 / 3, message_expires=clock() + 2 / 3
        )
        claim = store.lookup("key")
        assert claim == queue(store, "owner")
        began = clock()
        assert run(store, "owner", lease=1 / 3) == running("owner", began, 1 / 3) == store.lookup("key")
        clock.advance(0.1)
        assert complete(store, "owner", ttl=1 / 7) is True
        assert store.lookup("key") == result_of("owner", clock(), ttl=1 / 7, began=began)

    def test_a_payload_may_be_large(self, store: Store) -> None:
        payload = (bytes(range(256)) * (self.largest // 256 + 1))[: self.largest]
        assert complete(store, "owner", payload, index="of owner") is True
        for found in (store.lookup("key"), queue(store, "caller"), run(store, "caller")):
            # One word, since pytest would print what differs.
            assert (len(payload_of(found)), payload_of(found) == payload) == (self.largest, True)
        assert payload_of(store.lookup("of owner")) == b"key"
        assert store.forget("key") is True

    # The store itself

    def test_identity_is_a_text_that_stays(self, store: Store) -> None:
        assert isinstance(store.identity, str)
        assert store.identity == store.identity

    def test_a_closed_store_opens_again_when_it_is_used(self, store: Store, clock: Clock) -> None:
        identity = store.identity
        claim = run(store, "owner", "claimed")
        put(store, "a result")
        store.close()
        store.close()
        assert store.lookup("claimed") == claim
        assert store.lookup("a result") == result_of("owner", clock())
        assert store.identity == identity

    def test_its_text_names_the_url(self, store: Store) -> None:
        assert store.url in repr(store)
        assert store.url.partition("://")[0] in store.schemes
