"""The rules of the store contract by which keys are claimed, apart from storage. More: :mod:`.endings`.

Each rule takes what a store holds under a key, and the time. It returns the answer of the operation, and what
the key holds afterwards. A rule changes nothing, so a store can apply it again if another process was faster.

Rules that look for a result also take *forgotten*: when a scope of the key was last forgotten.
"""

from __future__ import annotations

from .entry import Claim, Entry, Result
from .values import replace

__all__ = ["claim", "lookup", "lookup_or_claim", "renew", "show"]


def lookup(entry: Entry, now: float, *, forgotten: float | None = None) -> Result | Claim | None:
    """Decide :meth:`.Store.lookup`."""
    seen = show(entry, now, forgotten=forgotten)
    if seen.result is not None and seen.result.answers_new_callers(now):
        return seen.result
    return seen.claim


def show(entry: Entry, now: float, *, forgotten: float | None = None) -> Entry:
    """Decide :meth:`.Store.entry`."""
    result = entry.result_for(now, forgotten)
    if result is not None and not result.is_handed_out(now):
        result = None
    entry = entry.current(now)
    claim = entry.live_claim(now)
    return Entry(
        None if claim is None else _shown(claim, entry, now, forgotten),
        None if result is None else replace(result, at=now),
        None if claim is None else entry.live_next(now),
    )


def lookup_or_claim(
    entry: Entry,
    now: float,
    owner: str,
    lease: float,
    *,
    expires: float | None = None,
    goes_out: bool = False,
    lapsed: Claim | None = None,
    forgotten: float | None = None,
    fresh: bool = False,
    rerun: bool = False,
    joins: bool = True,
) -> tuple[Result | Claim, Entry]:
    """Decide :meth:`.Store.lookup_or_claim`."""
    ends = None if expires is None else now + expires
    if entry.claim is None and entry.next is None and entry.result is None:  # Most keys are fresh.
        queued = Claim(owner, now + lease, now, message_expires=ends, fresh=fresh, at=now)
        return queued, Entry(queued, forgotten=entry.forgotten, counts=entry.counts)
    entry = entry.current(now, lapsed)
    live = entry.live_claim(now, lapsed)
    result = None if fresh else entry.result_for(now, forgotten)
    reruns = rerun and live is not None and live.is_running
    if result is not None and result.answers_new_callers(now) and not reruns:
        return replace(result, at=now), entry
    stale = result if result is not None and result.is_stale(now) and not reruns else None
    is_late = fresh or (live is not None and entry.forgotten_at(live, forgotten) is not None)
    if stale is not None and live is not None and not is_late:
        return replace(stale, renewal=owner if live.owner == owner else None, at=now), entry
    is_met = live is not None and (live.is_running or _can_be_joined(live, owner, ends, fresh))
    if live is not None and is_met:
        is_next = live.is_running and is_late
        if live.is_running and (is_late or reruns) and ends is None:
            entry = _with_next(entry, owner, now, lease)
        entry = _met(entry, "next" if is_next else "claim", now, owner, goes_out=goes_out, joins=joins)
        return _shown(entry.claim or live, entry, now, forgotten), entry
    queued = _queued(entry, owner, now, lease, ends, is_fresh=fresh or stale is not None)
    after = replace(entry, claim=queued, next=None)
    if stale is not None:
        return replace(stale, renewal=owner, at=now), after
    return replace(queued, previous=_displaced(entry.claim, owner), at=now), after


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
    forgotten: float | None = None,
    fresh: bool = False,
) -> tuple[Result | Claim, Entry]:
    """Decide :meth:`.Store.claim`."""
    made = now if called is None else called
    result = entry.result_for(made, forgotten)
    if result is not None and result.answers(now, called, waited_for, fresh=fresh):
        return replace(result, at=now), entry
    before = entry.claim
    if before is not None and before.delivery == delivery:
        renewed = replace(before, expires=now + lease)
        return _shown(renewed, entry, now, forgotten), replace(entry, claim=renewed)
    live = entry.live_claim(now, lapsed)
    if live is not None and live.is_running:
        is_late = made >= live.since and (fresh or entry.forgotten_at(live, forgotten) is not None)
        if result is not None and result.is_stale(now) and not (fresh or is_late):
            return replace(result, at=now), entry
        if is_late:
            entry = _with_next(entry, owner, now, lease)
            entry = _met(entry, "next", now, owner, goes_out=True, joins=False)
        elif not live.awaited:
            entry = replace(entry, claim=replace(live, awaited=True))
        return _shown(entry.claim or live, entry, now, forgotten), entry
    running = _running(entry, owner, delivery, now + lease, since=now)
    previous = _displaced(before, owner)
    return replace(running, previous=previous, at=now), replace(entry, claim=running, next=None)


def renew(
    entry: Entry, now: float, owner: str, delivery: str, lease: float, *, ran_for: float = 0.0
) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.renew`."""
    before = entry.claim
    if before is not None and before.delivery == delivery:
        return True, replace(entry, claim=replace(before, expires=now + lease))
    live, began = entry.live_claim(now), now - ran_for
    if (live is not None and live.is_running) or entry.knows_later_run(began):
        return False, entry
    regained = _running(entry, owner, delivery, now + lease, since=began)
    return True, replace(entry, claim=regained, next=None)


def _shown(claim: Claim, entry: Entry, now: float, forgotten: float | None) -> Claim:
    """Return *claim* as an answer shows it."""
    forgotten = entry.forgotten_at(claim, forgotten)
    return replace(claim, next=entry.live_next(now), forgotten=forgotten, at=now)


def _queued(
    entry: Entry, owner: str, now: float, lease: float, ends: float | None, *, is_fresh: bool
) -> Claim:
    """Return a new queued claim of *owner* in the place of what is there."""
    is_awaited = _others_rely_on(entry, owner)
    return Claim(owner, now + lease, now, awaited=is_awaited, message_expires=ends, fresh=is_fresh)


def _with_next(entry: Entry, owner: str, now: float, lease: float) -> Entry:
    """Return *entry* with a live next claim: of *owner*, unless there is one."""
    before = entry.next
    if entry.live_next(now) is not None:
        return entry
    if before is not None and before.owner == owner:
        return replace(entry, next=replace(before, expires=now + lease))
    queued = _queued(Entry(before), owner, now, lease, None, is_fresh=True)
    return replace(entry, next=queued)


def _met(entry: Entry, name: str, now: float, owner: str, *, goes_out: bool, joins: bool) -> Entry:
    """Return *entry* after a call or a delivery of *owner* has met its claim, or its next one.

    One that goes out relies on a result later, and another joins.
    """
    met = entry.claim if name == "claim" else entry.live_next(now)
    # A message with the id of a run that goes on is another one, and relies on it too.
    if met is None or (met.owner == owner and not (goes_out and met.is_running)):
        return entry
    if goes_out:
        return entry if met.awaited else entry.with_claim(name, replace(met, awaited=True))
    return entry.with_claim(name, replace(met, joined=met.joined + 1)) if joins else entry


def _can_be_joined(live: Claim, owner: str, ends: float | None, fresh: bool) -> bool:
    """Return whether the message of a queued claim answers a call of *owner* that *ends* then."""
    if live.owner == owner:
        return True
    if live.is_abandoned or (fresh and not live.fresh):
        return False  # Its message is about to be revoked, or may be answered by an older result.
    if live.message_expires is None:
        return True
    return ends is not None and ends <= live.message_expires


def _running(entry: Entry, owner: str, delivery: str, expires: float, since: float) -> Claim:
    """Return a running claim that takes the place of what is there.

    Whoever had the key, other than by the queued claim of this message, may still send a message for it.
    """
    before = entry.claim
    is_awaited = _others_rely_on(entry, owner) or (before is not None and before.is_running)
    own = next((each for each in (before, entry.next) if each is not None and each.owner == owner), None)
    joined, left = (0, ()) if own is None else (own.joined, own.left)
    return Claim(owner, expires, since, delivery, is_awaited, joined=joined, left=left)


def _others_rely_on(entry: Entry, owner: str) -> bool:
    """Return whether messages of others may ask for the result of *owner*, if it takes the key."""
    claims = (entry.claim, entry.next)
    return any(each is not None and (each.awaited or each.owner != owner) for each in claims)


def _displaced(before: Claim | None, owner: str) -> str | None:
    """Return the owner whose claim a new one of *owner* displaces, if that is another one."""
    return before.owner if before is not None and before.owner != owner else None
