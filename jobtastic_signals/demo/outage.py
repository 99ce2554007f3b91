"""The demo's program while its broker is down."""

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

#: The report that is asked for while the broker is down.
MONTH = "August"


@dataclass(frozen=True)
class Attempt:
    """The outcome of a call: its result (``None`` if it raised), a description, and the seconds it took."""

    result: AsyncResult[Any] | None
    words: str
    seconds: float

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.failed()


def attempt(call: Callable[[Task[Any, Any], str], AsyncResult[Any]], task: Task[Any, Any]) -> Attempt:
    """Call *task*, although the broker may not be reachable."""
    start = time.monotonic()
    try:
        result = call(task, MONTH)
    except OperationalError as error:
        return Attempt(None, f"raised {type(error).__name__}", time.monotonic() - start)
    seconds = time.monotonic() - start
    words = "gave a failed result" if result.failed() else f"gave {distinct([result.result])}"
    return Attempt(result, words, seconds)


@contextmanager
def report_without_broker() -> Iterator[Task[Any, Any]]:
    """Give the task ``report`` without a reachable broker."""
    with socket.socket() as taken:
        # It is bound so that nobody else gets the port. It does not listen, so it refuses connections.
        taken.bind(("127.0.0.1", 0))
        task = _report_by(f"amqp://127.0.0.1:{taken.getsockname()[1]}//")
        if wants_plugin():
            # The warning that the broker is down is for a log, and the demo has none.
            logging.getLogger("jobtastic_signals").addHandler(logging.NullHandler())
            # A program that has run for a while has opened its store.
            forget(task, MONTH)
        yield task


def _report_by(broker_url: str) -> Task[Any, Any]:
    app = Celery("demo", set_as_current=False)
    app.conf.update({**settings(), "broker_url": broker_url, "broker_transport": None})
    if wants_plugin():
        Jobtastic(app)
    options = {name: getattr(report, name) for name in ("name", "herd_avoidance_timeout", "cache_duration")}
    # Not shared with the app of the worker, which already has a task of this name.
    return app.task(inspect.unwrap(report.run), shared=False, lazy=False, **options)
