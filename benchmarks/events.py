"""What events without receivers and counting cost, compared with the first call or the run that has them.

The broker, the result backend and the store are in memory, so that nothing else takes long.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery

from jobtastic_signals import Call, Jobtastic, Middleware, Run, events
from jobtastic_signals.installation import installation_on
from jobtastic_signals.sharing.counting import Counting

from .project import double
from .report import Findings, Line, Table
from .rounds import medians
from .runs import run_of

FIRST_CALL = "a first call, in memory"


class Latest(Middleware):
    """Keeps the latest call and the latest run."""

    call: Call
    run: Run

    def before_publish(self, call: Call) -> None:
        self.call = call

    def before_run(self, run: Run) -> None:
        self.run = run


def candidates() -> dict[str, Callable[[], Any]]:
    app = Celery("events", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
    latest = Latest()
    Jobtastic(app, middleware=[latest])
    app.task(name="double", shared=False, herd_avoidance_timeout=60, cache_duration=60)(double)
    task, installation = app.tasks["double"], installation_on(app)
    assert installation is not None
    counting, fresh = Counting(installation), itertools.count()
    run = run_of(task, zip(fresh))

    def count_run() -> None:
        counting.before_run(latest.run)
        counting.before_body(latest.run)
        counting.after_body(latest.run)

    task.delay(next(fresh))
    run()
    return {
        FIRST_CALL: lambda: task.delay(next(fresh)),
        "its event": lambda: events.emit(events.cache_missed, task, key="key", task_id="id"),
        "counting it": lambda: counting.before_publish(latest.call),
        "a run that stores its result, in memory": run,
        "counting that": count_run,
    }


def measure() -> Findings:
    times = medians(candidates(), calls=40)
    table = Table("events and counting", "µs", times, FIRST_CALL)
    return Findings(list(lines(times)), {"events": table})


def lines(times: dict[str, float]) -> Iterator[Line]:
    share = (times["its event"] + times["counting it"]) / times[FIRST_CALL]
    yield Line("events and counters", "", share * 100, 1, "% of a first call in memory")
