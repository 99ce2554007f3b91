"""Lines for a pipe or a log file: one for each task and each finding, its verdict first."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..watch.base import clean
from .base import SUBJECTS, Finding, Verdict, View, conclusion

__all__ = ["PlainView"]

#: Characters of a text that may be a path, or an error with a reason.
_LONGEST = 1000

_VERDICTS, _SUBJECTS = max(len(each.value) for each in Verdict), max(map(len, SUBJECTS))


class PlainView(View):
    """Prints lines without control codes."""

    def show_tasks(self, tasks: Mapping[str, Mapping[str, str]]) -> None:
        for name, options in tasks.items():
            values = "  ".join(f"{option}={value}" for option, value in options.items())
            self._line(Verdict.OK, "task", f"{name}  {values}")

    def show(self, finding: Finding) -> None:
        text = ". ".join(filter(None, (finding.text, finding.remedy)))
        self._line(finding.verdict, finding.subject, text)

    def conclude(self, to_mend: int) -> None:
        click.echo(conclusion(to_mend))

    def _line(self, verdict: Verdict, subject: str, text: str) -> None:
        click.echo(f"{verdict.value:{_VERDICTS}}  {subject:{_SUBJECTS}}  {clean(text, _LONGEST)}")
