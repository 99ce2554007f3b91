"""What counting costs, compared with the first call and the run that are counted.

The broker, the result backend and the store are in memory, so that nothing else takes long.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

from celery import Celery

from jobtastic_signals import Call, Jobtastic, Middleware, Run
from jobtastic_signals.installation import installation_on
from jobtastic_signals.sharing.counting import Counting

from .rounds import medians
from .runs import run_of

CALLS = 20


class Latest(Middleware):
    """Keeps the latest call and the latest run."""

    call: Call
    run: Run

    def before_publish(self, call: Call) -> None:
        self.call = call

    def before_run(self, run: Run) -> None:
        self.run = run


def candidates() -> dict[str, Callable[[], Any]]:
    app = Celery("counting", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
    latest = Latest()
    Jobtastic(app, middleware=[latest])
    installation = installation_on(app)
    assert installation is not None
    counting = Counting(installation)

    @app.task(name="counting.double", shared=False, herd_avoidance_timeout=60, cache_duration=60)
    def double(n: int) -> int:
        return 2 * n

    fresh = itertools.count()
    run = run_of(double, zip(fresh))

    def count_run() -> None:
        counting.before_run(latest.run)
        counting.before_body(latest.run)
        counting.after_body(latest.run)

    double.delay(next(fresh))
    run()
    return {
        "a first call": lambda: double.delay(next(fresh)),
        "counting it": lambda: counting.before_publish(latest.call),
        "a run that stores its result": run,
        "counting that": count_run,
    }


def main() -> None:
    print(f"Python {sys.version.split()[0]}, microseconds, medians")
    for name, microseconds in medians(candidates(), calls=CALLS).items():
        print(f"  {name:30} {microseconds:7.2f}")


if __name__ == "__main__":
    main()
