"""Races of several contenders on one key, and what a store may make of each.

A race is run by every contender at once and gives what that contender saw; its ``check_...`` is given what
all of them saw, in their order. The first prepares the key where a race needs that.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from ...stores import Claim, Result, Store

__all__ = ["contend"]

#: How many contend, and how many seconds they wait for each other, and we for what they say.
CROWD, TIMEOUT = 8, 60.0

LEASE = 600.0
SHARED = "shared"

Meet = Callable[[], Any]


def claiming(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want the key."""
    meet()
    return store.admit(key, me, LEASE).owner


def check_claiming(seen: list[Any]) -> None:
    assert len(set(seen)) == 1, "one owner, and everybody sees the same one"


def taking_over(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All want to replace the claim of one that ended."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    claim = store.admit(key, me, LEASE, stale=SHARED)
    return claim.owner, getattr(claim, "previous", None), claim.owner == me


def check_taking_over(seen: list[Any]) -> None:
    assert len({owner for owner, _, _ in seen}) == 1
    assert [previous for _, previous, mine in seen if mine] == [SHARED]
    assert {previous for _, previous, mine in seen if not mine} <= {None}


def settling(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All settle what one of them has claimed."""
    meet()
    owner = store.admit(key, me, LEASE).owner
    meet()
    settled = store.settle(key, me, me.encode(), None)
    meet()
    return settled == (owner == me), owner, store.lookup(key)


def check_settling(seen: list[Any]) -> None:
    assert all(right for right, _, _ in seen), "the owner settles, and nobody else"
    owner = seen[0][1]
    assert {result for _, _, result in seen} == {Result(owner, owner.encode(), None, None)}


def settling_unclaimed(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All settle a key that nobody claimed."""
    meet()
    settled = store.settle(key, me, me.encode(), None)
    meet()
    return settled and me, store.lookup(key)


def check_settling_unclaimed(seen: list[Any]) -> None:
    winners = [settled for settled, _ in seen if settled]
    assert len(winners) == 1, "the second is refused"
    assert {result for _, result in seen} == {Result(winners[0], winners[0].encode(), None, None)}


def releasing(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All release one claim."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    return store.release(key, SHARED)


def check_releasing(seen: list[Any]) -> None:
    assert seen.count(True) == 1, "a second release does nothing"


def forgetting(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """All forget one result."""
    if first:
        store.settle(key, SHARED, b"42", None)
    meet()
    return store.forget(key)


def check_forgetting(seen: list[Any]) -> None:
    assert seen.count(True) == 1, "the second finds none"


def settling_late(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
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


def releasing_late(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One gives up its claim, or extends it, while the others, who think it dead, take over."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    if first:
        store.extend(key, SHARED, LEASE)
        store.release(key, SHARED)
        owner = SHARED
    else:
        owner = store.admit(key, me, LEASE, stale=SHARED).owner
    meet()
    return owner, store.lookup(key)


def check_releasing_late(seen: list[Any]) -> None:
    owners = {owner for owner, _ in seen[1:]}
    found = {entry and entry.owner for _, entry in seen}
    assert len(owners) == 1
    assert found == owners, "a late owner neither keeps its claim nor takes that of the next away"


def leaving_unwaited(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
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


def extending(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One extends its claim while the others come to wait."""
    before = store.admit(key, SHARED, LEASE) if first else None
    meet()
    if first:
        store.extend(key, SHARED, 3 * LEASE)
    else:
        store.admit(key, me, LEASE)
    meet()
    return before, store.lookup(key)


def check_extending(seen: list[Any]) -> None:
    before, after = seen[0]
    assert (after.owner, after.waited) == (SHARED, True), "the mark is not lost"
    assert after.expires > before.expires + LEASE, "nor is the extension"


def looking(store: Store, key: str, me: str, first: bool, meet: Meet) -> Any:
    """One settles its claim while the others look."""
    if first:
        store.admit(key, SHARED, LEASE)
    meet()
    if first:
        return store.settle(key, SHARED, b"42", None)
    entry, end = store.lookup(key), time.monotonic() + TIMEOUT / 2
    while isinstance(entry, Claim) and time.monotonic() < end:
        entry = store.lookup(key)
    return type(entry)


def check_looking(seen: list[Any]) -> None:
    assert seen[0] is True
    assert set(seen[1:]) == {Result}, "there is no moment between the claim and the result"


RACES: list[tuple[Callable[..., Any], Callable[[list[Any]], None]]] = [
    (claiming, check_claiming),
    (taking_over, check_taking_over),
    (settling, check_settling),
    (settling_unclaimed, check_settling_unclaimed),
    (releasing, check_releasing),
    (forgetting, check_forgetting),
    (settling_late, check_settling_late),
    (releasing_late, check_releasing_late),
    (leaving_unwaited, check_leaving_unwaited),
    (extending, check_extending),
    (looking, check_looking),
]


def contend(context: Any, open_store: Callable[[], Store], rounds: int) -> None:
    """Let a crowd run every race *rounds* times, and check what they saw.

    :param context: what makes them: a context of :mod:`multiprocessing` for processes, or
        :mod:`multiprocessing.dummy` for threads.
    :param open_store: gives each its store.
    """
    barrier, answers = context.Barrier(CROWD, timeout=TIMEOUT), context.Queue()
    crowd = [
        context.Process(target=_contender, args=(number, open_store, rounds, barrier, answers))
        for number in range(CROWD)
    ]
    for contender in crowd:
        contender.daemon = True  # One that hangs must not keep Python from ending.
        contender.start()
    seen: dict[int, dict[int, Any]] = {turn: {} for turn in range(rounds * len(RACES))}
    for _ in range(CROWD * len(seen)):
        try:
            turn, number, answer, error = answers.get(timeout=TIMEOUT)
        except queue.Empty:
            pytest.fail("a contender hangs, or has died", pytrace=False)
        if error:
            pytest.fail(error, pytrace=False)
        seen[turn][number] = answer
    for contender in crowd:
        contender.join(TIMEOUT)
    for turn, answered in seen.items():
        _, check = RACES[turn % len(RACES)]
        check([answered[number] for number in range(CROWD)])


def _contender(number: int, open_store: Callable[[], Store], rounds: int, barrier: Any, answers: Any) -> None:
    turn, store = 0, open_store()
    try:
        for turn in range(rounds * len(RACES)):
            race, _ = RACES[turn % len(RACES)]
            key, me = f"{race.__name__}-{turn}", f"contender-{number}"
            barrier.wait()
            answers.put((turn, number, race(store, key, me, number == 0, barrier.wait), ""))
        barrier.wait()  # A store that is closed may be another's, too.
    except threading.BrokenBarrierError:
        pass  # It waited for one that failed, which says why, or that hangs.
    except Exception:
        barrier.abort()
        answers.put((turn, number, None, traceback.format_exc()))
    finally:
        store.close()
