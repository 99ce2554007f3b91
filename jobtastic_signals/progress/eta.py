"""How long it will take: percent and seconds left, from what is done and from earlier runs.

This is arithmetic alone. Times are seconds of any clock that does not run backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Pace", "blended", "left_by_history", "percent_by_history", "percent_of"]

#: What happened at the time ``s`` of ``t`` counts ``(s / t) ** FADING`` in the mean rate at the time ``t``.
FADING = 3

#: From this many seconds on, a year, an estimate is useless: the run stands still.
LONGEST = 365 * 24 * 3600.0

#: The most that a run shows before it is complete, in percent.
ALMOST = 99.99


def percent_of(completed: float, total: float) -> float:
    """Return how much *completed* of *total* is, from 0 to 100; below 100 as long as something is missing.

    >>> percent_of(0, 8), percent_of(1, 8), percent_of(8, 8), percent_of(9, 8), percent_of(0, 0)
    (0.0, 12.5, 100.0, 100.0, 100.0)
    >>> percent_of(999_999_999, 1_000_000_000)
    99.99
    """
    if completed >= total:
        return 100.0
    if completed <= 0:
        return 0.0
    return min(round(completed / total * 100, 2), ALMOST)


@dataclass(eq=False, repr=False)
class Pace:
    """How fast a run goes that began at *began*, if all items take the same time.

    The rate is a mean over the time since the beginning, in which the time ``s`` has the weight
    ``s ** FADING``: polynomial-decay averaging (Shamir and Zhang, 2013). So a run of any length forgets a
    slow start once it has gone on for twice as long. A steady rate is found exactly.

    >>> pace = Pace(began=0.0)
    >>> pace.see(10.0, completed=1)
    >>> pace.left(4)
    30.0
    >>> pace.see(20.0, completed=101)
    >>> round(pace.left(202), 1)
    10.8
    """

    began: float
    completed: float = 0.0
    seen: float | None = None
    rate: float | None = None

    def see(self, now: float, completed: float) -> None:
        """Note how many are *completed* at the time *now*. Fewer than before start the count again."""
        if completed < self.completed or completed <= 0:
            self.began, self.completed, self.seen, self.rate = now, max(completed, 0.0), None, None
            return
        before = self.began if self.seen is None else self.seen
        if now <= before or completed == self.completed:
            # This time, or these items, count together with the next.
            return
        kept = ((before - self.began) / (now - self.began)) ** (FADING + 1)
        latest = (completed - self.completed) / (now - before)
        self.rate = latest if self.rate is None else self.rate * kept + latest * (1 - kept)
        self.completed, self.seen = completed, now

    def left(self, total: float) -> float | None:
        """Return the seconds from the last look until *total* are completed; ``None`` without an estimate."""
        if self.completed >= total:
            return 0.0
        if not self.rate:
            return None
        seconds = (total - self.completed) / self.rate
        return seconds if seconds < LONGEST else None


def left_by_history(elapsed: float, durations: Sequence[float]) -> float | None:
    """Return the seconds left of a run that has gone on for *elapsed* seconds.

    This is the median of the *durations* of earlier runs that were longer. ``None`` if none was longer.

    >>> earlier = [3, 10, 12, 50]
    >>> left_by_history(4.0, earlier), left_by_history(20.0, earlier), left_by_history(60.0, earlier)
    (8.0, 30.0, None)
    """
    longer = [duration for duration in durations if duration > elapsed]
    if not longer:
        return None
    import statistics  # With what it imports, it takes longer to import than any module of ours.

    return statistics.median(longer) - elapsed


def percent_by_history(elapsed: float, left: float) -> float:
    """Return the percentage of a run that has gone on for *elapsed* seconds, with *left* to go; never 100.

    >>> percent_by_history(4.0, 8.0), percent_by_history(9.0, 0.0)
    (33.33, 99.99)
    """
    return min(percent_of(elapsed, elapsed + left), ALMOST)


def blended(done: float, left: float | None, expected: float | None) -> float | None:
    """Return the seconds left, from the *left* of this run's own pace and what is *expected* from history.

    The more is *done*, from 0 to 1, the more the pace of this run counts.

    >>> blended(0.25, 100.0, 20.0), blended(0.0, None, 20.0), blended(1.0, 0.0, 20.0)
    (40.0, 20.0, 0.0)
    """
    if left is None or expected is None:
        return expected if left is None else left
    return done * left + (1 - done) * expected
