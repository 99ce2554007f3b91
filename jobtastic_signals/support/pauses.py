"""Pauses between two attempts of processes that get in each other's way."""

from __future__ import annotations

import random
import time

__all__ = ["pause"]

_random = random.SystemRandom()


def pause(longest: float, shortest: float = 0.0) -> None:
    """Sleep for a random number of seconds, so that processes do not keep step.

    The state of the module ``random`` stays as it is: it belongs to the user, who may have seeded it.
    """
    time.sleep(_random.uniform(shortest, longest))
