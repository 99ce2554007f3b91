"""Races of several contenders on one key, and what a store may make of each.

A race is run by every contender at once and gives what that contender saw; its ``check_...`` is given what
all of them saw. Contender 0 prepares the key where a race needs that.
"""

from collections.abc import Callable
from typing import Any

from jobtastic_signals import Claim, Result, Store

__all__ = ["RACES", "check", "contend"]

LEASE = 600.0
SHARED = "shared"


def claiming(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """All want the key."""
    meet()
    return store.admit(key, me, LEASE).owner


def check_claiming(seen: list[Any]) -> None:
    assert len(set(seen)) == 1, "one owner, and everybody sees the same one"


def taking_over(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """All want to replace the claim of one that ended."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    claim = store.admit(key, me, LEASE, stale=SHARED)
    return claim.owner, claim.previous, claim.owner == me


def check_taking_over(seen: list[Any]) -> None:
    assert len({owner for owner, _, _ in seen}) == 1
    assert [previous for _, previous, mine in seen if mine] == [SHARED]
    assert {previous for _, previous, mine in seen if not mine} <= {None}


def settling(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """All settle what one of them has claimed."""
    meet()
    owner = store.admit(key, me, LEASE).owner
    meet()
    settled = store.settle(key, me, me.encode(), None)
    meet()
    result = store.lookup(key)
    return settled == (owner == me), result.owner, result.payload, owner


def check_settling(seen: list[Any]) -> None:
    assert all(right for right, _, _, _ in seen), "the owner settles, and nobody else"
    assert len(set(seen)) == 1
    _, owner, payload, claimed = seen[0]
    assert (owner, payload) == (claimed, claimed.encode())


def settling_unclaimed(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """All settle a key that nobody claimed."""
    meet()
    settled = store.settle(key, me, me.encode(), None)
    meet()
    result = store.lookup(key)
    return settled and me, result.owner, result.payload


def check_settling_unclaimed(seen: list[Any]) -> None:
    (winner,) = [settled for settled, _, _ in seen if settled]
    assert {(owner, payload) for _, owner, payload in seen} == {(winner, winner.encode())}


def releasing(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """All release one claim."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    return store.release(key, SHARED)


def check_releasing(seen: list[Any]) -> None:
    assert seen.count(True) == 1, "a second release does nothing"


def settling_late(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """One settles while the others, who think it dead, take over."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    if first:
        return store.settle(key, SHARED, b"late", None)
    entry = store.admit(key, me, LEASE, stale=SHARED)
    return type(entry), entry.owner


def check_settling_late(seen: list[Any]) -> None:
    settled, others = seen[0], set(seen[1:])
    if settled:
        assert others == {(Result, SHARED)}, "a result that was stored is what all others get"
    else:
        assert len(others) == 1
        assert others.pop()[0] is Claim, "a late owner stores nothing over the claim of the next"


def leaving_unwaited(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """One gives up its claim unless somebody waits, and the others come to wait."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    if first:
        return store.release(key, SHARED, unless_waited=True)
    return store.admit(key, me, LEASE).owner


def check_leaving_unwaited(seen: list[Any]) -> None:
    released, owners = seen[0], set(seen[1:])
    assert len(owners) == 1
    assert released == (owners != {SHARED}), "nobody waits for a claim that was given up"


def looking(store: Store, key: str, me: str, first: bool, meet: Callable[[], Any]) -> Any:
    """One settles its claim while the others look."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    if first:
        return store.settle(key, SHARED, b"42", None)
    kinds = [type(store.lookup(key))]
    while kinds[-1] is Claim:
        kinds.append(type(store.lookup(key)))
    return kinds[-1]


def check_looking(seen: list[Any]) -> None:
    assert seen[0] is True
    assert set(seen[1:]) == {Result}, "there is no moment between the claim and the result"


RACES = {
    race.__name__: (race, judge)
    for race, judge in [
        (claiming, check_claiming),
        (taking_over, check_taking_over),
        (settling, check_settling),
        (settling_unclaimed, check_settling_unclaimed),
        (releasing, check_releasing),
        (settling_late, check_settling_late),
        (leaving_unwaited, check_leaving_unwaited),
        (looking, check_looking),
    ]
}


def contend(store: Store, number: int, barrier: Any, rounds: int) -> list[tuple[str, Any]]:
    """Run every race *rounds* times as contender *number*, in step with the others at *barrier*."""
    seen = []
    try:
        for turn in range(rounds):
            for name, (race, _) in RACES.items():
                key, me = f"{name}-{turn}", f"contender-{number}"
                barrier.wait()
                seen.append((name, race(store, key, me, number == 0, barrier.wait)))
    except BaseException:
        barrier.abort()  # The others would wait for ever.
        raise
    return seen


def check(all_seen: list[list[tuple[str, Any]]]) -> None:
    """Check what the contenders saw, in the order of their numbers."""
    for turn in zip(*all_seen, strict=True):
        name = turn[0][0]
        RACES[name][1]([seen for _, seen in turn])
