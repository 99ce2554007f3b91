"""What is found, and what shows it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SUBJECTS", "Finding", "Verdict", "View", "conclusion", "mend", "note", "ok"]

#: What findings are about.
SUBJECTS = ("plugin", "settings", "task", "backend", "store", "worker")


class Verdict(enum.Enum):
    """What a finding means for sharing."""

    OK = "ok"
    NOTE = "note"
    MEND = "mend"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    :ivar subject: one of :data:`SUBJECTS`.
    :ivar remedy: what to do about it; no text where there is nothing to do.
    """

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(Verdict.OK, subject, text)


def note(subject: str, text: str, remedy: str = "") -> Finding:
    """It is good to know, and may be meant."""
    return Finding(Verdict.NOTE, subject, text, remedy)


def mend(subject: str, text: str, remedy: str = "") -> Finding:
    """It keeps tasks from sharing, or lets others interfere."""
    return Finding(Verdict.MEND, subject, text, remedy)


class View:
    """Shows what is found, as it is found; any text may hold anything."""

    def show_tasks(self, tasks: Mapping[str, Mapping[str, str]]) -> None:
        """Called once, with the options that each task sets, by its name."""

    def show(self, finding: Finding) -> None:
        """Called with each finding."""

    def conclude(self, to_mend: int) -> None:
        """Called in the end with the number of findings that say what to mend."""


def conclusion(to_mend: int) -> str:
    """What the findings come to.

    >>> conclusion(0), conclusion(1), conclusion(2)
    ('Nothing to mend.', '1 thing to mend.', '2 things to mend.')
    """
    if not to_mend:
        return "Nothing to mend."
    return f"{to_mend} thing{'s' * (to_mend > 1)} to mend."
