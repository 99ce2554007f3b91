"""How all benchmarks measure: in rounds that are interleaved, so that what slows one slows all."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["medians"]

ROUNDS = 150


def medians(what: Mapping[str, Callable[[], Any]], *, calls: int, rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of one call of each, in microseconds, from *rounds* of so many *calls*."""
    times: dict[str, list[float]] = {name: [] for name in what}
    order = list(what)
    for _ in range(rounds):
        random.shuffle(order)  # What comes after another pays for what that left behind.
        for name in order:
            call = what[name]
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}
