"""The command line of the demo."""

from __future__ import annotations

import os
import sys

import click

#: The packages that the extra "demo" installs, and those that they need.
_EXTRA = ("rich", "flask", "werkzeug", "itsdangerous")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--without-plugin",
    is_flag=True,
    help="Do not enable jobtastic-signals, to see what Celery does by itself. Ends with status 1.",
)
@click.option(
    "--web",
    is_flag=True,
    help="Serve a page to try it in a browser: a slow report, its progress, and two tabs that share one run. "
    "Ctrl-C ends it with status 0.",
)
def main(without_plugin: bool, web: bool) -> None:
    """Show jobtastic-signals at work on a real Celery worker, in about fifteen seconds.

    There are six scenes: a double click, a question that was asked before, equal jobs in one batch, a worker
    process that is killed, a broker that is down, and a task that leaks memory. Each scene reports what it
    measured, and whether that is as promised.

    The demo needs no server. Everything is in a temporary folder, which is removed at the end.

    The exit status is 0 if everything was as promised, 1 if something was not, and 2 if the demo cannot run.
    """
    if os.name == "nt":
        _refuse("The demo kills a process with SIGKILL, so it needs Linux or macOS.")
    try:
        if web:
            from .page_run import serve as show
        else:
            from .run import perform as show
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        _refuse(f"The demo needs the package {missing}: pip install 'jobtastic-signals[demo]'")
    sys.exit(show(plugin=not without_plugin))


def _refuse(reason: str) -> None:
    click.echo(reason, err=True)
    sys.exit(2)


if __name__ == "__main__":
    main(prog_name="python -m jobtastic_signals.demo")
