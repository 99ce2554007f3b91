"""A table of tasks, and findings in columns, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..watch.base import clean
from .base import SUBJECTS, Finding, Level, View, conclusion

__all__ = ["TableView"]

_MARKS = {
    Level.OK: ("✓", "bold green"),
    Level.NOTE: ("!", "bold yellow"),
    Level.FIX: ("✗", "bold red"),
}


class TableView(View):
    """Shows a table and columns. Each text is a :class:`rich.text.Text`, which is never parsed as markup."""

    def __init__(self, *, no_color: bool = False) -> None:
        self._console = Console(highlight=False, no_color=no_color or None)

    def show_tasks(self, tasks: Mapping[str, Mapping[str, str]]) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("task", overflow="fold")
        table.add_column("its options", overflow="fold")
        for name, options in tasks.items():
            values = (f"{option}={value}" for option, value in options.items())
            table.add_row(_text(name), Text("\n".join(map(clean, values))))
        self._console.print(table)
        self._console.print()

    def show(self, finding: Finding) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=1)
        row.add_column(width=max(map(len, SUBJECTS)))
        row.add_column(overflow="fold")
        row.add_row(Text(*_MARKS[finding.level]), Text(finding.subject, "dim"), _text(finding.text))
        if finding.remedy:
            row.add_row("", "", _text(finding.remedy, "italic"))
        self._console.print(row)

    def conclude(self, to_fix: int) -> None:
        self._console.print()
        self._console.print(Text(conclusion(to_fix), "bold red" if to_fix else "bold green"))


def _text(text: str, style: str = "") -> Text:
    return Text(clean(text, 1000), style)
