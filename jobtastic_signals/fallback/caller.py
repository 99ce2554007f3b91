"""Doing in another thread what a caller would do itself."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery

from .. import celery_internals

__all__ = ["as_caller"]

T = TypeVar("T")


def as_caller(app: Celery[Any], function: Callable[[], T]) -> Callable[[], T]:
    """Return *function* for another thread: it belongs to this context, and to the run in this thread."""
    context = contextvars.copy_context()
    parent = app.current_worker_task
    request = None if parent is None else parent.request
    oid = celery_internals.thread_oid(app)

    def call() -> T:
        # With rpc:// the calling thread is the one that reads.
        celery_internals.use_thread_oid(app, oid)
        with celery_internals.running_as(parent, request):
            return context.run(function)

    return call
