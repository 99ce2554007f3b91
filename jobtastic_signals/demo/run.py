"""Running the demo, and cleaning up afterwards."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Sequence
from types import ModuleType

from .interrupts import ending_on_signals
from .outcomes import Outcome, Scene, TookTooLongError, duration
from .show import Show
from .stage import Stage, open_stage
from .worker import Worker, WorkerError, running_worker

__all__ = ["perform"]

TITLE = "jobtastic-signals on a real Celery worker"

PROLOGUE = (
    'Celery does slow work for a program. The program calls a task, such as report.delay("May"), a worker '
    "process runs it, and the caller reads the result later. Celery runs every call, even the second click "
    "on a button, and even a call whose result is a minute old.",
    "jobtastic-signals is a plugin that lets identical calls share one run. It also answers calls that "
    "cannot be sent to a worker, and reports which tasks leak memory. This is the program of the demo:",
)

OPTIONS = (
    "With herd_avoidance_timeout, identical calls join the run while a report is being made, for up to 300 "
    "seconds. With cache_duration, identical calls get the finished report for an hour."
)

WITHOUT_PLUGIN = (
    "This time the plugin is not enabled (--without-plugin), so this is what Celery does by itself. Expect "
    "crosses."
)

WITH_PLUGIN = (
    "This was Celery without the plugin; run the demo without --without-plugin to see the difference."
)

YOUR_TURN = "In your own project: pip install jobtastic-signals, add that one line, and set options on tasks."


def perform(*, plugin: bool) -> int:
    """Show all scenes. Return the exit status."""
    start = time.monotonic()
    show = Show()
    try:
        with ending_on_signals(), open_stage(plugin=plugin) as stage:
            failed = _play(show, stage, plugin)
    except KeyboardInterrupt:
        show.say("Interrupted. The worker has been stopped, and its folder removed.")
        return 130
    took = duration(time.monotonic() - start)
    show.say(f"The worker has been stopped, and its folder removed. The demo took {took}.")
    if failed:
        show.say(f"Not as promised: {', '.join(failed)}.", style="bold red")
        if not plugin:
            show.say(WITH_PLUGIN)
        return 1
    show.say("Everything happened as promised.", style="bold green")
    show.say(YOUR_TURN)
    return 0


def _play(show: Show, stage: Stage, plugin: bool) -> Sequence[str]:
    """Start a worker and show all scenes. Return the titles of those that did not go as promised."""
    # Not earlier, since the tasks read the environment that open_stage() sets.
    from . import tasks
    from .scenes import SCENES, rehearse

    _introduce(show, tasks, plugin)
    played: dict[Scene, Outcome] = {}
    with running_worker(stage) as worker:
        try:
            _warm_up(show, worker, stage, rehearse)
            for position, scene in enumerate(SCENES, 1):
                show.scene(position, scene)
                with show.waiting("measuring"):
                    played[scene] = scene.play(stage)
                show.checks(played[scene].checks)
        except (TookTooLongError, WorkerError) as error:
            show.trouble(str(error), worker.last_words())
        show.summary(played)
        with show.waiting("stopping the worker"):
            worker.stop()
    return [scene.title for scene in SCENES if scene not in played or not played[scene].as_promised]


def _introduce(show: Show, program: ModuleType, plugin: bool) -> None:
    show.headline(TITLE)
    for paragraph in PROLOGUE:
        show.say(paragraph)
    show.code(_body_of(program))
    show.say(OPTIONS)
    if not plugin:
        show.say(WITHOUT_PLUGIN, style="bold")


def _body_of(program: ModuleType) -> str:
    """Return the source of *program* without its docstring and imports, from its first assignment on."""
    source = inspect.getsource(program)
    first = next(node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return "\n".join(source.splitlines()[first.lineno - 1 :])


def _warm_up(show: Show, worker: Worker, stage: Stage, rehearse: Callable[[], float]) -> None:
    start = time.monotonic()
    with show.waiting("starting a worker"):
        worker.wait_until_ready()
        ready = time.monotonic() - start
        took = rehearse()
    show.say(
        f"A worker with two processes was ready after {duration(ready)}. No server is needed: messages, "
        f"results and the plugin's store are files in {stage.folder}. A first report, to warm up, took "
        f"{duration(took)}."
    )
