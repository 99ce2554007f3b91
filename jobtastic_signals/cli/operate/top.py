"""A live view of what runs and waits."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import click
from celery import Celery

from ...results.status import task_status
from ...sharing.inventory import IN_FLIGHT, Row
from ..common import CommandError, why_results_are_unreadable
from ..watch.base import Sight, sight_of
from .listing import AGE, LEASE, OWNER, STATE, TASK, WAITING, WORKER
from .site import Site
from .tables import Column, Screen, cut, table

__all__ = ["show_once", "watch"]

#: The lines of a screen that are not rows: two above, the header, and three below.
_AROUND = 6

_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"


def show_once(site: Site, task: str | None, screen: Screen) -> None:
    """Print what runs and waits now."""
    rows = site.rows(task, only_in_flight=True)
    screen.show(_table(site.app, rows, screen) if rows else iter(["Nothing runs or waits."]))


def watch(site: Site, task: str | None, screen: Screen, interval: float) -> None:
    """Draw what runs and waits every *interval* seconds, until somebody presses ``q``.

    A store that does not answer is asked again.
    """
    with _on_another_screen(), _keys() as is_pressed:
        while True:
            size = shutil.get_terminal_size()
            lines = list(_frame(site, task, replace(screen, width=size.columns), size.lines))
            text = "".join(f"{line}{_TO_END_OF_LINE}\n" for line in lines[:-1])
            click.echo(f"{_HOME}{text}{lines[-1]}{_TO_END_OF_LINE}{_TO_END}", nl=False, color=True)
            if is_pressed("q", interval):
                return


def _frame(site: Site, task: str | None, screen: Screen, height: int) -> Iterator[str]:
    """Yield the lines of one screen."""
    try:
        rows = site.rows(task, only_in_flight=True)
    except CommandError as error:
        yield cut(str(error), screen.width or 80)
    else:
        numbers = (f"{sum(row.state == state for row in rows)} {state}" for state in IN_FLIGHT)
        yield cut(f"{', '.join(numbers)}  {site.installation.store.url}", screen.width or 80)
        yield ""
        most = max(height - _AROUND, 1)
        if rows:
            yield from _table(site.app, rows[:most], screen)
        if len(rows) > most:
            yield f"and {len(rows) - most} more"
    yield ""
    yield f"{time.strftime('%H:%M:%S')}  q quits"


def _table(app: Celery[Any], rows: Sequence[Row], screen: Screen) -> Iterator[str]:
    sights = _sights_of(app, rows)
    progress = Column("PROGRESS", lambda row: _progress(sights.get(row.owner)), keeps="start")
    return table((TASK, STATE, OWNER, WORKER, AGE, LEASE, WAITING, progress), rows, screen)


def _sights_of(app: Celery[Any], rows: Sequence[Row]) -> Mapping[str, Sight]:
    """Return the status of each run; of none from the first on at which the result backend fails."""
    sights: dict[str, Sight] = {}
    if why_results_are_unreadable(app) is None:
        try:
            for row in rows:
                if row.state == "running":
                    sights[row.owner] = sight_of(task_status(app, row.owner))
        except Exception:
            return sights
    return sights


def _progress(sight: Sight | None) -> str:
    if sight is None or sight.percent is None:
        return ""
    return "  ".join(filter(None, (f"{int(sight.percent)} %", sight.left)))


@contextmanager
def _on_another_screen() -> Iterator[None]:
    """Leave what the terminal shows as it was."""
    click.echo(_BEGIN, nl=False, color=True)
    try:
        yield
    finally:
        click.echo(_END, nl=False, color=True)


@contextmanager
def _keys() -> Iterator[Callable[[str, float], bool]]:
    """Give a function that waits some seconds for a key, and returns whether it was pressed."""
    if not sys.stdin.isatty() or os.name != "posix":
        yield _wait
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _is_pressed
    finally:
        with suppress(termios.error):  # The terminal may be gone.
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _wait(key: str, seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _is_pressed(key: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        readable, _, _ = select.select([sys.stdin], [], [], left)
        if not readable:
            continue
        pressed = _pressed()
        if key in pressed or not pressed:
            return True
    return False


def _pressed() -> str:
    """Return the keys that have been pressed; none if the terminal is gone."""
    with suppress(OSError):
        # Not by the text layer, which would keep further keys to itself.
        return os.read(sys.stdin.fileno(), 100).decode(errors="replace")
    return ""
