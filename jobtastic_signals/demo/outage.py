"""The program that the demo is about, while its broker is down."""

from __future__ import annotations

import inspect
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from jobtastic_signals import Jobtastic, forget

from .outcomes import distinct
from .stage import settings, wants_plugin
from .tasks import report

__all__ = ["MONTH", "Attempt", "attempt", "report_without_broker"]

#: The report that is asked for meanwhile.
MONTH = "August"


@dataclass(frozen=True)
class Attempt:
    """What a call came to: a result, or none if it raised; in words; and the seconds until then."""

    result: AsyncResult[Any] | None
    words: str
    seconds: float

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.failed()


def attempt(call: Callable[[Task, str], AsyncResult[Any]], task: Task) -> Attempt:
    """Make a call of *task* that may not reach the broker."""
    start = time.monotonic()
    try:
        result = call(task, MONTH)
    except OperationalError as error:
        return Attempt(None, f"raised {type(error).__name__}", time.monotonic() - start)
    seconds = time.monotonic() - start
    words = "gave a failed result" if result.failed() else f"gave {distinct([result.result])}"
    return Attempt(result, words, seconds)


@contextmanager
def report_without_broker() -> Iterator[Task]:
    """The task ``report``, for which no broker is to be reached."""
    with socket.socket() as taken:
        # Bound, so that nobody else gets the port meanwhile. It does not listen, so it refuses.
        taken.bind(("127.0.0.1", 0))
        task = _report_by(f"amqp://127.0.0.1:{taken.getsockname()[1]}//")
        if wants_plugin():
            # The warning that the broker is down is for a log, which the show has not.
            logging.getLogger("jobtastic_signals").addHandler(logging.NullHandler())
            # A program that has run for a while has its store open.
            forget(task, MONTH)
        yield task


def _report_by(broker_url: str) -> Task:
    app = Celery("demo", set_as_current=False)
    app.conf.update({**settings(), "broker_url": broker_url, "broker_transport": None})
    if wants_plugin():
        Jobtastic(app)
    options = {name: getattr(report, name) for name in ("name", "herd_avoidance_timeout", "cache_duration")}
    # Not shared with the app of the worker, which has such a task already.
    return app.task(inspect.unwrap(report.run), shared=False, lazy=False, **options)
