"""The output of the demo, on a terminal or in a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from .outcomes import Check, Outcome, Scene, duration

__all__ = ["Show"]

#: Lines longer than this are hard to read, however wide the terminal is.
WIDEST = 92


class Show:
    """Prints everything that the demo shows."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, WIDEST)
        self._unicode = self._console.encoding.lower().startswith("utf")

    def headline(self, text: str) -> None:
        self._console.rule(Text(text, style="bold"), align="left", style="dim")
        self._console.print()

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._console.print(Text(_filled(text, self._console.width), style=style))
        self._console.print()

    def code(self, source: str) -> None:
        # Not as a Syntax object, which would fill all its lines with blanks.
        highlighted = Syntax("", "python", theme="ansi_dark").highlight(source)
        for line in highlighted.split("\n"):
            self._console.print(Text("    ") + line if line else "")
        self._console.print()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show a spinner until the block ends; nothing in a pipe."""
        with self._console.status(Text(what, style="dim"), spinner="line"):
            yield

    def scene(self, position: int, scene: Scene) -> None:
        self.headline(f"{position}. {scene.title}")
        self.say(scene.story)
        self.say(scene.plain_celery, style="dim")

    def checks(self, checks: Iterable[Check]) -> None:
        for check in checks:
            measured = _filled(check.measured, self._console.width - 6)
            mark = self._mark(check.as_promised)
            indented = textwrap.indent(measured, " " * (mark.cell_len + 3)).lstrip()
            self._console.print(Text("  ") + mark + Text(f" {indented}"))
        self._console.print()

    def trouble(self, what: str, log: str) -> None:
        """Print what stopped the demo, and the end of the worker's log."""
        self.checks([Check(what, as_promised=False)])
        self.headline("The end of the worker's log")
        self._console.print(Text(log))
        self._console.print()

    def summary(self, played: Mapping[Scene, Outcome]) -> None:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("scene")
        for name in ("calls", "runs", "caller waited"):
            table.add_column(name, justify="right")
        table.add_column("as promised")
        for scene, outcome in played.items():
            table.add_row(
                scene.title,
                str(outcome.calls),
                str(outcome.runs),
                duration(outcome.seconds),
                self._mark(outcome.as_promised) + Text(" yes" if outcome.as_promised else " no"),
            )
        self.headline("Summary")
        self._console.print(table)
        self._console.print()

    def _mark(self, good: bool) -> Text:
        if not self._unicode:
            return Text("[x]" if good else "[ ]")
        return Text("✔", style="bold green") if good else Text("✘", style="bold red")


def _filled(text: str, width: int) -> str:
    # rich would leave a blank at the end of each line, and textwrap would break the names of files.
    return textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False)
