"""What the model of a store knows: one dict for each kind of thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ...stores import Claim, Result
from ..clock import Clock

__all__ = ["State"]

HOUR = 3600.0


class State:
    """Claims and results in dicts. What has ended stays there, and is passed over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.all_claims: dict[str, Claim] = {}
        self.all_nexts: dict[str, Claim] = {}
        self.all_results: dict[str, Result] = {}
        self.all_counts: dict[str, tuple[dict[str, float], float]] = {}
        self.forgettings: dict[str, float] = {}
        self.marks: dict[str, tuple[float, float]] = {}

    # What is there

    @property
    def claims(self) -> dict[str, Claim]:
        """The claims that a store remembers."""
        return {key: claim for key, claim in self.all_claims.items() if self.clock() < claim.expires + HOUR}

    @property
    def nexts(self) -> dict[str, Claim]:
        """The claims behind those, which are remembered with them."""
        return {key: claim for key, claim in self.all_nexts.items() if key in self.claims}

    def lives(self, end: float | None) -> bool:
        return end is None or self.clock() < end

    def is_live(self, claim: Claim | None, lapsed: Claim | None = None) -> bool:
        if claim is None or not self.lives(claim.expires):
            return False
        return lapsed is None or (claim.owner, claim.delivery) != (lapsed.owner, lapsed.delivery)

    def live_next(self, key: str) -> Claim | None:
        following = self.nexts.get(key)
        return following if self.is_live(following) else None

    def live_claims(self, key: str, lapsed: Claim | None = None) -> tuple[Claim | None, Claim | None]:
        """Return the claim and the next one. The next one is the claim where that has lapsed."""
        claim, following = self.claims.get(key), self.live_next(key)
        if self.is_live(claim, lapsed):
            return claim, following
        return (None, None) if following is None else (replace(following, awaited=True), None)

    def known_result(self, key: str) -> Result | None:
        result = self.all_results.get(key)
        if result is None:
            return None
        ends = (result.expires, result.kept, result.stale_until or 0.0)
        return result if any(self.lives(end) for end in ends) else None

    def result_for(self, key: str, scopes: Sequence[str], called: float = math.inf) -> Result | None:
        """Return the result, unless it is of a forgotten run and the call was not made before that."""
        result = self.known_result(key)
        if result is None or called < result.began:
            return result
        return None if result.began <= self.last_forgotten(key, scopes) else result

    def is_stale(self, result: Result | None) -> bool:
        if result is None or result.stale_until is None:
            return False
        return not self.lives(result.expires) and self.lives(result.stale_until)

    def last_forgotten(self, key: str, scopes: Sequence[str]) -> float:
        known = [self.marks[scope][0] for scope in scopes if scope in self.marks]
        return max([self.forgettings.get(key, 0.0), *known])

    def is_idle(self, key: str) -> bool:
        return key not in self.claims and self.known_result(key) is None

    def tidy(self) -> None:
        """Drop what a store forgets about forgetting."""
        old = {key for key, at in self.forgettings.items() if self.clock() >= at + HOUR and self.is_idle(key)}
        self.forgettings = {key: at for key, at in self.forgettings.items() if key not in old}
        self.marks = {scope: mark for scope, mark in self.marks.items() if self.lives(mark[1])}

    def useless_since(self, key: str, claim: Claim, scopes: Sequence[str]) -> float | None:
        """Return since when the claim cannot be joined."""
        if claim.delivery is not None and claim.since <= self.last_forgotten(key, scopes):
            return self.last_forgotten(key, scopes)
        return claim.since if len(claim.left) == claim.joined + 1 else None

    def shown(self, key: str, scopes: Sequence[str], claim: Claim, following: Claim | None) -> Claim:
        return replace(claim, next=following, forgotten=self.useless_since(key, claim, scopes))

    def drop(self, key: str, claims: dict[str, Claim]) -> None:
        """Drop a claim, whose place the next one takes, or a next one."""
        del claims[key]
        if claims is self.all_claims and key in self.all_nexts:
            claims[key] = self.all_nexts.pop(key)
