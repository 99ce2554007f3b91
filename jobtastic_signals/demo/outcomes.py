"""Scenes, their outcomes, and the words for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .stage import Stage

__all__ = ["Check", "Outcome", "Scene", "TookTooLongError", "distinct", "duration", "number"]


class TookTooLongError(Exception):
    """Something took so long that the demo gives up."""


@dataclass(frozen=True)
class Check:
    """A measurement in words, and whether it is as promised."""

    measured: str
    as_promised: bool


@dataclass(frozen=True)
class Outcome:
    """The measurements of one scene.

    :ivar calls: how many runs were asked for. Plain Celery runs as many while its broker is up.
    :ivar runs: how many runs there were.
    :ivar seconds: how long the caller waited whom the scene is about.
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
    """A scene and its introduction."""

    title: str
    story: str
    plain_celery: str
    play: Callable[[Stage], Outcome]


def number(count: int, what: str = "run") -> str:
    """Return a number of runs, or of other things, as text.

    >>> number(0), number(1), number(2, "warning")
    ('no run', '1 run', '2 warnings')
    """
    return f"{count or 'no'} {what}{'' if count < 2 else 's'}"


def duration(seconds: float) -> str:
    """Return a number of seconds as people write it.

    >>> duration(0.00041), duration(0.042), duration(1.0382)
    ('0.4 ms', '42 ms', '1.04 s')
    """
    if seconds < 0.1:
        return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"
    return f"{seconds:.2f} s"


def distinct(answers: Iterable[Any]) -> str:
    """Return answers as text, each different one once.

    >>> distinct(["yes", "no", "yes"])
    '"yes" and "no"'
    """
    return " and ".join(dict.fromkeys(f'"{answer}"' for answer in answers))
