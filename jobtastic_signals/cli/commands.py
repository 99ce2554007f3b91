"""``celery -A proj jobtastic``: the commands that this package adds to Celery's command line.

The ``celery`` command imports this module whenever it starts. So everything that can be imported later is.
"""

from __future__ import annotations

import io
import math
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from celery import Celery

    from .check.base import View as CheckView
    from .watch.base import View

__all__ = ["jobtastic"]

#: The exit statuses of the commands, besides 0 and 1.
EXIT_UNKNOWN, EXIT_INTERRUPTED = 2, 130


class Seconds(click.FloatRange):
    """A finite number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return seconds


# A project's own options reach every command as keyword arguments on Celery before 5.7.
@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def jobtastic(**preload_options: Any) -> None:
    """Watch tasks, and check whether they share."""


@jobtastic.command()
@click.argument("task_ids", metavar="TASK_ID...", nargs=-1, required=True)
@click.option(
    "--interval",
    type=Seconds(min=0.01),
    default=0.5,
    show_default=True,
    help="Seconds between two readings of the result backend.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0),
    help="Seconds after which to give up. By default it watches until all tasks have ended. It never ends "
    "for an id that does not exist.",
)
@click.pass_context
def watch(ctx: click.Context, task_ids: tuple[str, ...], interval: float, timeout: float | None) -> None:
    """Watch tasks until they end, each with a live progress bar.

    A task that reports no progress shows its state. In a pipe, each change and each outcome is one line.
    Ctrl-C stops watching; the tasks go on.

    \b
    Exit status:
      0    all succeeded
      1    at least one failed or was revoked
      2    wrong usage, no result backend, or some tasks had not ended in time
      130  Ctrl-C
    """  # noqa: D301  # click needs a real backspace before lines that it must not wrap
    if not all(task_id.strip() for task_id in task_ids):
        raise click.BadParameter("a task id must not be empty.", ctx, param_hint="TASK_ID")
    app: Celery[Any] = ctx.obj.app
    try:
        _require_readable_results(app)
        _escape_unknown_characters()
        from .watch.loop import watch_tasks

        with _view(task_ids, no_color=ctx.obj.no_color) as view:
            status = watch_tasks(app, task_ids, view, interval=interval, timeout=timeout)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    ctx.exit(status)


@jobtastic.command()
@click.option(
    "--timeout",
    type=Seconds(min=0.01),
    default=1.0,
    show_default=True,
    help="Seconds within which workers have to answer.",
)
@click.option("--require-workers", is_flag=True, help="Exit with 1 if no worker answers.")
@click.pass_context
def check(ctx: click.Context, timeout: float, require_workers: bool) -> None:
    """Check whether sharing works here, and say what to fix.

    It checks the plugin, the settings and the tasks of this app, tries the store with a claim of its own, and
    asks the running workers which store they use.

    \b
    Exit status:
      0    nothing to fix
      1    something to fix
      2    wrong usage, or the app cannot be loaded
      130  Ctrl-C
    """  # noqa: D301  # as in watch
    app: Celery[Any] = ctx.obj.app
    try:
        _escape_unknown_characters()
        from .check.check import check_app, load_tasks

        try:
            wrong = load_tasks(app)
        except Exception as error:
            _refuse(f"The tasks cannot be loaded: {type(error).__name__}: {error}")
        view = _check_view(no_color=ctx.obj.no_color)
        to_fix = check_app(app, view, timeout=timeout, wrong=wrong, require_workers=require_workers)
        status = 1 if to_fix else 0
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    ctx.exit(status)


def _escape_unknown_characters() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal with another encoding gets escapes instead of an error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _require_readable_results(app: Celery[Any]) -> None:
    from celery.backends.base import DisabledBackend
    from celery.backends.rpc import RPCBackend
    from celery.exceptions import ImproperlyConfigured

    try:
        backend = app.backend
    except (ImportError, ImproperlyConfigured) as error:
        _refuse(f"The result backend cannot be used: {error}")
    if isinstance(backend, DisabledBackend):
        _refuse("There is nothing to watch, because no result backend is configured. Set result_backend.")
    if isinstance(backend, RPCBackend):
        _refuse(
            "There is nothing to watch, because only the caller can read results from rpc://. Set another "
            "result_backend."
        )


def _view(task_ids: tuple[str, ...], *, no_color: bool) -> View:
    """Return a view with bars on a terminal that can draw them, otherwise one with lines."""
    if _can_draw():
        from .watch.live import LiveView

        return LiveView(task_ids, no_color=no_color)
    from .watch.plain import PlainView

    return PlainView()


def _check_view(*, no_color: bool) -> CheckView:
    """Return a view with columns on a terminal that can draw them, otherwise one with lines."""
    if _can_draw():
        from .check.table import TableView

        return TableView(no_color=no_color)
    from .check.plain import PlainView

    return PlainView()


def _can_draw() -> bool:
    if not sys.stdout.isatty():
        return False
    try:
        from .watch.live import can_draw
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        click.echo("For live bars and tables, run: pip install 'jobtastic-signals[cli]'", err=True)
        return False
    return can_draw()


def _refuse(reason: str) -> None:
    click.echo(reason, err=True)
    sys.exit(EXIT_UNKNOWN)
