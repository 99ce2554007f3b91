"""What a scene is, what comes of it, and the words for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .stage import Stage

__all__ = ["Check", "Outcome", "Scene", "TookTooLongError", "distinct", "duration", "number"]


class TookTooLongError(Exception):
    """Something has not happened for so long that the demo gives up."""


@dataclass(frozen=True)
class Check:
    """What was measured, in words that are true either way, and whether it is what was promised."""

    measured: str
    as_promised: bool


@dataclass(frozen=True)
class Outcome:
    """What a scene measured.

    :ivar calls: how many runs were asked for, which is how many plain Celery has while its broker is up.
    :ivar runs: how many there were.
    :ivar seconds: how long the caller whom the scene is about waited.
    """

    calls: int
    runs: int
    seconds: float
    checks: tuple[Check, ...]

    @property
    def as_promised(self) -> bool:
        return all(check.as_promised for check in self.checks)


@dataclass(frozen=True)
class Scene:
    """A scene, and what is said before it."""

    title: str
    story: str
    plain_celery: str
    play: Callable[[Stage], Outcome]


def number(count: int, what: str = "run") -> str:
    """A number of runs, or of what else there is.

    >>> number(0), number(1), number(2, "warning")
    ('no run', '1 run', '2 warnings')
    """
    return f"{count or 'no'} {what}{'' if count < 2 else 's'}"


def duration(seconds: float) -> str:
    """A number of seconds, for people.

    >>> duration(0.00041), duration(0.042), duration(1.0382)
    ('0.4 ms', '42 ms', '1.04 s')
    """
    if seconds < 0.1:
        return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
    return f"{seconds:.2f} s"


def distinct(answers: Iterable[Any]) -> str:
    """Answers, equal ones once.

    >>> distinct(["yes", "no", "yes"])
    '"yes" and "no"'
    """
    return " and ".join(dict.fromkeys(f'"{answer}"' for answer in answers))
