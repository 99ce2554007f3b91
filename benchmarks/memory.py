"""What the memory watch costs a run, with and without the option, compared with psutil."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil
from celery import Celery

from jobtastic_signals import Jobtastic
from jobtastic_signals.calls import Run
from jobtastic_signals.installation import installation_on
from jobtastic_signals.memory.middleware import MemoryWatch
from jobtastic_signals.memory.process import resident

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
    [watch] = [each for each in installation.stack if isinstance(each, MemoryWatch)]
    run = Run(task, installation.policy_of(type(task)), "some-id", (), {}, task.request)

    def call() -> None:
        watch.before_body(run)
        watch.after_run(run, "SUCCESS", None)

    return call


def main() -> None:
    kept = psutil.Process()
    what = {
        "watched run": hooks_of(memleak_threshold=50),
        "run without the option": hooks_of(cache_duration=-1),
        "resident()": resident,
        "psutil, kept": kept.memory_info,
        "psutil, new": by_psutil,
    }
    print(f"Python {sys.version.split()[0]}, microseconds, medians")
    for name, microseconds in medians(what, calls=CALLS).items():
        print(f"  {name:24} {microseconds:7.3f}")


if __name__ == "__main__":
    main()
