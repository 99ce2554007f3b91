"""What every store must do: the docstrings of :class:`jobtastic_signals.Store`, sentence by sentence.

Subclass :class:`StoreConformance` in a test module, as ``class TestMyStore(StoreConformance)``, and give
it the fixture ``store``: a fresh, empty store that was made with the fixture ``clock``, a callable whose
``advance(seconds)`` moves it.
"""

import json

import pytest

from jobtastic_signals import Claim, Result

__all__ = ["StoreConformance"]

LEASE, LATER = 60.0, 30.0

ODD_KEYS = [
    "v1:proj.tasks.divide:0f",
    "ключ-鍵-🔑-é",
    "two  spaces and a trailing one ",
    "a/b:c//..::",
    "line\nline\r\n\ttab",
    "%_*?[a-z]\\",
    "identity",
    "k" * 500,
    "鍵" * 500,
    "",
]

PAYLOADS = [b"", b"\n", b"\n\n{}\n", b"\x00\xff\x80", json.dumps([1]).encode(), bytes(range(256)) * 40_000]


def _name(value):
    return ascii(value[:12]) + (f"...{len(value)}" if len(value) > 12 else "")


class StoreConformance:
    """Holds the store of the fixture ``store`` to the contract."""

    @pytest.fixture
    def lapsed(self, store, clock):
        """A claim of ``"late"`` on ``"key"`` that has just lapsed."""
        store.admit("key", "late", LEASE)
        clock.advance(LEASE)

    @pytest.fixture
    def waited(self, store):
        """A live claim of ``"owner"`` on ``"key"`` that ``"waiter"`` waits for."""
        store.admit("key", "owner", LEASE)
        store.admit("key", "waiter", LEASE)

    # lookup

    def test_lookup_finds_nothing_under_a_new_key(self, store):
        assert store.lookup("key") is None

    def test_lookup_finds_a_claim_until_it_expires_and_not_then(self, store, clock):
        store.admit("key", "owner", LEASE)
        clock.advance(LEASE - 1)
        assert store.lookup("key") == Claim("owner", clock() + 1)
        clock.advance(1)
        assert store.lookup("key") is None

    def test_lookup_changes_nothing(self, store, clock):
        store.admit("key", "owner", LEASE)
        store.lookup("key")
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=False)

    @pytest.mark.parametrize("ttl", [None, 1000.0])
    def test_lookup_finds_a_result_for_as_long_as_it_lives(self, store, clock, ttl):
        store.settle("key", "owner", b"42", ttl)
        end = None if ttl is None else clock() + ttl
        clock.advance(999)
        assert store.lookup("key") == Result("owner", b"42", end, end)
        clock.advance(1)
        assert (store.lookup("key") is None) == (ttl is not None)

    def test_lookup_finds_a_result_that_lives_for_ever_much_later(self, store, clock):
        store.settle("key", "owner", b"42", None)
        clock.advance(100 * 365 * 86400)
        assert store.lookup("key") == Result("owner", b"42", None, None)

    def test_lookup_finds_the_claim_beside_a_result_that_is_only_kept_for_waiters(self, store, waited):
        store.settle("key", "owner", b"42", 0, handover=1000)
        assert store.lookup("key") is None
        claim = store.admit("key", "next", LEASE)
        assert store.lookup("key") == claim

    # admit

    def test_admit_gives_a_free_key_to_the_owner(self, store, clock):
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE)

    def test_admit_answers_with_a_result_and_claims_nothing(self, store, clock):
        store.settle("key", "owner", b"42", None)
        assert store.admit("key", "caller", LEASE) == Result("owner", b"42", None, None)
        store.forget("key")
        assert store.lookup("key") is None

    def test_admit_claims_where_the_result_has_ended(self, store, clock):
        store.settle("key", "owner", b"42", 1000)
        clock.advance(1000)
        assert store.admit("key", "caller", LEASE) == Claim("caller", clock() + LEASE)

    def test_admit_answers_with_somebody_elses_live_claim_marked_as_waited(self, store, clock):
        until = store.admit("key", "owner", LEASE).expires
        clock.advance(LATER)
        assert store.admit("key", "waiter", LEASE) == Claim("owner", until, waited=True)
        assert store.lookup("key") == Claim("owner", until, waited=True)

    def test_admit_renews_the_owners_own_claim(self, store, clock):
        store.admit("key", "owner", LEASE)
        clock.advance(LATER)
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE)
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    @pytest.mark.parametrize("lapse", [LATER, LEASE], ids=["live", "lapsed"])
    def test_a_renewed_claim_stays_marked(self, store, clock, waited, lapse):
        clock.advance(lapse)
        assert store.admit("key", "owner", LEASE) == Claim("owner", clock() + LEASE, waited=True)
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)

    def test_a_claim_that_calls_itself_stale_is_renewed(self, store, clock, waited):
        assert store.admit("key", "owner", LEASE, stale="owner") == Claim("owner", clock() + LEASE, True)

    def test_admit_replaces_a_lapsed_claim_and_says_whose_it_was(self, store, clock, lapsed):
        assert store.admit("key", "next", LEASE) == Claim("next", clock() + LEASE, previous="late")

    def test_only_the_answer_to_admit_says_whose_the_claim_was(self, store, clock, lapsed):
        store.admit("key", "next", LEASE)
        assert store.lookup("key") == Claim("next", clock() + LEASE)
        assert store.admit("key", "next", LEASE).previous is None
        assert store.admit("key", "waiter", LEASE).previous is None

    @pytest.mark.parametrize("lapse", [0, LEASE], ids=["stale", "lapsed"])
    def test_a_claim_does_not_inherit_the_mark_of_the_one_it_replaces(self, store, clock, waited, lapse):
        clock.advance(lapse)
        claim = store.admit("key", "next", LEASE, stale="owner")
        assert claim == Claim("next", clock() + LEASE, waited=False, previous="owner")

    def test_admit_replaces_the_live_claim_of_an_owner_that_ended(self, store, clock):
        store.admit("key", "ended", LEASE)
        claim = store.admit("key", "next", LEASE, stale="ended")
        assert claim == Claim("next", clock() + LEASE, previous="ended")

    def test_an_owner_that_ended_does_not_make_the_claim_of_another_stale(self, store, clock):
        store.admit("key", "owner", LEASE)
        claim = store.admit("key", "caller", LEASE, stale="ended")
        assert claim == Claim("owner", clock() + LEASE, waited=True)

    def test_admit_gives_those_who_waited_what_answers_no_new_caller(self, store, clock, waited):
        store.settle("key", "owner", b"42", 100, handover=1000)
        clock.advance(999)
        result = store.admit("key", "waiter", LEASE, waited_for="owner")
        assert (result.owner, result.payload) == ("owner", b"42")
        assert store.lookup("key") is None
        clock.advance(1)
        assert store.admit("key", "waiter", LEASE, waited_for="owner") == Claim("waiter", clock() + LEASE)

    @pytest.mark.parametrize("waited_for", [None, "somebody"])
    def test_admit_gives_what_is_kept_to_nobody_else(self, store, clock, waited, waited_for):
        store.settle("key", "owner", b"42", 0, handover=1000)
        claim = store.admit("key", "caller", LEASE, waited_for=waited_for)
        assert claim == Claim("caller", clock() + LEASE)

    def test_a_kept_result_is_there_for_each_who_waited_though_another_runs(self, store, waited):
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.admit("key", "next", LEASE)
        for _ in range(2):
            assert store.admit("key", "waiter", LEASE, waited_for="owner").payload == b"42"

    @pytest.mark.parametrize("waited_for", [None, "owner", "somebody"])
    def test_admit_gives_a_result_that_answers_to_all(self, store, waited_for):
        store.settle("key", "owner", b"42", 1000)
        assert store.admit("key", "caller", LEASE, waited_for=waited_for).payload == b"42"

    # extend

    def test_extend_counts_from_now_and_keeps_the_mark(self, store, clock, waited):
        clock.advance(LATER)
        assert store.extend("key", "owner", 1000) is True
        assert store.lookup("key") == Claim("owner", clock() + 1000, waited=True)

    def test_extend_can_shorten_a_lease(self, store, clock):
        store.admit("key", "owner", LEASE)
        assert store.extend("key", "owner", 1) is True
        assert store.lookup("key") == Claim("owner", clock() + 1)

    def test_extend_refuses_without_a_claim(self, store):
        assert store.extend("key", "owner", LEASE) is False
        assert store.lookup("key") is None

    def test_extend_refuses_a_lapsed_claim(self, store, lapsed):
        assert store.extend("key", "late", LEASE) is False
        assert store.lookup("key") is None

    def test_extend_refuses_somebody_elses_claim(self, store, clock):
        store.admit("key", "owner", LEASE)
        assert store.extend("key", "other", 1000) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    # settle

    def test_settle_stores_the_result_and_releases_the_claim(self, store):
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key") == Result("owner", b"42", None, None)
        assert store.release("key", "owner") is False

    def test_settle_without_any_claim_stores_the_result(self, store):
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key").payload == b"42"

    def test_settle_refuses_while_somebody_else_has_the_claim(self, store, clock):
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "other", b"42", None) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE)

    def test_settle_refuses_the_owner_whose_claim_was_taken_over(self, store, clock, lapsed):
        store.admit("key", "next", LEASE)
        assert store.settle("key", "late", b"late", None) is False
        assert store.lookup("key") == Claim("next", clock() + LEASE)

    def test_settle_never_overwrites_what_came_after_a_late_owner(self, store, lapsed):
        store.admit("key", "next", LEASE)
        store.settle("key", "next", b"newer", None)
        assert store.settle("key", "late", b"late", None) is False
        assert store.lookup("key").payload == b"newer"

    def test_settle_refuses_a_second_result_of_the_same_owner(self, store):
        store.settle("key", "owner", b"first", None)
        assert store.settle("key", "owner", b"second", None) is False
        assert store.lookup("key").payload == b"first"

    def test_settle_replaces_a_result_that_answers_nobody_any_more(self, store, clock):
        store.settle("key", "owner", b"old", 1000)
        clock.advance(1000)
        assert store.settle("key", "other", b"new", 1000) is True
        assert store.lookup("key").payload == b"new"

    def test_a_lapsed_claim_that_nobody_took_over_still_settles(self, store, lapsed):
        assert store.settle("key", "late", b"42", None) is True
        assert store.lookup("key").payload == b"42"

    def test_a_lapsed_claim_of_another_is_no_obstacle(self, store, lapsed):
        assert store.settle("key", "other", b"42", None) is True
        assert store.lookup("key").payload == b"42"

    def test_settle_for_no_time_answers_nobody_and_releases(self, store, clock):
        store.admit("key", "owner", LEASE)
        assert store.settle("key", "owner", b"42", 0) is True
        assert store.lookup("key") is None
        assert store.admit("key", "owner", LEASE, waited_for="owner") == Claim("owner", clock() + LEASE)

    def test_settle_keeps_nothing_for_waiters_where_nobody_waited(self, store, clock):
        store.admit("key", "owner", LEASE)
        store.settle("key", "owner", b"42", 100, handover=1000)
        clock.advance(100)
        claim = store.admit("key", "caller", LEASE, waited_for="owner")
        assert claim == Claim("caller", clock() + LEASE)

    def test_a_handover_shorter_than_the_results_life_takes_nothing_from_it(self, store, clock, waited):
        store.settle("key", "owner", b"42", 1000, handover=10)
        clock.advance(999)
        assert store.admit("key", "waiter", LEASE, waited_for="owner").payload == b"42"

    def test_settle_for_waiters_works_on_a_lapsed_claim_too(self, store, clock, waited):
        clock.advance(LEASE)
        assert store.settle("key", "owner", b"42", 0, handover=1000) is True
        assert store.admit("key", "waiter", LEASE, waited_for="owner").payload == b"42"

    # release

    def test_release_gives_up_the_claim_and_a_second_one_does_nothing(self, store):
        store.admit("key", "owner", LEASE)
        assert store.release("key", "owner") is True
        assert store.lookup("key") is None
        assert store.release("key", "owner") is False

    def test_a_second_release_does_not_hit_the_claim_that_came_after(self, store, clock):
        store.admit("key", "owner", LEASE)
        store.release("key", "owner")
        store.admit("key", "next", LEASE)
        assert store.release("key", "owner") is False
        assert store.lookup("key") == Claim("next", clock() + LEASE)

    def test_a_released_claim_is_nobodys_predecessor(self, store):
        store.admit("key", "owner", LEASE)
        store.release("key", "owner")
        assert store.admit("key", "next", LEASE).previous is None

    def test_release_gives_up_a_lapsed_claim(self, store, lapsed):
        assert store.release("key", "late") is True
        assert store.admit("key", "next", LEASE).previous is None

    def test_release_refuses_without_a_claim(self, store):
        assert store.release("key", "owner") is False

    def test_release_unless_waited_refuses_only_if_somebody_waits(self, store, clock):
        store.admit("key", "owner", LEASE)
        store.admit("key", "waiter", LEASE)
        assert store.release("key", "owner", unless_waited=True) is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)
        assert store.release("key", "owner") is True
        store.admit("key", "next", LEASE)
        assert store.release("key", "next", unless_waited=True) is True

    def test_release_leaves_the_result_alone(self, store, waited):
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.admit("key", "next", LEASE)
        assert store.release("key", "next") is True
        assert store.admit("key", "waiter", LEASE, waited_for="owner").payload == b"42"

    # forget

    def test_forget_drops_the_result_once(self, store):
        store.settle("key", "owner", b"42", None)
        assert store.forget("key") is True
        assert store.lookup("key") is None
        assert store.forget("key") is False

    def test_forget_says_that_there_was_none(self, store, clock):
        assert store.forget("key") is False
        store.settle("key", "owner", b"42", 1000)
        clock.advance(1000)
        assert store.forget("key") is False

    def test_forget_leaves_a_claim_that_settles_later(self, store, clock, waited):
        assert store.forget("key") is False
        assert store.lookup("key") == Claim("owner", clock() + LEASE, waited=True)
        assert store.settle("key", "owner", b"42", None) is True
        assert store.lookup("key").payload == b"42"

    def test_forget_drops_what_is_kept_for_waiters(self, store, waited):
        store.settle("key", "owner", b"42", 0, handover=1000)
        store.forget("key")
        assert isinstance(store.admit("key", "waiter", LEASE, waited_for="owner"), Claim)

    # entries

    def test_entries_are_what_lookup_finds(self, store, clock, lapsed):
        store.admit("claimed", "owner", LEASE)
        store.settle("settled", "owner", b"42", None)
        store.settle("ended", "owner", b"42", 1)
        store.admit("kept", "owner", LEASE)
        store.admit("kept", "waiter", LEASE)
        store.settle("kept", "owner", b"42", 0, handover=1000)
        clock.advance(1)
        found = list(store.entries())
        assert sorted(key for key, _ in found) == ["claimed", "settled"]
        assert dict(found) == {key: store.lookup(key) for key in ("claimed", "settled")}

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
    def test_entries_start_with_the_prefix_taken_as_plain_text(self, store, prefix, expected):
        for key in ("a", "ab", "a_", "a_b", "a*", "a%", "A", "b/a", "[a]"):
            store.settle(key, "owner", b"", None)
        assert {key for key, _ in store.entries(prefix)} == expected

    def test_entries_of_an_empty_store_are_none(self, store):
        assert store.identity
        assert list(store.entries()) == []

    def test_entries_may_be_changed_while_they_are_read(self, store):
        keys = {f"key-{number}" for number in range(300)}
        for key in keys:
            store.settle(key, "owner", b"42", None)
        assert {key for key, _ in store.entries() if store.forget(key)} == keys
        assert list(store.entries()) == []

    # Keys, owners and payloads

    @pytest.mark.parametrize("key", ODD_KEYS, ids=_name)
    def test_any_text_is_a_key(self, store, clock, key):
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

    def test_keys_that_look_alike_are_different(self, store):
        keys = ["key", "KEY", "key ", " key", "kéy", "ke\u0301y", "key\n", "k", ""]
        for key in keys:
            assert store.settle(key, "owner", key.encode(), None) is True
        assert {key: entry.payload for key, entry in store.entries()} == {key: key.encode() for key in keys}

    @pytest.mark.parametrize("owner", ["ключ \n\"'\\", "", "0", "null", "o" * 500], ids=_name)
    def test_any_text_is_an_owner(self, store, clock, owner):
        assert store.admit("key", owner, LEASE) == Claim(owner, clock() + LEASE)
        assert store.admit("key", "next", LEASE, stale=owner).previous == owner
        assert store.settle("other", owner, b"42", None) is True
        assert store.lookup("other") == Result(owner, b"42", None, None)

    @pytest.mark.parametrize("payload", PAYLOADS, ids=_name)
    def test_any_bytes_are_a_payload(self, store, payload):
        assert store.settle("key", "owner", payload, None) is True
        assert store.lookup("key").payload == payload
        assert store.admit("key", "caller", LEASE).payload == payload

    # The store itself

    def test_identity_is_a_text_that_stays(self, store):
        assert isinstance(store.identity, str)
        assert store.identity == store.identity

    def test_a_closed_store_opens_again_when_it_is_used(self, store, clock):
        identity = store.identity
        store.admit("claimed", "owner", LEASE)
        store.settle("settled", "owner", b"42", None)
        store.close()
        store.close()
        assert store.lookup("claimed") == Claim("owner", clock() + LEASE)
        assert store.lookup("settled") == Result("owner", b"42", None, None)
        assert store.identity == identity

    def test_its_text_names_the_url(self, store):
        assert store.url in repr(store)
        assert store.url.partition("://")[0] in store.schemes
