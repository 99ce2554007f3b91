"""How all benchmarks measure: in interleaved rounds, so that whatever slows one candidate slows all."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from operator import truediv
from typing import Any

__all__ = ["QUICK", "calls_timed", "medians", "percentile", "ratios", "samples"]

ROUNDS = 150

#: The environment variable that asks for a tenth of the rounds: to see that all works, not for numbers.
QUICK = "BENCHMARKS_QUICK"


def medians(
    candidates: Mapping[str, Callable[[], Any]], *, calls: int, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return the median time of one call of each candidate, in microseconds.

    :param calls: how often a candidate is called in each of its rounds.
    :param rounds: how often each candidate has its turn.
    """
    turns = {name: calls_timed(call, calls) for name, call in candidates.items()}
    return {name: statistics.median(each) for name, each in samples(turns, rounds=rounds).items()}


def ratios(candidates: Mapping[str, Callable[[], float]], basis: str, *, rounds: int) -> dict[str, float]:
    """Return the median, over all rounds, of what each candidate returns as a share of what *basis* returns.

    Both were measured one after the other, so a change of the machine's speed changes both. With few
    candidates and many short rounds, this tells 1.00 from 1.02.
    """
    found = samples(candidates, rounds=rounds)
    return {name: statistics.median(map(truediv, each, found[basis])) for name, each in found.items()}


def calls_timed(call: Callable[[], Any], calls: int) -> Callable[[], float]:
    """Return a function that makes that many calls, and returns the microseconds of one of them."""

    def timed() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls * 1e6

    return timed


def samples(candidates: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Return what each candidate returns in each of its rounds."""
    if os.environ.get(QUICK):
        rounds = max(3, rounds // 10)
    found: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        random.shuffle(order)  # A candidate pays for what the one before it left behind.
        for name in order:
            found[name].append(candidates[name]())
    return found


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]
