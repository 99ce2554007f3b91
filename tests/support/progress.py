"""Tasks that report their progress, and the records that they write."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task

from jobtastic_signals.progress.lazy import LazyProgress
from jobtastic_signals.progress.report import Past
from jobtastic_signals.progress.reporter import Progress
from jobtastic_signals.progress.writer import Record
from tests.support.unit_apps import work_off

NEVER = {"cache_duration": -1}

#: What a record says of a run that has reported nothing.
NOTHING = {"progress_percent": 0, "time_remaining": -1, "completed": 0, "total": None, "message": None}


def add(app: Celery, body: Any, **options: Any) -> Task:
    """Add a task of *body*, whose first argument is the task."""
    body.__name__ = "body"  # Celery makes a function of the same name, and a lambda's is none.
    return app.task(body, bind=True, shared=False, **{"name": "proj.task", **NEVER, **options})


def run(app: Celery, body: Any, **options: Any) -> Any:
    """Run *body* as a task, like a worker would, and return the result."""
    result = add(app, body, **options).delay()
    work_off(app)
    return result


def seen_inside(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["progress_percent"], each["completed"], each["total"], each["message"]) for each in records]


class Clock:
    """A clock that goes on only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reported:
    """A progress with a clock, and what it wrote."""

    def __init__(
        self,
        interval: float = 0.1,
        past: Past | None = None,
        *,
        clock: Any = None,
        # The timers live by another clock.
        call_at: Any = lambda when, function: None,
    ) -> None:
        self.clock = clock or Clock()
        self.records: list[dict[str, Any]] = []
        self.started = 0
        self.progress = Progress(
            "task",
            self,
            interval=interval,
            past=lambda: past or Past(),
            flushes=False,
            clock=self.clock,
            call_at=call_at,
            hand_over=None,
        )
        self.run = LazyProgress(lambda began, context: self.progress, clock=self.clock, call_at=call_at)
        assert self.run.open() is self.progress

    def write(self, record: Record, is_estimate: bool) -> bool:
        self.records.append(dict(record))
        return True

    def show_start(self, record: Record | None) -> bool:
        self.started += 1
        return record is None or self.write(record, True)

    def stop(self) -> None:
        pass

    def after(self, seconds: float, *update: Any) -> Any:
        """Update so many seconds later, and return the latest record."""
        self.clock.now += seconds
        self.progress.update(*update)
        return self.records[-1] if self.records else None


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")
