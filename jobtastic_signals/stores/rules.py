"""The rules of the store contract, apart from storage.

Each rule takes what a store holds under a key, and the time. It returns the answer of the operation, and what
the key holds afterwards. A rule changes nothing, so a store can apply it again if another process was faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .base import REMEMBERED_FOR, Claim, Result

__all__ = [
    "NOTHING",
    "Entry",
    "claim",
    "complete",
    "forget",
    "index_of",
    "lookup",
    "lookup_or_claim",
    "release",
    "renew",
]


@dataclass(frozen=True)
class Entry:
    """What a store holds under one key."""

    claim: Claim | None = None
    result: Result | None = None

    def __bool__(self) -> bool:
        return self.claim is not None or self.result is not None

    def live_claim(self, now: float, lapsed: Claim | None = None) -> Claim | None:
        """Return the claim if it is live; one like *lapsed* is not."""
        claim = self.claim
        if claim is None or now >= claim.expires or claim.is_same_hold(lapsed):
            return None
        return claim

    def without_ended(self, now: float) -> Entry:
        """Return the entry without what nobody can be answered with any more."""
        claim, result = self.claim, self.result
        if claim is not None and now >= claim.expires + REMEMBERED_FOR:
            claim = None
        if result is not None and not result.answers_new_callers(now) and _has_passed(result.kept, now):
            result = None
        return self if claim is self.claim and result is self.result else Entry(claim, result)

    def seconds_left(self, now: float) -> float | None:
        """Return how long a store has to keep this entry; ``None`` for ever."""
        if self.result is not None and None in (self.result.expires, self.result.kept):
            return None
        ends = [0.0] if self.claim is None else [self.claim.expires + REMEMBERED_FOR]
        if self.result is not None:
            ends += [self.result.expires or 0.0, self.result.kept or 0.0]
        return max(max(ends) - now, 0.0)


#: What a store holds under a key that it does not know.
NOTHING = Entry()


def lookup(entry: Entry, now: float) -> Result | Claim | None:
    """Decide :meth:`.Store.lookup`."""
    if entry.result is not None and entry.result.answers_new_callers(now):
        return replace(entry.result, at=now)
    claim = entry.live_claim(now)
    return None if claim is None else replace(claim, at=now)


def lookup_or_claim(
    entry: Entry,
    now: float,
    owner: str,
    lease: float,
    *,
    expires: float | None = None,
    goes_out: bool = False,
    lapsed: Claim | None = None,
) -> tuple[Result | Claim, Entry]:
    """Decide :meth:`.Store.lookup_or_claim`."""
    if entry.result is not None and entry.result.answers_new_callers(now):
        return replace(entry.result, at=now), entry
    ends = None if expires is None else now + expires
    live = entry.live_claim(now, lapsed)
    if live is not None and _can_be_joined(live, owner, ends):
        if goes_out and live.owner != owner and not live.awaited:
            live = replace(live, awaited=True)
            return replace(live, at=now), replace(entry, claim=live)
        return replace(live, at=now), entry
    before = entry.claim
    previous = _displaced(before, owner)
    is_awaited = before is not None and (before.awaited or previous is not None)
    queued = Claim(owner, now + lease, since=now, awaited=is_awaited, message_expires=ends)
    return replace(queued, previous=previous, at=now), replace(entry, claim=queued)


def claim(
    entry: Entry,
    now: float,
    owner: str,
    delivery: str,
    lease: float,
    *,
    called: float | None = None,
    waited_for: str | None = None,
    lapsed: Claim | None = None,
) -> tuple[Result | Claim, Entry]:
    """Decide :meth:`.Store.claim`."""
    if entry.result is not None and entry.result.answers(now, called, waited_for):
        return replace(entry.result, at=now), entry
    before = entry.claim
    if before is not None and before.delivery == delivery:
        renewed = replace(before, expires=now + lease)
        return replace(renewed, at=now), replace(entry, claim=renewed)
    live = entry.live_claim(now, lapsed)
    if live is not None and live.is_running:
        if not live.awaited:
            live = replace(live, awaited=True)
            entry = replace(entry, claim=live)
        return replace(live, at=now), entry
    previous = _displaced(before, owner)
    running = _running(before, owner, delivery, now + lease, since=now)
    return replace(running, previous=previous, at=now), replace(entry, claim=running)


def renew(
    entry: Entry, now: float, owner: str, delivery: str, lease: float, *, ran_for: float = 0.0
) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.renew`."""
    before = entry.claim
    if before is not None and before.delivery == delivery:
        return True, replace(entry, claim=replace(before, expires=now + lease))
    live, began = entry.live_claim(now), now - ran_for
    if (live is not None and live.is_running) or _is_of_later_run(entry.result, began):
        return False, entry
    regained = _running(before, owner, delivery, now + lease, since=began)
    return True, replace(entry, claim=regained)


def complete(
    entry: Entry,
    now: float,
    owner: str,
    delivery: str | None,
    payload: bytes,
    *,
    ttl: float | None,
    state: str = "SUCCESS",
    kept_for: float = 0.0,
    ran_for: float = 0.0,
) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.complete`."""
    before, began = entry.claim, now - ran_for
    if before is not None and delivery is not None and before.delivery == delivery:
        began, keeps = before.since, before.awaited
    elif _came_after(entry, began, now):
        return False, entry
    else:
        keeps = before is not None
    expires = None if ttl is None else now + ttl
    kept = None if expires is None else max(expires, now + kept_for) if keeps else expires
    result = Result(owner, payload, state, began, now, expires, kept)
    stays = before if before is not None and before.owner != owner else None
    if _has_passed(kept, now):
        return True, replace(entry, claim=stays)
    return True, Entry(stays, result)


def index_of(result: Result, key: str, ttl: float | None) -> Result | None:
    """Return the result that *key* is stored as, for :meth:`.Store.complete`; ``None`` if it ends at once."""
    expires = result.expires if ttl is None else result.ended + ttl
    if _has_passed(expires, result.ended):
        return None
    return replace(result, payload=key.encode(), expires=expires, kept=expires)


def release(
    entry: Entry,
    now: float,
    owner: str,
    delivery: str | None,
    *,
    requeue: float = 0.0,
    unless_awaited: bool = False,
) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.release`."""
    before = entry.claim
    if before is None or before.owner != owner or (unless_awaited and before.awaited):
        return False, entry
    if before.delivery is not None and (delivery is None or not before.delivery.startswith(delivery)):
        return False, entry
    if before.awaited and not requeue and not before.is_running and now >= before.expires:
        return False, entry  # It was given up before, or might as well have been.
    if requeue or before.awaited:
        queued = Claim(owner, now + requeue, since=now, awaited=before.awaited)
        return True, replace(entry, claim=queued)
    return True, replace(entry, claim=None)


def forget(entry: Entry, now: float) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.forget`."""
    if entry.result is None:
        return False, entry
    return entry.result.answers_new_callers(now), replace(entry, result=None)


def _can_be_joined(live: Claim, owner: str, ends: float | None) -> bool:
    if live.is_running or live.owner == owner or live.message_expires is None:
        return True
    return ends is not None and ends <= live.message_expires


def _running(before: Claim | None, owner: str, delivery: str, expires: float, since: float) -> Claim:
    """Return a running claim that takes the place of *before*.

    Whoever had the key, other than by the queued claim of this message, may still send a message for it.
    """
    is_awaited = before is not None and (before.awaited or before.is_running or before.owner != owner)
    return Claim(owner, expires, since, delivery, awaited=is_awaited)


def _displaced(before: Claim | None, owner: str) -> str | None:
    """Return the owner whose claim a new one of *owner* displaces, if that is another one."""
    return before.owner if before is not None and before.owner != owner else None


def _came_after(entry: Entry, began: float, now: float) -> bool:
    """Return whether another run, or its result, came after one that *began* then and has no claim."""
    live = entry.live_claim(now)
    if live is not None and live.is_running:
        return True
    result = entry.result
    return _is_of_later_run(result, began) or (result is not None and result.answers_new_callers(now))


def _is_of_later_run(result: Result | None, began: float) -> bool:
    return result is not None and result.began > began


def _has_passed(end: float | None, now: float) -> bool:
    return end is not None and end <= now
