"""The contract once more, in the order of its sentences, with one dict for each kind of thing.

It shares nothing with the rules that the stores follow, so that a mistake there is not made here too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...stores import Claim, Entry, Result
from .state import State

__all__ = ["Model"]


class Model(State):
    """What a store does, as sets of dicts."""

    # What is asked

    def lookup(self, key: str, scopes: Sequence[str] = ()) -> Result | Claim | None:
        seen = self.entry(key, scopes)
        return seen.result if seen.result and self.lives(seen.result.expires) else seen.claim

    def entry(self, key: str, scopes: Sequence[str] = ()) -> Entry:
        result, (claim, following) = self.result_for(key, scopes), self.live_claims(key)
        if result and not self.lives(result.expires) and not self.is_stale(result):
            result = None
        return Entry(claim and self.shown(key, scopes, claim, following), result, following)

    def entries(self, prefix: str) -> dict[str, Entry]:
        found = {key: self.entry(key) for key in {*self.all_claims, *self.all_results}}
        return {key: entry for key, entry in found.items() if key.startswith(prefix) and entry != Entry()}

    def lookup_or_claim(
        self, key: str, owner: str, lease: float, expires: float | None = None, goes_out: bool = False,
        lapsed: Claim | None = None, scopes: Sequence[str] = (), fresh: bool = False, rerun: bool = False,
        joins: bool = True,
    ) -> Result | Claim:  # fmt: skip
        live, _ = self.live_claims(key, lapsed)
        if live and live != self.claims.get(key):
            self.all_claims[key] = live
            del self.all_nexts[key]
            live = live if self.is_live(live, lapsed) else None
        is_useless = live is not None and self.useless_since(key, live, scopes) is not None
        runs, result = live is not None and live.delivery is not None, self.result_for(key, scopes)
        if fresh or (rerun and runs):
            result = None
        if result and self.lives(result.expires):
            return result
        if result and self.is_stale(result) and live and not is_useless:
            return replace(result, renewal=owner if live.owner == owner else None)
        mine = None if expires is None else self.clock() + expires
        if live and (runs or live.owner == owner or self.can_join(live, mine, fresh, is_useless)):
            if runs and (fresh or rerun or is_useless) and mine is None:
                self.want_next(key, owner, lease)
            self.meet(key, owner, goes_out, joins, behind=runs and (fresh or is_useless))
            return self.shown(key, scopes, self.claims[key], self.live_next(key))
        stale = result if self.is_stale(result) else None
        return self.queue(key, Claim(owner, 0.0, 0.0, None, False, mine, fresh), lease, stale)

    def can_join(self, live: Claim, mine: float | None, fresh: bool, is_useless: bool) -> bool:
        if is_useless or (fresh and not live.fresh):
            return False
        return live.message_expires is None or (mine is not None and live.message_expires >= mine)

    def queue(self, key: str, new: Claim, lease: float, stale: Result | None) -> Result | Claim:
        old, now = self.claims.get(key), self.clock()
        claim = replace(new, expires=now + lease, since=now, awaited=self.others_rely(key, new.owner))
        self.all_claims[key] = replace(claim, fresh=new.fresh or stale is not None)
        self.all_nexts.pop(key, None)
        if stale:
            return replace(stale, renewal=new.owner)
        displaced = old.owner if old and old.owner != new.owner else None
        return replace(self.all_claims[key], previous=displaced)

    def others_rely(self, key: str, owner: str) -> bool:
        there = [claim for claim in (self.claims.get(key), self.nexts.get(key)) if claim]
        return any(claim.awaited or claim.owner != owner for claim in there)

    def want_next(self, key: str, owner: str, lease: float) -> None:
        old, now = self.nexts.get(key), self.clock()
        if old is None or (not self.is_live(old) and old.owner != owner):
            self.all_nexts[key] = Claim(owner, now + lease, now, awaited=old is not None, fresh=True)
        elif not self.is_live(old):
            self.all_nexts[key] = replace(old, expires=now + lease)

    def meet(self, key: str, owner: str, goes_out: bool, joins: bool, behind: bool) -> None:
        claims = self.all_nexts if behind else self.all_claims
        met = self.live_next(key) if behind else self.claims[key]
        is_own = met is not None and met.owner == owner and (met.delivery is None or not goes_out)
        if met and not is_own and (goes_out or joins):
            joined, awaited = (met.joined, True) if goes_out else (met.joined + 1, met.awaited)
            claims[key] = replace(met, joined=joined, awaited=awaited)

    def claim(
        self, key: str, owner: str, delivery: str, lease: float, called: float | None = None,
        waited_for: str | None = None, lapsed: Claim | None = None, scopes: Sequence[str] = (),
        fresh: bool = False,
    ) -> Result | Claim:  # fmt: skip
        made = self.clock() if called is None else called
        result = self.result_for(key, scopes, made)
        if result and self.serves(result, made, waited_for, fresh):
            return result
        there = self.claims.get(key)
        if there and there.delivery == delivery:
            self.all_claims[key] = replace(there, expires=self.clock() + lease)
            return self.shown(key, scopes, self.all_claims[key], self.live_next(key))
        if there is None or there.delivery is None or not self.is_live(there, lapsed):
            return self.run(key, owner, delivery, lease, 0.0)
        relies = made < there.since or not (fresh or self.useless_since(key, there, scopes) is not None)
        if relies and not fresh and result and self.is_stale(result):
            return result
        if relies:
            self.all_claims[key] = replace(there, awaited=True)
        else:
            self.want_next(key, owner, lease)
            self.meet(key, owner, goes_out=True, joins=False, behind=True)
        return self.shown(key, scopes, self.claims[key], self.live_next(key))

    def serves(self, result: Result, made: float, waited_for: str | None, fresh: bool) -> bool:
        if made < result.began:
            return self.lives(result.expires) or self.lives(result.kept)
        if fresh:
            return False
        return self.lives(result.expires) or (waited_for == result.owner and self.lives(result.kept))

    def run(self, key: str, owner: str, delivery: str, lease: float, ran_for: float) -> Claim:
        old, now = self.claims.get(key), self.clock()
        there = [claim for claim in (old, self.nexts.get(key)) if claim]
        ran = any(claim.delivery is not None for claim in there)
        new = Claim(owner, now + lease, now - ran_for, delivery, ran or self.others_rely(key, owner))
        for own in [claim for claim in there if claim.owner == owner][:1]:
            new = replace(new, joined=own.joined, left=own.left)
        self.all_claims[key] = new
        self.all_nexts.pop(key, None)
        return replace(new, previous=old.owner if old and old.owner != owner else None)

    # How runs go on and end

    def renew(self, key: str, owner: str, delivery: str, lease: float, ran_for: float) -> bool:
        there, later = self.claims.get(key), self.known_result(key)
        if there and there.delivery == delivery:
            self.all_claims[key] = replace(there, expires=self.clock() + lease)
            return True
        if self.runs(there) or (later and later.began > self.clock() - ran_for):
            return False
        self.run(key, owner, delivery, lease, ran_for)
        return True

    def runs(self, claim: Claim | None) -> bool:
        return claim is not None and claim.delivery is not None and self.lives(claim.expires)

    def complete(
        self, key: str, owner: str, delivery: str | None, payload: bytes, ttl: float | None,
        state: str = "SUCCESS", kept_for: float = 0.0, ran_for: float = 0.0, stale_for: float = 0.0,
        scopes: Sequence[str] = (), index: str | None = None, index_ttl: float | None = None,
    ) -> bool:  # fmt: skip
        claim, now, good = self.claims.get(key), self.clock(), self.result_for(key, scopes)
        mine = claim if claim and claim.delivery and claim.delivery == delivery else None
        began = mine.since if mine else now - ran_for
        if not mine and (self.runs(claim) or self.is_late(key, began, state, good)):
            return False
        is_good = good and good.state == "SUCCESS" and (self.lives(good.expires) or self.is_stale(good))
        if is_good and (state == "FAILURE" or ttl == 0):
            return False
        self.end(key, owner)
        if began <= self.last_forgotten(key, scopes):
            ttl, stale_for = 0.0, 0.0
        expires = kept = None if ttl is None else now + ttl
        if expires is not None and claim and (mine is None or mine.awaited):
            kept = max(expires, now + kept_for)
        stale_until = expires + stale_for if expires is not None and stale_for else None
        result = Result(owner, payload, state, began, now, expires, kept, stale_until)
        if self.lives(kept) or self.lives(stale_until or 0.0):
            self.all_results[key] = result
            self.write_index(index, key, result, index_ttl)
        return True

    def is_late(self, key: str, began: float, state: str, good: Result | None) -> bool:
        later = self.known_result(key)
        if later is not None and later.began > began:
            return True
        answers = good is not None and self.lives(good.expires)
        return answers and not (good is not None and good.state == "FAILURE" and state == "SUCCESS")

    def end(self, key: str, owner: str) -> None:
        """Drop what *owner* has."""
        for there, claims in ((self.nexts, self.all_nexts), (self.claims, self.all_claims)):
            if key in there and there[key].owner == owner:
                self.drop(key, claims)

    def write_index(self, index: str | None, key: str, result: Result, ttl: float | None) -> None:
        end = result.expires if ttl is None else self.clock() + ttl
        if index is not None and self.lives(end) and result.began > self.last_forgotten(index, ()):
            copy = replace(result, payload=key.encode(), expires=end, kept=end, stale_until=None)
            self.all_results[index] = copy

    def release(
        self, key: str, owner: str, delivery: str | None, requeue: float = 0.0, unless_awaited: bool = False
    ) -> bool:
        for there, claims in ((self.claims, self.all_claims), (self.nexts, self.all_nexts)):
            claim, now = there.get(key), self.clock()
            if claim is None or claim.owner != owner or (claim.awaited and unless_awaited):
                continue
            if claim.delivery is not None and (delivery is None or not claim.delivery.startswith(delivery)):
                continue
            if requeue:
                requeued = Claim(owner, now + requeue, now, None, claim.awaited)
                claims[key] = replace(requeued, joined=claim.joined, left=claim.left)
                return True
            if claim.awaited and claim.delivery is None and not self.lives(claim.expires):
                continue
            self.drop(key, claims)
            if claim.awaited:
                claims[key] = replace(claims.get(key, Claim(owner, now, now)), awaited=True)
            return True
        return False

    def leave(self, key: str, owner: str, seat: str) -> bool | None:
        answer = None
        for there, claims in ((self.claims, self.all_claims), (self.nexts, self.all_nexts)):
            claim = there.get(key)
            if claim is None or claim.owner != owner:
                continue
            remaining = 1 + claim.joined - len(claim.left)
            if claim.awaited or seat in claim.left or remaining < 1:
                answer = answer or (not claim.awaited and remaining < 1 and seat in claim.left)
                continue
            claims[key] = replace(claim, left=(*claim.left, seat))
            is_last = remaining == 1
            if is_last and claim.delivery is None:
                self.drop(key, claims)
            return is_last
        return answer

    # Forgetting and counting

    def forget(self, key: str) -> bool:
        result = self.known_result(key)
        if key in self.claims:
            self.forgettings[key] = self.clock()
        self.all_results.pop(key, None)
        return result is not None and (self.lives(result.expires) or self.is_stale(result))

    def forget_scope(self, scope: str, ttl: float | None) -> None:
        end = math.inf if ttl is None else self.clock() + ttl
        self.marks[scope] = (self.clock(), max(end, self.marks.get(scope, (0.0, 0.0))[1]))

    def forgotten(self, scope: str) -> float | None:
        return self.marks[scope][0] if scope in self.marks else None

    def count(self, key: str, amounts: Mapping[str, float], ttl: float) -> None:
        sums, end = self.all_counts.get(key, ({}, 0.0))
        sums = dict(sums) if self.lives(end) else {}
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0.0) + amount
        self.all_counts[key] = (sums, self.clock() + ttl)

    def counts(self, prefix: str) -> dict[str, dict[str, float]]:
        known = {key: sums for key, (sums, end) in self.all_counts.items() if self.lives(end)}
        return {key: sums for key, sums in known.items() if key.startswith(prefix)}
