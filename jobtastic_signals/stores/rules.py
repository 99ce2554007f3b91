"""The rules of the store contract apart from storage, for stores that decide in Python.

Each takes what is stored, and the time; none changes anything. Times are Unix times.
"""

from __future__ import annotations

from dataclasses import replace

from .base import Claim, Result

__all__ = ["LAPSED_CLAIMS", "admitted", "kept_until", "may_settle", "until"]

#: Seconds for which a store goes on to know a lapsed claim.
LAPSED_CLAIMS = 3600.0


def until(ttl: float | None, now: float) -> float | None:
    """When something that lives for *ttl* seconds ends; ``None`` is for ever.

    >>> until(60, now=1000), until(None, now=1000)
    (1060, None)
    """
    return None if ttl is None else now + ttl


def admitted(
    claim: Claim | None, owner: str, lease: float, stale: str | None, now: float, *, waits: bool = True
) -> Claim:
    """The claim to store and to answer :meth:`Store.admit` with, where no result answers."""
    mine = claim is not None and claim.owner == owner
    if claim is not None and not mine:
        if now < claim.expires and claim.owner != stale:
            return replace(claim, waited=True) if waits else claim
        return Claim(owner, now + lease, previous=claim.owner)
    return Claim(owner, now + lease, waited=claim is not None and claim.waited)


def may_settle(claim: Claim | None, result: Result | None, owner: str, now: float) -> bool:
    """Whether :meth:`Store.settle` is allowed."""
    if claim is not None and claim.owner == owner:
        return True
    if claim is not None and now < claim.expires:
        return False
    return result is None or not result.answers(None, now)


def kept_until(
    claim: Claim | None, owner: str, ttl: float | None, handover: float, now: float
) -> float | None:
    """When a result that settles may be dropped from the store."""
    if ttl is None:
        return None
    waited = claim is not None and claim.owner == owner and claim.waited
    return now + (max(ttl, handover) if waited else ttl)
