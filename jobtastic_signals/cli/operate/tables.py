"""Tables of text: as narrow as the terminal, and whole in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from ...support.amounts import bytes_text, time_text
from ..watch.base import clean

__all__ = ["Column", "Screen", "bytes_text", "count_text", "cut", "table", "time_text"]

_BETWEEN = "  "

#: The characters that a column keeps which gives way to others.
_LEAST = 8


@dataclass(frozen=True)
class Column:
    """One column of a table.

    :ivar text: returns the text of a row.
    :ivar short: returns what is shown if the table is too wide.
    :ivar keeps: which part of a text stays that is cut at last: ``"start"``, ``"end"``, or ``""`` if it never
        is.
    :ivar is_number: whether it is aligned to the right.
    :ivar color: returns the color of a row; ``None`` for none.
    """

    title: str
    text: Callable[[Any], str]
    short: Callable[[Any], str] | None = None
    keeps: str = ""
    is_number: bool = False
    color: Callable[[Any], str | None] = lambda row: None


@dataclass(frozen=True)
class Screen:
    """Where a command prints.

    :ivar width: the most characters of a line; ``None`` in a pipe, whose lines are whole.
    :ivar has_color: whether colors are shown.
    :ivar is_live: whether lines can be drawn over.
    """

    width: int | None = None
    has_color: bool = False
    is_live: bool = False

    @classmethod
    def here(cls, *, no_color: bool = False) -> Screen:
        """Return what standard output is."""
        if not sys.stdout.isatty():
            return cls()
        is_dumb = os.environ.get("TERM", "dumb") == "dumb"
        has_color = not (no_color or is_dumb or "NO_COLOR" in os.environ)
        return cls(shutil.get_terminal_size().columns, has_color, not is_dumb)

    def show(self, lines: Iterator[str]) -> None:
        """Print *lines*."""
        for line in lines:
            click.echo(line, color=self.has_color)


def table(columns: Sequence[Column], rows: Sequence[Any], screen: Screen) -> Iterator[str]:
    """Yield the lines of a table with a header. A column without any text is left out."""
    columns = [column for column in columns if any(column.text(row) for row in rows)]
    if not columns:
        return
    cells = [[clean(column.text(row)) for row in rows] for column in columns]
    if screen.width is not None:
        cells = _fitted(columns, cells, rows, screen.width)
    widths = [_width_of(column, texts) for column, texts in zip(columns, cells, strict=True)]
    nothing = "-" if screen.width is None else ""  # In a pipe each line has as many words as the others.
    dims = [_dim if screen.has_color else None for _ in columns]
    yield _line([each.title for each in columns], columns, widths, dims)
    for number, row in enumerate(rows):
        paints = [_painter(column.color(row)) if screen.has_color else None for column in columns]
        yield _line([texts[number] or nothing for texts in cells], columns, widths, paints)


def count_text(number: int) -> str:
    """Return a number in few characters.

    >>> count_text(9_999), count_text(12_345), count_text(1_250_000)
    ('9999', '12k', '1.2M')
    """
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def cells_in(text: str) -> int:
    """Return how many characters of a terminal *text* takes.

    >>> cells_in("report"), cells_in("報告")
    (6, 4)
    """
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)


def cut(text: str, width: int, keeps: str = "start") -> str:
    """Return *text* in at most *width* characters of a terminal.

    >>> cut("proj.reports.yearly", 10, "end"), cut("celery@web1", 8), cut("report", 8)
    ('…ts.yearly', 'celery@…', 'report')
    """
    if cells_in(text) <= width:
        return text
    while text and cells_in(text) >= width:
        text = text[1:] if keeps == "end" else text[:-1]
    return f"…{text}" if keeps == "end" else f"{text}…"


def _fitted(
    columns: Sequence[Column], cells: list[list[str]], rows: Sequence[Any], width: int
) -> list[list[str]]:
    """Return *cells* in at most *width* characters a line, if that can be: shorter texts first, then cuts."""
    widths = [_width_of(column, texts) for column, texts in zip(columns, cells, strict=True)]
    room = width - len(_BETWEEN) * (len(columns) - 1)
    for number, column in enumerate(columns):
        if column.short is not None and sum(widths) > room:
            cells[number] = [clean(column.short(row)) for row in rows]
            widths[number] = _width_of(column, cells[number])
    yielding = [number for number, column in enumerate(columns) if column.keeps]
    while sum(widths) > room and yielding:
        widest = max(yielding, key=widths.__getitem__)
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    return [
        [cut(text, widths[number], columns[number].keeps) for text in texts]
        for number, texts in enumerate(cells)
    ]


def _width_of(column: Column, texts: Sequence[str]) -> int:
    return max(map(cells_in, (column.title, "-", *texts)))


def _line(
    texts: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    paints: Sequence[Callable[[str], str] | None],
) -> str:
    parts = []
    for text, column, width, paint in zip(texts, columns, widths, paints, strict=True):
        space = " " * (width - cells_in(text))
        painted = text if paint is None else paint(text)
        parts.append(f"{space}{painted}" if column.is_number else f"{painted}{space}")
    return _BETWEEN.join(parts).rstrip()


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _painter(color: str | None) -> Callable[[str], str] | None:
    return None if color is None else lambda text: click.style(text, fg=color)
