"""Lines for a pipe or a log file: one for each task and each finding, with its level first."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..watch.base import clean
from .base import SUBJECTS, Finding, Level, View, conclusion

__all__ = ["PlainView"]

#: The longest text. It may contain a path, or an error with its reason.
_LONGEST = 1000

_LEVELS, _SUBJECTS = max(len(each.value) for each in Level), max(map(len, SUBJECTS))


class PlainView(View):
    """Prints lines without control codes."""

    def show_tasks(self, tasks: Mapping[str, Mapping[str, str]]) -> None:
        for name, options in tasks.items():
            values = "  ".join(f"{option}={value}" for option, value in options.items())
            self._line(Level.OK, "task", f"{name}  {values}")

    def show(self, finding: Finding) -> None:
        text = ". ".join(filter(None, (finding.text, finding.remedy)))
        self._line(finding.level, finding.subject, text)

    def conclude(self, to_fix: int) -> None:
        click.echo(conclusion(to_fix))

    def _line(self, level: Level, subject: str, text: str) -> None:
        click.echo(f"{level.value:{_LEVELS}}  {subject:{_SUBJECTS}}  {clean(text, _LONGEST)}")
