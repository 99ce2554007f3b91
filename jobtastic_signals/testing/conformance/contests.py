"""Races of several contenders on one key, and what a store may make of each.

A race is run by every contender at once, and returns what that contender saw. Its ``check_...`` is given what
all of them saw, in their order. The first prepares the key where a race needs that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ...stores import Claim, Result, Store
from .base import complete, delivery_of, put, queue, renew, run

__all__ = ["LEASE", "RACES", "SHARED", "TIMEOUT", "Meet", "Race"]

#: Seconds for which contenders wait for each other, and we for what they say.
TIMEOUT = 60.0

LEASE = 600.0
SHARED = "shared"

#: The claim of :data:`SHARED`, as somebody names it who knows that it ended.
ENDED = Claim(SHARED, 0.0, 0.0, delivery_of(SHARED))

#: How often each runs where they take turns.
TURNS = 3

Meet = Callable[[], Any]

Race = tuple[Callable[..., Any], Callable[[list[Any]], None]]


def queueing(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want to publish."""
    meet()
    return queue(store, me, key, LEASE).owner


def check_queueing(seen: list[Any]) -> None:
    assert len(set(seen)) == 1, "one publishes, and everybody joins that one"


def running(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want to run, though one of them has a queued claim."""
    if first:
        queue(store, me, key, LEASE)
    meet()
    claim = run(store, me, key, LEASE)
    meet()
    return claim.owner, claim.delivery, store.lookup(key)


def check_running(seen: list[Any]) -> None:
    assert len({(owner, delivery) for owner, delivery, _ in seen}) == 1, "one delivery runs"
    assert {(found.owner, found.awaited) for _, _, found in seen} == {(seen[0][0], True)}


def running_one_message(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All are deliveries of one message."""
    meet()
    return store.claim(key, SHARED, me, LEASE).delivery, me  # type: ignore[union-attr]


def check_running_one_message(seen: list[Any]) -> None:
    assert len({delivery for delivery, _ in seen}) == 1
    assert sum(delivery == me for delivery, me in seen) == 1


def taking_over(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want to replace the claim of one that ended."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    claim = run(store, me, key, LEASE, lapsed=ENDED)
    return claim.owner, getattr(claim, "previous", None), claim.owner == me


def check_taking_over(seen: list[Any]) -> None:
    assert len({owner for owner, _, _ in seen}) == 1
    assert [previous for _, previous, mine in seen if mine] == [SHARED]
    assert {previous for _, previous, mine in seen if not mine} <= {None}


def regaining(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All ran without a claim, and want one."""
    meet()
    regained = renew(store, me, key, LEASE)
    meet()
    return regained, me, store.lookup(key)


def check_regaining(seen: list[Any]) -> None:
    owners = [me for regained, me, _ in seen if regained]
    assert len(owners) == 1
    assert {claim.owner for _, _, claim in seen} == set(owners)


def completing(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All complete what one of them has claimed."""
    meet()
    owner = run(store, me, key, LEASE).owner
    meet()
    stored = complete(store, me, me.encode(), key=key, index=f"{key} of {me}")
    meet()
    index = store.lookup(f"{key} of {me}")
    return {stored, owner == me, index is not None}, owner, store.lookup(key)


def check_completing(seen: list[Any]) -> None:
    assert all(len(answers) == 1 for answers, _, _ in seen), "the owner completes, and nobody else"
    owner = seen[0][1]
    assert {(result.owner, result.payload) for _, _, result in seen} == {(owner, owner.encode())}


def completing_unclaimed(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All complete a key that nobody claimed."""
    meet()
    stored = complete(store, me, me.encode(), key=key)
    meet()
    return stored and me, store.lookup(key)


def check_completing_unclaimed(seen: list[Any]) -> None:
    winners = [stored for stored, _ in seen if stored]
    assert len(winners) == 1, "the second is refused"
    assert {result.payload for _, result in seen} == {winners[0].encode()}


def releasing(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All release one claim that is awaited."""
    if first:
        run(store, SHARED, key, LEASE)
        run(store, me, key, LEASE)
    meet()
    return store.release(key, SHARED, "")


def check_releasing(seen: list[Any]) -> None:
    assert seen.count(True) == 1, "a second release does nothing"


def forgetting(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All forget one result."""
    if first:
        put(store, key)
    meet()
    return store.forget(key)


def check_forgetting(seen: list[Any]) -> None:
    assert seen.count(True) == 1, "the second finds none"


def completing_late(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One completes while the others, who think it dead, take over."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    if first:
        return complete(store, SHARED, b"late", key=key)
    entry = run(store, me, key, LEASE, lapsed=ENDED)
    return type(entry), entry.owner


def check_completing_late(seen: list[Any]) -> None:
    stored, others = seen[0], set(seen[1:])
    if stored:
        assert others == {(Result, SHARED)}, "a result that was stored is what all others get"
    else:
        assert len(others) == 1
        assert others.pop()[0] is Claim, "a late owner stores nothing over the claim of the next"


def releasing_late(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One renews its claim, and gives it up, while the others, who think it dead, take over."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    if first:
        renew(store, SHARED, key, LEASE)
        store.release(key, SHARED, "")
        owner = SHARED
    else:
        owner = run(store, me, key, LEASE, lapsed=ENDED).owner
    meet()
    return owner, store.lookup(key)


def check_releasing_late(seen: list[Any]) -> None:
    owners = {owner for owner, _ in seen[1:]}
    found = {entry and entry.owner for _, entry in seen}
    assert len(owners) == 1
    assert found == owners, "a late owner neither keeps its claim nor takes that of the next away"


def leaving_unawaited(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One gives up its claim unless somebody waits, and the others come to wait."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    if first:
        return store.release(key, SHARED, "", unless_awaited=True)
    return run(store, me, key, LEASE).owner


def check_leaving_unawaited(seen: list[Any]) -> None:
    released, owners = seen[0], set(seen[1:])
    assert len(owners) == 1
    assert released == (owners != {SHARED}), "nobody waits for a claim that was given up"


def renewing(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One renews its claim while the others come to wait."""
    before = run(store, SHARED, key, LEASE) if first else None
    meet()
    if first:
        renew(store, SHARED, key, 3 * LEASE)
    else:
        run(store, me, key, LEASE)
    meet()
    return before, store.lookup(key)


def check_renewing(seen: list[Any]) -> None:
    before, after = seen[0]
    assert (after.owner, after.awaited) == (SHARED, True), "the mark is not lost"
    assert after.expires > before.expires + LEASE, "nor is the renewal"


def looking(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One completes its claim while the others look."""
    if first:
        run(store, SHARED, key, LEASE)
    meet()
    if first:
        return complete(store, SHARED, key=key)
    entry, end = store.lookup(key), time.monotonic() + TIMEOUT / 2
    while isinstance(entry, Claim) and time.monotonic() < end:
        entry = store.lookup(key)
    return type(entry)


def check_looking(seen: list[Any]) -> None:
    assert seen[0] is True
    assert set(seen[1:]) == {Result}, "there is no moment between the claim and the result"


def taking_turns(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All run one after the other, and note when each had the key."""
    meet()
    held: list[tuple[float, float]] = []
    end = time.monotonic() + TIMEOUT / 2
    while len(held) < TURNS and time.monotonic() < end:
        if run(store, me, key, LEASE).owner == me:
            begin = time.monotonic()
            renew(store, me, key, LEASE)
            held.append((begin, time.monotonic()))
            store.release(key, me, "")
    return held


def check_taking_turns(seen: list[Any]) -> None:
    held = sorted(interval for intervals in seen for interval in intervals)
    assert held, "somebody runs"
    assert all(end <= begin for (_, end), (begin, _) in pairwise(held)), "never two at once"


RACES: list[Race] = [
    (queueing, check_queueing),
    (running, check_running),
    (running_one_message, check_running_one_message),
    (taking_over, check_taking_over),
    (regaining, check_regaining),
    (completing, check_completing),
    (completing_unclaimed, check_completing_unclaimed),
    (releasing, check_releasing),
    (forgetting, check_forgetting),
    (completing_late, check_completing_late),
    (releasing_late, check_releasing_late),
    (leaving_unawaited, check_leaving_unawaited),
    (renewing, check_renewing),
    (looking, check_looking),
    (taking_turns, check_taking_turns),
]
