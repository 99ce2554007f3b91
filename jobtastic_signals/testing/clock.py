"""A clock that goes only when told, for stores and guards that take ``clock=``."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Called, it tells the seconds that it was set to. They have a fraction, as real ones have.

    >>> clock = Clock(1000.5)
    >>> clock.advance(60)
    >>> clock()
    1060.5
    """

    def __init__(self, now: float = 1_700_000_000.5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
