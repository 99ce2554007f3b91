"""The rules of the store contract by which claims and results end, in the form of those in :mod:`.rules`."""

from __future__ import annotations

from .entry import REMEMBERED_FOR, Claim, Entry, Forgetting, Result
from .values import replace

__all__ = ["complete", "forget", "forget_scope", "index", "leave", "release"]


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
    stale_for: float = 0.0,
    forgotten: float | None = None,
) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.complete`."""
    before, began, known = entry.claim, now - ran_for, entry.result_for(now, forgotten)
    if before is not None and delivery is not None and before.delivery == delivery:
        began, keeps = before.since, before.awaited
    elif _came_after(entry, began, now, known, state):
        return False, entry
    else:
        keeps = before is not None
    is_less = state == "FAILURE" or ttl == 0
    if is_less and known is not None and known.state == "SUCCESS" and known.is_handed_out(now):
        return False, entry
    if entry.was_forgotten(began, forgotten):
        ttl, stale_for = 0.0, 0.0
    expires = None if ttl is None else now + ttl
    kept = None if expires is None else max(expires, now + kept_for) if keeps else expires
    stale_until = expires + stale_for if expires is not None and stale_for else None
    result = Result(owner, payload, state, began, now, expires, kept, stale_until)
    after = _without_claims_of(entry, owner)
    return True, after if now >= result.end else replace(after, result=result)


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
    for name in ("claim", "next"):
        before: Claim | None = getattr(entry, name)
        if before is None or before.owner != owner or (unless_awaited and before.awaited):
            continue
        if before.delivery is not None and (delivery is None or not before.delivery.startswith(delivery)):
            continue
        if requeue:
            queued = Claim(owner, now + requeue, now, awaited=before.awaited, joined=before.joined)
            return True, entry.with_claim(name, replace(queued, left=before.left))
        if before.awaited and not before.is_running and now >= before.expires:
            continue  # It was given up before, or might as well have been.
        after = entry.without_claim() if name == "claim" else replace(entry, next=None)
        if before.awaited:
            last: Claim = getattr(after, name) or Claim(owner, now, now)
            after = after.with_claim(name, replace(last, awaited=True))
        return True, after
    return False, entry


def forget(entry: Entry, now: float) -> tuple[bool, Entry]:
    """Decide :meth:`.Store.forget`."""
    result = entry.result
    is_known = result is not None and result.is_handed_out(now)
    if entry.claim is not None:
        return is_known, replace(entry, result=None, forgotten=Forgetting(now, now + REMEMBERED_FOR))
    return is_known, entry if result is None else replace(entry, result=None)


def forget_scope(entry: Entry, now: float, *, ttl: float | None) -> tuple[None, Entry]:
    """Decide :meth:`.Store.forget_scope`, for what is stored under the name of the scope."""
    before = entry.forgotten
    is_for_ever = ttl is None or (before is not None and before.expires is None)
    known_until = max(now + (ttl or 0.0), before.expires or 0.0 if before is not None else 0.0)
    return None, replace(entry, forgotten=Forgetting(now, None if is_for_ever else known_until))


def index(entry: Entry, now: float, result: Result) -> tuple[None, Entry]:
    """Decide where :meth:`.Store.complete` stores *result* as an index."""
    return None, entry if entry.was_forgotten(result.began, None) else replace(entry, result=result)


def leave(entry: Entry, now: float, owner: str, seat: str) -> tuple[bool | None, Entry]:
    """Decide :meth:`.Store.leave`."""
    answer = None
    for name in ("claim", "next"):
        claim: Claim | None = getattr(entry, name)
        if claim is None or claim.owner != owner:
            continue
        if seat in claim.left or claim.is_abandoned or claim.awaited:
            answer = answer or (not claim.awaited and claim.is_abandoned and seat in claim.left)
            continue
        claim = replace(claim, left=(*claim.left, seat))
        if claim.is_running or not claim.is_abandoned:
            return claim.is_abandoned, entry.with_claim(name, claim)
        return True, entry.without_claim() if name == "claim" else replace(entry, next=None)
    return answer, entry


def _without_claims_of(entry: Entry, owner: str) -> Entry:
    """Return *entry* after *owner* has ended."""
    if entry.next is not None and entry.next.owner == owner:
        entry = replace(entry, next=None)
    return entry.without_claim() if entry.claim is not None and entry.claim.owner == owner else entry


def _came_after(entry: Entry, began: float, now: float, known: Result | None, state: str) -> bool:
    """Return whether another run, or its result, came after one that *began* then and has no claim.

    :param known: the result, unless it was forgotten.
    :param state: how the run ended. A success is worth more than a failure that is remembered.
    """
    live = entry.live_claim(now)
    if live is not None and live.is_running:
        return True
    is_more = known is not None and known.state == "FAILURE" and state == "SUCCESS"
    answers = known is not None and known.answers_new_callers(now) and not is_more
    return answers or entry.knows_later_run(began)
