"""Ends by the real clock: what a storage drops by itself, it must drop neither early nor late."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...stores import Claim, Store
from .base import LEASE, Fixtures, complete, payload_of, queue, renew, run

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

    def test_a_claim_ends_in_time_and_is_remembered(self, ticking: Store) -> None:
        end = time.time() + SHORT
        for key in ("completed", "taken over"):
            run(ticking, "late", key, SHORT)
        queue(ticking, "late", "queued", SHORT)
        wait_until(lambda: list(ticking.entries()) == [])
        assert time.time() >= end
        time.sleep(SHORT)
        assert complete(ticking, "late", key="completed") is True
        for key, ask in (("taken over", run), ("queued", queue)):
            claim = ask(ticking, "next", key)
            assert (claim.owner, claim.previous) == ("next", "late")

    def test_a_claim_that_was_renewed_outlives_its_first_lease(self, ticking: Store) -> None:
        def renewed() -> bool:
            run(ticking, "owner", "renewed", SHORT)
            return renew(ticking, "owner", "renewed")

        for key in ("claimed again", "requeued"):
            run(ticking, "owner", key, SHORT)
        run(ticking, "owner", "claimed again")
        ticking.release("requeued", "owner", "", requeue=LEASE)
        wait_until(renewed)
        time.sleep(2 * SHORT)
        found = {key for key, entry in ticking.entries() if entry.claim is not None}
        assert found == {"renewed", "claimed again", "requeued"}

    def test_a_result_ends_in_time_and_the_next_has_its_own(self, ticking: Store) -> None:
        end = time.time() + SHORT
        complete(ticking, "owner", ttl=SHORT, index="of owner", index_ttl=LEASE)
        wait_until(lambda: ticking.lookup("key") is None)
        assert time.time() >= end
        assert [key for key, _ in ticking.entries()] == ["of owner"]
        assert complete(ticking, "next", b"43") is True
        time.sleep(SHORT)
        assert payload_of(ticking.lookup("key")) == b"43"

    def test_an_index_ends_in_time(self, ticking: Store) -> None:
        end = time.time() + SHORT
        complete(ticking, "owner", index="of owner", index_ttl=SHORT)
        wait_until(lambda: ticking.lookup("of owner") is None)
        assert time.time() >= end

    def test_what_is_kept_for_others_ends_in_time(self, ticking: Store) -> None:
        for key in ("kept", "ended", "replaced"):
            run(ticking, "owner", key)
            run(ticking, "waiter", key)
        complete(ticking, "owner", ttl=SHORT, key="kept", kept_for=LEASE)
        complete(ticking, "owner", ttl=0, key="ended", kept_for=SHORT)
        complete(ticking, "owner", ttl=0, key="replaced", kept_for=SHORT)
        complete(ticking, "next", b"43", key="replaced")
        time.sleep(2 * SHORT)
        assert ticking.lookup("kept") is None
        assert payload_of(run(ticking, "waiter", "kept", waited_for="owner")) == b"42"
        assert isinstance(run(ticking, "waiter", "ended", waited_for="owner"), Claim)
        assert payload_of(ticking.lookup("replaced")) == b"43"
