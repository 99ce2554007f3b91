"""Rows of the store as tables, as JSON, and one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from ...sharing.inventory import Row
from ..common import is_made_by_celery
from .tables import Column, Screen, bytes_text, table, time_text

__all__ = [
    "AGE",
    "LEASE",
    "OWNER",
    "STATE",
    "TASK",
    "WAITING",
    "WORKER",
    "as_dict",
    "lines_of",
    "print_json",
]

_COLORS = {"running": "green", "waiting": "yellow", "queued": "cyan", "stale": "yellow", "failed": "red"}

TASK = Column("TASK", lambda row: row.task, keeps="end")
KEY = Column("KEY", lambda row: row.key, short=lambda row: row.key.rpartition(":")[2][:8])
STATE = Column("STATE", lambda row: row.state, color=lambda row: _COLORS.get(row.state))
OWNER = Column("OWNER", lambda row: row.owner, short=lambda row: short_id(row.owner), keeps="start")
WORKER = Column("WORKER", lambda row: row.worker, keeps="start")
AGE = Column("AGE", lambda row: time_text(row.age), is_number=True)
LEASE = Column("LEASE", lambda row: time_text(row.lease_left), is_number=True)
WAITING = Column("WAITING", lambda row: waiting_text(row), is_number=True)
EXPIRES = Column("EXPIRES", lambda row: expiry_text(row), is_number=True)
HITS = Column("HITS", lambda row: f"{row.hits:,}" if row.hits else "", is_number=True)
SIZE = Column("SIZE", lambda row: bytes_text(row.size), is_number=True)

#: The columns of a pipe, and those of the two tables of a terminal.
COLUMNS = (TASK, KEY, STATE, OWNER, WORKER, AGE, LEASE, EXPIRES, WAITING, HITS, SIZE)
IN_FLIGHT_COLUMNS = (TASK, KEY, STATE, OWNER, WORKER, AGE, LEASE, WAITING)
RESULT_COLUMNS = (TASK, KEY, STATE, OWNER, AGE, EXPIRES, HITS, SIZE)


def lines_of(rows: Sequence[Row], screen: Screen) -> Iterator[str]:
    """Yield the lines that show *rows*: a table of claims and one of results; in a pipe all in one."""
    if screen.width is None:
        yield from table(COLUMNS, rows, screen)
        return
    in_flight = [row for row in rows if row.is_in_flight]
    results = [row for row in rows if not row.is_in_flight]
    if in_flight:
        yield from table(IN_FLIGHT_COLUMNS, in_flight, screen)
    if in_flight and results:
        yield ""
    if results:
        yield from table(RESULT_COLUMNS, results, screen)


def as_dict(row: Row) -> dict[str, Any]:
    """Return *row* as JSON has it, with times in milliseconds at most."""
    return {
        name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(row).items()
    }


def print_json(value: Sequence[Any] | Mapping[str, Any]) -> None:
    """Print *value* as JSON, in ASCII, so that no text of it reaches a terminal as it is."""
    click.echo(json.dumps(value, indent=2))


def short_id(task_id: str) -> str:
    """Return what is enough to recognise a task id.

    >>> short_id("7c9e6679-7425-40de-944b-e07fc1f90ae7"), short_id("order 7")
    ('7c9e6679', 'order 7')
    """
    return task_id[:8] if is_made_by_celery(task_id) else task_id


def waiting_text(row: Row) -> str:
    """Return how many calls wait, with ``+`` if there are messages that wait too, whose number is unknown."""
    return f"{row.waiting or ''}{'+' if row.is_awaited else ''}"


def expiry_text(row: Row) -> str:
    """Return for how long a result is still handed out; empty for a claim."""
    return "" if row.is_in_flight else time_text(row.expires_in, "never")
