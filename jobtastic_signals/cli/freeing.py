"""The commands that drop results, free claims and purge queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import EXIT_UNKNOWN, CommandError, ending

if TYPE_CHECKING:
    from .operate.site import Site

__all__ = ["forget", "purge", "release"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_call_words = click.argument("words", metavar="[TASK [ARGUMENT...]]", nargs=-1)
_key_option = click.option("--key", metavar="KEY", help="This key, or the start of its last part.")


@click.command()
@_call_words
@_key_option
@click.option("--all", "every", metavar="TASK", help="All results of a task, or of a prefix of keys.")
@click.option("--tag", metavar="TAG", help="All results with this tag.")
@_as_json
@click.pass_context
def forget(
    ctx: click.Context,
    words: tuple[str, ...],
    key: str | None,
    every: str | None,
    tag: str | None,
    as_json: bool,
) -> None:
    """Drop stored results, so that the next identical calls run.

    Arguments are written as for `explain`. A run that goes on is not stopped; its result answers no call that
    is made after this.

    \b
    Exit status:
      0    done
      1    there was no such result, or the store does not answer
      2    wrong usage
    """  # noqa: D301  # click needs a real backspace before lines that it must not wrap
    with ending():
        _require_one(words, key, every, tag)
        from .operate import dropping

        site = _site(ctx)
        if every is not None:
            answer = dropping.forget_all(site, every)
        elif tag is not None:
            answer = dropping.forget_tag(site, tag)
        else:
            answer = dropping.forget(site, _key(site, words, key))
        _report(answer, as_json=as_json)


@click.command()
@_call_words
@_key_option
@click.option("--owner", metavar="TASK_ID", help="The claims of this task id, or of what it begins with.")
@_as_json
@click.pass_context
def release(
    ctx: click.Context, words: tuple[str, ...], key: str | None, owner: str | None, as_json: bool
) -> None:
    """Free a claim by hand, so that the next identical call is published.

    Arguments are written as for `explain`. A run that goes on is not stopped, and another may start beside
    it.

    \b
    Exit status:
      0    done
      1    there was no such claim, or the store does not answer
      2    wrong usage
    """  # noqa: D301  # as in forget
    with ending():
        _require_one(words, key, owner)
        from .operate import dropping

        site = _site(ctx)
        if owner is not None:
            answer = dropping.release_owner(site, owner)
        else:
            answer = dropping.release(site, _key(site, words, key))
        _report(answer, as_json=as_json)


@click.command()
@click.argument("queues", metavar="[QUEUE...]", nargs=-1)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@_as_json
@click.pass_context
def purge(ctx: click.Context, queues: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Delete all messages of queues, by default of the app's own, and free what was queued.

    It does the same as `celery purge`, and then frees the queued claims of this app's tasks, so that the next
    calls are published instead of joining a message that is gone. Messages in workers' hands stay; a claim of
    one of these costs at most one more message, and never a second run.

    \b
    Exit status:
      0    done
      1    a queue does not exist, the broker or the store does not answer, or you said no
      2    wrong usage
    """  # noqa: D301  # as in forget
    with ending():
        from .operate import dropping

        site = _site(ctx)
        names = queues or tuple(site.app.amqp.queues)
        if not force:
            click.confirm(f"Delete all messages of {', '.join(names)}?", abort=True, err=True)
        _report(dropping.purge(site, names), as_json=as_json)


def _require_one(*given: Any) -> None:
    if sum(bool(each) for each in given) != 1:
        raise CommandError("Give either a task with its arguments, or one option. See --help.", EXIT_UNKNOWN)


def _key(site: Site, words: tuple[str, ...], key: str | None) -> str:
    return site.key(key) if key is not None else site.call(words).key


def _report(answer: Any, *, as_json: bool) -> None:
    if as_json:
        from .operate.listing import print_json

        print_json(answer.facts)
    elif answer.is_done:
        click.echo(answer.text)
    if not answer.is_done:
        raise CommandError(answer.text)


def _site(ctx: click.Context) -> Site:
    from .operate.site import Site

    return Site(ctx.obj.app)
