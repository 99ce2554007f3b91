"""A clock that tests advance by hand, for stores and guards that accept ``clock=``."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """A callable that returns the seconds it was set to. Like real times, they have a fraction.

    >>> clock = Clock(1000.5)
    >>> clock.advance(60)
    >>> clock()
    1060.5
    """

    def __init__(self, now: float = 1_700_000_000.5) -> None:
        self.now: float = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self.now += seconds
