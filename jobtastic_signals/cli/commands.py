"""``celery -A proj jobtastic``: the commands that this package adds to Celery's command line.

The ``celery`` command imports this module whenever it starts. So everything that can be imported later is.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from . import freeing, inspecting
from .common import Seconds, ending, is_made_by_celery, refuse, why_results_are_unreadable

if TYPE_CHECKING:
    from celery import Celery

    from .check.base import View as CheckView
    from .watch.base import View
    from .watch.loop import Found

__all__ = ["jobtastic"]


# A project's own options reach every command as keyword arguments on Celery before 5.7.
@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def jobtastic(**preload_options: Any) -> None:
    """Watch tasks, and see what they share."""


for _command in (
    inspecting.list_,
    inspecting.show,
    inspecting.explain,
    inspecting.stats,
    inspecting.top,
    freeing.forget,
    freeing.release,
    freeing.purge,
):
    jobtastic.add_command(_command)


@jobtastic.command()
@click.argument("targets", metavar="TASK_ID|TASK...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Watch all runs of this app.")
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
def watch(
    ctx: click.Context, targets: tuple[str, ...], every: bool, interval: float, timeout: float | None
) -> None:
    """Watch tasks until they end, each with a live progress bar.

    With the name of a task, or with --all, it watches all runs that share, also those that begin later. It
    goes on until the timeout or Ctrl-C.

    A task that reports no progress shows its state. In a pipe, each change and each outcome is one line.
    Ctrl-C stops watching; the tasks go on.

    \b
    Exit status:
      0    all succeeded
      1    at least one failed or was revoked
      2    wrong usage, no result backend, or some tasks had not ended in time
      130  Ctrl-C
    """  # noqa: D301  # click needs a real backspace before lines that it must not wrap
    if not all(target.strip() for target in targets):
        raise click.BadParameter("a task id must not be empty.", ctx, param_hint="TASK_ID")
    if every == bool(targets):
        raise click.UsageError("Give task ids, names of tasks, or --all.", ctx)
    app: Celery[Any] = ctx.obj.app
    with ending():
        unreadable = why_results_are_unreadable(app)
        if unreadable is not None:
            refuse(unreadable)
        from .watch.loop import watch_tasks

        ids, found = _followed(app, targets)
        with _view(no_color=ctx.obj.no_color) as view:
            status = watch_tasks(app, ids, view, interval=interval, timeout=timeout, found=found)
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
    with ending():
        from .check.check import check_app, load_tasks

        try:
            wrong = load_tasks(app)
        except Exception as error:
            refuse(f"The tasks cannot be loaded: {type(error).__name__}: {error}")
        view = _check_view(no_color=ctx.obj.no_color)
        to_fix = check_app(app, view, timeout=timeout, wrong=wrong, require_workers=require_workers)
        ctx.exit(1 if to_fix else 0)


def _followed(app: Celery[Any], targets: tuple[str, ...]) -> tuple[list[str], Found | None]:
    """Return the ids to watch, and what finds the runs of the tasks that are named; all without *targets*."""
    tasks: list[str] = []
    # Ids need neither the modules of the tasks nor a store.
    with suppress(Exception):
        if not all(map(is_made_by_celery, targets)):
            app.loader.import_default_modules()
            tasks = [target for target in targets if target in app.tasks]
    ids = [target for target in targets if target not in tasks]
    if ids and not tasks:
        return ids, None
    from .operate.site import Site

    site = Site(app)
    return ids, lambda: site.runs(tasks)


def _view(*, no_color: bool) -> View:
    """Return a view with bars on a terminal that can draw them, otherwise one with lines."""
    if _can_draw():
        from .watch.live import LiveView

        return LiveView(no_color=no_color)
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
