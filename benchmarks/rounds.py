"""How all benchmarks measure: in interleaved rounds, so that whatever slows one candidate slows all."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["medians"]

ROUNDS = 150


def medians(
    candidates: Mapping[str, Callable[[], Any]], *, calls: int, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return the median time of one call of each candidate, in microseconds.

    :param calls: how often a candidate is called in each of its rounds.
    :param rounds: how often each candidate has its turn.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        random.shuffle(order)  # A candidate pays for what the one before it left behind.
        for name in order:
            call = candidates[name]
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}
