"""A crowd that runs every race."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from ...stores import Store
from .caller_contests import CALLER_RACES
from .contests import LEASE, RACES, TIMEOUT

__all__ = ["LEASE", "TIMEOUT", "contend"]

#: How many contend.
CROWD = 8

_ALL = [*RACES, *CALLER_RACES]


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
    seen: dict[int, dict[int, Any]] = {turn: {} for turn in range(rounds * len(_ALL))}
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
        _, check = _ALL[turn % len(_ALL)]
        check([answered[number] for number in range(CROWD)])


def _contender(number: int, open_store: Callable[[], Store], rounds: int, barrier: Any, answers: Any) -> None:
    turn, store = 0, open_store()
    try:
        for turn in range(rounds * len(_ALL)):
            race, _ = _ALL[turn % len(_ALL)]
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
