"""What the commands share: their exit statuses, kinds of options, and how they end."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from celery import Celery

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_UNKNOWN",
    "CommandError",
    "Seconds",
    "ending",
    "is_made_by_celery",
    "refuse",
    "why_results_are_unreadable",
]

#: The exit statuses of the commands, besides 0. The first one is also that of a search that finds nothing.
EXIT_FAILED, EXIT_UNKNOWN, EXIT_INTERRUPTED = 1, 2, 130

_MADE_BY_CELERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Seconds(click.FloatRange):
    """A finite number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return seconds


class CommandError(Exception):
    """A command cannot do what it is for. The text says why, and what to do."""

    def __init__(self, text: str, status: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.status = status


def refuse(reason: str, status: int = EXIT_UNKNOWN) -> NoReturn:
    """Print *reason* as an error, and exit."""
    click.echo(reason, err=True)
    sys.exit(status)


@contextmanager
def ending() -> Iterator[None]:
    """End the command with one line for an error that is ours, and quietly for Ctrl-C."""
    from ..errors import JobtasticError
    from ..support.shown import one_line

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal with another encoding gets escapes instead of an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except CommandError as error:
        refuse(one_line(str(error)), error.status)
    except JobtasticError as error:
        refuse(one_line("; ".join(str(error).splitlines())), EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def is_made_by_celery(task_id: str) -> bool:
    """Return whether Celery makes such ids, so that *task_id* is neither a name nor an id of a user's own."""
    return _MADE_BY_CELERY.fullmatch(task_id) is not None


def why_results_are_unreadable(app: Celery[Any]) -> str | None:
    """Return why nobody can read the states of *app*'s tasks here; ``None`` if that can be done."""
    from celery.backends.base import DisabledBackend
    from celery.backends.rpc import RPCBackend
    from celery.exceptions import ImproperlyConfigured

    try:
        backend = app.backend
    except (ImportError, ImproperlyConfigured) as error:
        return f"The result backend cannot be used: {error}"
    if isinstance(backend, DisabledBackend):
        return "There is nothing to watch, because no result backend is configured. Set result_backend."
    if isinstance(backend, RPCBackend):
        return (
            "There is nothing to watch, because only the caller can read results from rpc://. Set another "
            "result_backend."
        )
    return None
