"""Races of callers, in the form of those in :mod:`.contests`: stale results, next claims and leaving."""

from __future__ import annotations

import time
from typing import Any

from ...stores import Result, Store
from .base import complete, put, queue, run
from .contests import LEASE, SHARED, TIMEOUT, Meet, Race

__all__ = ["CALLER_RACES"]


def renewing_a_stale_result(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All call at the edge of a result, which has just become stale."""
    if first:
        complete(store, SHARED, ttl=0, key=key, stale_for=LEASE)
    meet()
    found = queue(store, me, key, LEASE)
    meet()
    return type(found), found.owner, found.renewal, store.lookup(key)


def check_renewing_a_stale_result(seen: list[Any]) -> None:
    assert {(kind, owner) for kind, owner, _, _ in seen} == {(Result, SHARED)}, "nobody waits"
    renewals = [renewal for _, _, renewal, _ in seen if renewal is not None]
    assert len(renewals) == 1, "one renews it"
    assert {claim.owner for *_, claim in seen} == set(renewals)


def asking_for_one_more_run(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want one more run after the present one, some of them a fresh result."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    asks = "fresh" if me[-1] in "1357" else "rerun"
    found = queue(store, me, key, LEASE, **{asks: True})
    meet()
    return found.owner, found.next.owner, me, asks, store.entry(key)


def check_asking_for_one_more_run(seen: list[Any]) -> None:
    assert {owner for owner, *_ in seen} == {SHARED}
    assert len({following for _, following, *_ in seen}) == 1, "one message more, and one run"
    following = seen[0][1]
    entry = seen[0][-1]
    assert entry.claim.joined == sum(asks == "rerun" for *_, asks, _ in seen)
    assert entry.next.joined == sum(asks == "fresh" and me != following for *_, me, asks, _ in seen)


def forgetting_a_run(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One forgets a scope while the others look, and then completes what had begun before."""
    scopes = [f"scope of {key}"]
    if first:
        put(store, key, b"old")
        run(store, SHARED, key, LEASE, fresh=True)
    meet()
    if first:
        store.forget_scope(scopes[0], ttl=None)
        forgotten_at = time.monotonic()
        complete(store, SHARED, b"older", key=key)
        meet()
        return forgotten_at, store.lookup(key, scopes=scopes)
    last, end = 0.0, time.monotonic() + TIMEOUT / 2
    while time.monotonic() < end:
        asked = time.monotonic()
        if not isinstance(store.lookup(key, scopes=scopes), Result):
            break
        last = asked
        time.sleep(0.01)  # The one that forgets has to get a word in.
    meet()
    return last, store.lookup(key, scopes=scopes)


def check_forgetting_a_run(seen: list[Any]) -> None:
    forgotten_at = seen[0][0]
    assert {found for _, found in seen} == {None}, "neither value comes back"
    assert all(last <= forgotten_at for last, _ in seen[1:]), "nobody gets it later than that"


def leaving(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All join one run, and leave it."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    joined = queue(store, me, key, LEASE).owner
    meet()
    found = store.lookup(key)
    meet()
    was_last = [store.leave(key, SHARED, seat) for seat in ([SHARED, me] if first else [me])]
    meet()
    return joined, getattr(found, "joined", None), was_last, store.lookup(key)


def check_leaving(seen: list[Any]) -> None:
    assert {(owner, joined) for owner, joined, *_ in seen} == {(SHARED, len(seen))}, "all are counted"
    assert sum(sum(was_last) for *_, was_last, _ in seen) == 1, "one is the last"
    assert all(len(claim.left) == len(seen) + 1 and claim.is_abandoned for *_, claim in seen)


def counting(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All add to the same numbers."""
    meet()
    store.count(key, {"calls": 1, me: 0.5}, ttl=LEASE)
    meet()
    # One lists them: some storages have to be walked through for that.
    return dict(dict(store.counts(key))[key]) if first else None, me


def check_counting(seen: list[Any]) -> None:
    expected = {"calls": len(seen), **{me: 0.5 for _, me in seen}}
    assert seen[0][0] == expected, "no addition is lost"


CALLER_RACES: list[Race] = [
    (renewing_a_stale_result, check_renewing_a_stale_result),
    (asking_for_one_more_run, check_asking_for_one_more_run),
    (forgetting_a_run, check_forgetting_a_run),
    (leaving, check_leaving),
    (counting, check_counting),
]
