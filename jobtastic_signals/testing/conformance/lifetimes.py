"""Ends by the real clock: what a storage drops by itself, it must drop neither early nor late."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...stores import Claim, Result, Store
from .base import LEASE, Fixtures, payload_of

__all__ = ["Lifetimes"]

#: Seconds. Twice as long is more than one, for storages that count whole seconds.
SHORT = 0.6

TIMEOUT = 10.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"not so after {TIMEOUT} seconds"
        time.sleep(0.01)


class Lifetimes(Fixtures):
    """Short leases and lives, by a clock that nobody advances. None of it asks for a fast machine."""

    def test_a_claim_ends_in_time_and_is_its_owners_still(self, ticking: Store) -> None:
        end = time.time() + SHORT
        for key in ("settled", "taken over"):
            ticking.admit(key, "late", SHORT)
        wait_until(lambda: ticking.lookup("taken over") is None)
        assert time.time() >= end
        time.sleep(SHORT)
        assert ticking.settle("settled", "late", b"42", None) is True
        claim = ticking.admit("taken over", "next", LEASE)
        assert isinstance(claim, Claim)
        assert (claim.owner, claim.previous) == ("next", "late")

    def test_a_claim_that_was_renewed_outlives_its_first_lease(self, ticking: Store) -> None:
        def extended() -> bool:
            ticking.admit("extended", "owner", SHORT)
            return ticking.extend("extended", "owner", LEASE)

        ticking.admit("renewed", "owner", SHORT)
        ticking.admit("renewed", "owner", LEASE)
        wait_until(extended)
        time.sleep(2 * SHORT)
        assert {key for key, entry in ticking.entries() if isinstance(entry, Claim)} == {
            "renewed",
            "extended",
        }

    def test_a_result_ends_in_time_and_the_next_has_its_own(self, ticking: Store) -> None:
        end = time.time() + SHORT
        ticking.settle("key", "owner", b"42", SHORT)
        wait_until(lambda: ticking.lookup("key") is None)
        assert time.time() >= end
        assert list(ticking.entries()) == []
        assert ticking.settle("key", "next", b"43", None) is True
        time.sleep(SHORT)
        assert ticking.lookup("key") == Result("next", b"43", None, None)

    def test_what_is_kept_for_those_who_waited_ends_in_time(self, ticking: Store) -> None:
        for key in ("kept", "ended", "replaced"):
            ticking.admit(key, "owner", LEASE)
            ticking.admit(key, "waiter", LEASE)
        ticking.settle("kept", "owner", b"42", SHORT, handover=LEASE)
        ticking.settle("ended", "owner", b"42", 0, handover=SHORT)
        ticking.settle("replaced", "owner", b"42", 0, handover=SHORT)
        ticking.settle("replaced", "next", b"43", None)
        time.sleep(2 * SHORT)
        assert ticking.lookup("kept") is None
        assert payload_of(ticking.admit("kept", "waiter", LEASE, waited_for="owner")) == b"42"
        assert isinstance(ticking.admit("ended", "waiter", LEASE, waited_for="owner"), Claim)
        assert ticking.lookup("replaced") == Result("next", b"43", None, None)
