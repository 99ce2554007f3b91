"""The contract once more, in the order of its sentences, with one dict for each kind of thing.

It shares nothing with the rules that the stores follow, so that a mistake there is not made here too.
"""

from __future__ import annotations

from dataclasses import replace

from ...stores import Claim, Result
from ..clock import Clock

__all__ = ["Model"]

HOUR = 3600.0


class Model:
    """Claims and results in dicts. What has ended stays there, and is passed over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.all_claims: dict[str, Claim] = {}
        self.all_results: dict[str, Result] = {}

    @property
    def claims(self) -> dict[str, Claim]:
        """The claims that a store remembers."""
        return {key: claim for key, claim in self.all_claims.items() if self.clock() < claim.expires + HOUR}

    def live(self, key: str, lapsed: Claim | None = None) -> Claim | None:
        claim = self.claims.get(key)
        if claim is None or claim.expires <= self.clock():
            return None
        if lapsed is not None and (claim.owner, claim.delivery) == (lapsed.owner, lapsed.delivery):
            return None
        return claim

    def lives(self, end: float | None) -> bool:
        return end is None or self.clock() < end

    def answering(self, key: str) -> Result | None:
        result = self.all_results.get(key)
        return result if result and self.lives(result.expires) else None

    def answering_delivery(self, key: str, called: float | None, waited_for: str | None) -> Result | None:
        result = self.all_results.get(key)
        if result is None or self.lives(result.expires):
            return result
        is_of_before = called is not None and called < result.began
        waited = waited_for is not None and waited_for == result.owner
        return result if self.lives(result.kept) and (is_of_before or waited) else None

    def lookup(self, key: str) -> Result | Claim | None:
        return self.answering(key) or self.live(key)

    def lookup_or_claim(
        self, key: str, owner: str, lease: float,
        expires: float | None = None, goes_out: bool = False, lapsed: Claim | None = None,
    ) -> Result | Claim:  # fmt: skip
        if result := self.answering(key):
            return result
        live, mine_expires = self.live(key, lapsed), None if expires is None else self.clock() + expires
        if live and (live.delivery or live.owner == owner or self.outlasts(live, mine_expires)):
            self.all_claims[key] = replace(live, awaited=live.awaited or (goes_out and live.owner != owner))
            return self.all_claims[key]
        old = self.claims.get(key)
        awaited = old is not None and (old.awaited or old.owner != owner)
        return self.grant(
            key, Claim(owner, self.clock() + lease, self.clock(), None, awaited, mine_expires), old
        )

    def outlasts(self, live: Claim, mine_expires: float | None) -> bool:
        if live.message_expires is None:
            return True
        return mine_expires is not None and live.message_expires >= mine_expires

    def grant(self, key: str, claim: Claim, old: Claim | None) -> Claim:
        self.all_claims[key] = claim
        return replace(claim, previous=old.owner if old and old.owner != claim.owner else None)

    def claim(
        self, key: str, owner: str, delivery: str, lease: float,
        called: float | None = None, waited_for: str | None = None, lapsed: Claim | None = None,
    ) -> Result | Claim:  # fmt: skip
        if result := self.answering_delivery(key, called, waited_for):
            return result
        live = self.live(key, lapsed)
        if live and live.delivery and live.delivery != delivery:
            self.all_claims[key] = replace(live, awaited=True)
            return self.all_claims[key]
        return self.run(key, owner, delivery, lease, 0.0)

    def run(self, key: str, owner: str, delivery: str, lease: float, ran_for: float) -> Claim:
        old, now = self.claims.get(key), self.clock()
        if old and old.delivery == delivery:
            self.all_claims[key] = replace(old, expires=now + lease)
            return self.all_claims[key]
        displaced = old is not None and (old.owner != owner or old.delivery is not None)
        awaited = displaced or (old is not None and old.awaited)
        return self.grant(key, Claim(owner, now + lease, now - ran_for, delivery, awaited), old)

    def renew(self, key: str, owner: str, delivery: str, lease: float, ran_for: float) -> bool:
        live = self.live(key)
        if live and live.delivery and live.delivery != delivery:
            return False
        own = (claim := self.claims.get(key)) and claim.delivery == delivery
        if not own and self.is_of_later_run(key, self.clock() - ran_for):
            return False
        self.run(key, owner, delivery, lease, ran_for)
        return True

    def complete(
        self, key: str, owner: str, delivery: str | None, payload: bytes, ttl: float | None,
        state: str = "SUCCESS", kept_for: float = 0.0, ran_for: float = 0.0, index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:  # fmt: skip
        claim, now = self.claims.get(key), self.clock()
        mine = claim if claim and claim.delivery and claim.delivery == delivery else None
        began = mine.since if mine else now - ran_for
        if not mine and self.is_late(key, began):
            return False
        if claim and claim.owner == owner:
            del self.all_claims[key]
        expires = kept = None if ttl is None else now + ttl
        if expires is not None and claim and (mine is None or mine.awaited):
            kept = max(expires, now + kept_for)
        if self.lives(kept):
            result = self.all_results[key] = Result(owner, payload, state, began, now, expires, kept)
            self.write_index(index, key, result, index_ttl)
        return True

    def is_late(self, key: str, began: float) -> bool:
        live = self.live(key)
        if live and live.delivery:
            return True
        return self.answering(key) is not None or self.is_of_later_run(key, began)

    def is_of_later_run(self, key: str, began: float) -> bool:
        result = self.all_results.get(key)
        return result is not None and self.lives(result.kept) and result.began > began

    def write_index(self, index: str | None, key: str, result: Result, ttl: float | None) -> None:
        end = result.expires if ttl is None else self.clock() + ttl
        if index is not None and self.lives(end):
            self.all_results[index] = replace(result, payload=key.encode(), expires=end, kept=end)

    def release(
        self, key: str, owner: str, delivery: str | None, requeue: float = 0.0, unless_awaited: bool = False
    ) -> bool:
        claim, now = self.claims.get(key), self.clock()
        if claim is None or claim.owner != owner:
            return False
        if claim.delivery is not None and (delivery is None or not claim.delivery.startswith(delivery)):
            return False
        if claim.awaited and (unless_awaited or (not requeue and not claim.delivery and not self.live(key))):
            return False
        if claim.awaited or requeue:
            self.all_claims[key] = Claim(owner, now + requeue, now, None, claim.awaited)
        else:
            del self.all_claims[key]
        return True

    def forget(self, key: str) -> bool:
        is_there = self.answering(key) is not None
        self.all_results.pop(key, None)
        return is_there

    def entries(self, prefix: str) -> dict[str, Result | Claim]:
        keys = {*self.all_claims, *self.all_results}
        found = {key: self.lookup(key) for key in keys if key.startswith(prefix)}
        return {key: entry for key, entry in found.items() if entry}
