"""What events cost without receivers: all that a run emits, compared with the run."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from celery import Celery

from jobtastic_signals import Jobtastic, events

from .rounds import medians
from .runs import run_of

CALLS = 40


def nothing(*arguments: Any, **info: Any) -> None:
    pass


def runs() -> dict[str, Callable[[], Any]]:
    app = Celery("events", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend="cache+memory://", jobtastic_store="memory://")
    Jobtastic(app)

    @app.task(name="events.double", shared=False, herd_avoidance_timeout=60, cache_duration=60)
    def double(n: int) -> int:
        return 2 * n

    # It emits run_claimed and result_stored.
    run = run_of(double, zip(itertools.count()))

    def without() -> Any:
        with patch.object(events, "emit", nothing):
            return run()

    def patching() -> Any:
        with patch.object(events, "emit", events.emit):
            return run()

    run()
    return {
        "a run that stores its result": run,
        "the same, with the price of patching": patching,
        "the same, without events": without,
        "emit, nobody listens": lambda: events.emit(events.cache_hit, None, key="key", task_id="id"),
        "calling a function that does nothing": lambda: nothing(
            events.cache_hit, None, key="key", task_id="id"
        ),
    }


def main() -> None:
    print(f"Python {sys.version.split()[0]}, microseconds, medians")
    for name, microseconds in medians(runs(), calls=CALLS).items():
        print(f"  {name:40} {microseconds:7.2f}")


if __name__ == "__main__":
    main()
