"""The commands that show what is shared, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..sharing.inventory import STATES
from .common import EXIT_FAILED, CommandError, Seconds, ending

if TYPE_CHECKING:
    from .operate.site import Site

__all__ = ["explain", "list_", "show", "stats", "top"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

# The task and its arguments are words of their own, so that a shell completes and quotes them.
_call_words = click.argument("words", metavar="TASK [ARGUMENT...]", nargs=-1, required=True)


@click.command("list")
@click.option("--task", metavar="NAME", help="Only this task, or this prefix of keys.")
@click.option("--state", "wanted", type=click.Choice(STATES), multiple=True, help="Only this state.")
@_as_json
@click.pass_context
def list_(ctx: click.Context, task: str | None, wanted: tuple[str, ...], as_json: bool) -> None:
    """List what runs, waits and is cached.

    In a terminal, ids and keys are short where there is no room. `show`, `forget` and `release` accept them
    so. HITS counts the calls of the task that a stored result has answered. A + at WAITING stands for
    messages, whose number is not known.

    \b
    Exit status:
      0    something is listed
      1    nothing was found, or the store does not answer
      2    wrong usage
    """  # noqa: D301  # click needs a real backspace before lines that it must not wrap
    with ending():
        from .operate import listing
        from .operate.tables import Screen

        rows = [row for row in _site(ctx).rows(task) if not wanted or row.state in wanted]
        if as_json:
            listing.print_json([listing.as_dict(row) for row in rows])
        else:
            screen = Screen.here(no_color=ctx.obj.no_color)
            screen.show(listing.lines_of(rows, screen))
        if not rows and not as_json:
            raise CommandError("Nothing runs, waits or is cached." if task is None else "Nothing was found.")
        ctx.exit(0 if rows else EXIT_FAILED)


@click.command()
@click.argument("words", metavar="KEY | TASK [ARGUMENT...]", nargs=-1, required=True)
@_as_json
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Show all that is known about one key.

    Name it by a key, by the start of its last part, or by a task and the arguments of a call. Arguments are
    written as for `explain`.

    \b
    Exit status:
      0    something is stored under the key
      1    nothing is, or the store does not answer
      2    wrong usage
    """  # noqa: D301  # as in list
    with ending():
        from .operate import details, listing
        from .operate.tables import Screen

        site = _site(ctx)
        if len(words) > 1 or words[0] in site.app.tasks:
            call = site.call(words)
            key, rows = call.key, site.rows_of(call.key, call.scopes)
        else:
            key = site.key(words[0])
            rows = site.rows_of(key)
        if as_json:
            found: list[dict[str, Any]] = [listing.as_dict(row) for row in rows]
            for each in found:
                if each["size"] is not None:
                    each["value"] = details.value_of(site, key)
            listing.print_json(found)
        elif not rows:
            raise CommandError(f"Nothing is stored under {key}.")
        else:
            Screen.here(no_color=ctx.obj.no_color).show(details.details_of(site, key, rows))
        ctx.exit(0 if rows else EXIT_FAILED)


@click.command()
@_call_words
@_as_json
@click.pass_context
def explain(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Explain what goes into the key of a call.

    Each ARGUMENT is JSON, or else plain text: acme, 2026, true, '["a", "b"]', and '"2026"' for the text. A
    named one is year=2026. Write -- before a negative number.

    \b
    Exit status:
      0    the call has a key
      1    it has none
      2    wrong usage
    """  # noqa: D301  # as in list
    with ending():
        from .operate import listing
        from .watch.base import clean

        found = _site(ctx, needs_store=False).explanation(words)
        if as_json:
            arguments = {each.name: repr(each.value) for each in found.arguments if not each.is_missing}
            others = {name: repr(value) for name, value in found.insignificant.items()}
            listing.print_json(
                {
                    "task": found.task.name,
                    "call": found.call,
                    "key": found.key,
                    "arguments": arguments,
                    "insignificant": others,
                }
            )
        else:
            for line in str(found).splitlines():
                click.echo(clean(line, len(line)))


@click.command()
@click.option("--task", metavar="NAME", help="Only this task.")
@_as_json
@click.pass_context
def stats(ctx: click.Context, task: str | None, as_json: bool) -> None:
    """Show what sharing has saved, by task.

    Workers and callers count, and write their counts to the store every few seconds.

    \b
    Exit status:
      0    something was counted
      1    nothing was, or the store does not answer
      2    wrong usage
    """  # noqa: D301  # as in list
    with ending():
        from .operate import counting, listing
        from .operate.tables import Screen

        counts = counting.counts_of(_site(ctx), task)
        if as_json:
            listing.print_json(counts)
        elif not counts:
            raise CommandError(
                "Nothing has been counted." if task is None else f"Nothing has been counted of {task}."
            )
        else:
            screen = Screen.here(no_color=ctx.obj.no_color)
            screen.show(counting.lines_of(counts, screen))
        ctx.exit(0 if counts else EXIT_FAILED)


@click.command()
@click.option("--task", metavar="NAME", help="Only this task, or this prefix of keys.")
@click.option(
    "--interval",
    type=Seconds(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two readings of the store.",
)
@click.pass_context
def top(ctx: click.Context, task: str | None, interval: float) -> None:
    """Watch all that runs or waits. q or Ctrl-C ends it.

    In a pipe it is printed once.
    """
    with ending():
        from .operate.tables import Screen
        from .operate.top import show_once, watch

        site, screen = _site(ctx), Screen.here(no_color=ctx.obj.no_color)
        if screen.is_live:
            watch(site, task, screen, interval)
        else:
            show_once(site, task, screen)


def _site(ctx: click.Context, *, needs_store: bool = True) -> Site:
    from .operate.site import Site

    return Site(ctx.obj.app, needs_store=needs_store)
