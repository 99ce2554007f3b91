"""What the memory watch costs a run, with and without the option, compared with psutil."""

from __future__ import annotations

from collections.abc import Callable

import psutil
from celery import Celery

from jobtastic_signals import Jobtastic
from jobtastic_signals.calls import Run
from jobtastic_signals.installation import installation_on
from jobtastic_signals.memory.middleware import MemoryWatch
from jobtastic_signals.memory.process import resident

from .report import Findings, Table
from .rounds import medians

CALLS = 100


def by_psutil() -> int:
    return int(psutil.Process().memory_info().rss)


def hooks_of(**options: object) -> Callable[[], None]:
    """Return all that the middleware does in a run of a task with these options."""
    app = Celery("memory", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
    Jobtastic(app)

    def body() -> None:
        pass

    lazy = app.task(body, name="memory.body", shared=False, **options)
    task, installation = app.tasks[lazy.name], installation_on(app)
    assert installation is not None
    [watch] = [each for each in installation.stack if isinstance(each, MemoryWatch)]
    policy = installation.policy_of(type(task))
    assert policy is not None
    run = Run(task, policy, "some-id", (), {}, task.request)

    def call() -> None:
        watch.before_body(run)
        watch.after_run(run, "SUCCESS", None)

    return call


def measure() -> Findings:
    kept = psutil.Process()
    what: dict[str, Callable[[], object]] = {
        "watched run": hooks_of(memleak_threshold=50),
        "run without the option": hooks_of(cache_duration=-1),
        "resident()": resident,
        "psutil, kept": kept.memory_info,
        "psutil, new": by_psutil,
    }
    return Findings(tables={"memory watch": Table("the memory watch", "µs", medians(what, calls=CALLS))})
