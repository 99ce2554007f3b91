"""Runs as a worker makes them and keys as a caller makes them, in this process and without a message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery.app.trace import build_tracer
from celery.utils import uuid

from jobtastic_signals.installation import required_sharing_of

__all__ = ["key_maker", "run_of"]


def run_of(task: Any, arguments: Iterable[tuple[Any, ...]]) -> Callable[[], Any]:
    """Return a function that runs *task* with the next *arguments*, under a new task id.

    It does what a worker's process does once it has the message: it sends the signals, runs the body, and
    stores the outcome in the result backend.
    """
    task = task.app.tasks[task.name]  # What ``@app.task`` returns is a proxy.
    trace = build_tracer(task.name, task, app=task.app)
    each = iter(arguments)

    def run() -> Any:
        task_id = uuid()
        return trace(task_id, next(each), {}, {"id": task_id})

    return run


def key_maker(task: Any) -> Callable[..., str]:
    """Return what makes the key of a call of *task* with keywords, as ``apply_async`` does."""
    task = task.app.tasks[task.name]
    _, policy = required_sharing_of(task)
    return lambda **kwargs: policy.keys.key(task, (), kwargs)
