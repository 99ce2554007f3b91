"""Findings, and the views that show them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from ...support.shown import one_line

__all__ = ["SUBJECTS", "Finding", "Level", "View", "conclusion", "fix", "note", "ok"]

#: The subjects of findings.
SUBJECTS = ("plugin", "settings", "task", "backend", "store", "worker")


class Level(enum.Enum):
    """The weight of a finding."""

    OK = "ok"
    NOTE = "note"
    FIX = "fix"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    :ivar subject: one of :data:`SUBJECTS`.
    :ivar remedy: what to do about it; empty if there is nothing to do.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, subject, one_line(text))


def note(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that is good to know, and may be intended."""
    return Finding(Level.NOTE, subject, one_line(text), remedy)


def fix(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that keeps tasks from sharing, or lets others interfere."""
    return Finding(Level.FIX, subject, one_line(text), remedy)


class View:
    """Shows each finding as soon as it is made. A text may contain any characters."""

    def show_tasks(self, tasks: Mapping[str, Mapping[str, str]]) -> None:
        """Show the options that each task sets, by its name. Called once."""

    def show(self, finding: Finding) -> None:
        """Show one finding."""

    def conclude(self, to_fix: int) -> None:
        """Show the conclusion from the number of findings to fix. Called last."""


def conclusion(to_fix: int) -> str:
    """Return the conclusion from the number of findings to fix.

    >>> conclusion(0), conclusion(1), conclusion(2)
    ('Nothing to fix.', '1 thing to fix.', '2 things to fix.')
    """
    if not to_fix:
        return "Nothing to fix."
    return f"{to_fix} thing{'s' * (to_fix > 1)} to fix."
