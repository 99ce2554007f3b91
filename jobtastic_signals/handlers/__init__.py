"""From Celery's signals to the hooks: functions that walk the middleware, and no more.

Celery sends its signals for all apps and tasks of a process. Whatever is not a task with our options, on an
app where the plugin is enabled, passes.

:mod:`.calls` is imported at once. :mod:`.runs` and :mod:`.workers` are imported when one of their signals is
first sent: most processes only call tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from celery import signals

from . import calls

__all__ = ["connect", "disconnect"]


def _of(module: str, name: str) -> Callable[..., None]:
    """Return a handler that is imported from *module* when it is first called."""
    handler: Callable[..., None] | None = None

    def handle(**info: Any) -> None:
        nonlocal handler
        if handler is None:
            handler = getattr(import_module(f".{module}", __name__), name)
        handler(**info)

    return handle


_HANDLERS: dict[Any, Callable[..., None]] = {
    signals.before_task_publish: calls.before_task_publish,
    signals.beat_init: calls.beat_init,
    signals.task_received: _of("runs", "task_received"),
    signals.task_prerun: _of("runs", "task_prerun"),
    signals.task_postrun: _of("runs", "task_postrun"),
    signals.task_failure: _of("runs", "task_failure"),
    signals.task_revoked: _of("runs", "task_revoked"),
    signals.task_unknown: _of("runs", "task_unknown"),
    signals.worker_init: _of("workers", "worker_init"),
    signals.worker_ready: _of("workers", "worker_ready"),
    signals.worker_process_shutdown: _of("workers", "worker_process_shutdown"),
}


def connect() -> None:
    """Connect all handlers; doing it twice is doing it once."""
    for signal, handler in _HANDLERS.items():
        signal.connect(handler, weak=False, dispatch_uid=__name__)


def disconnect() -> None:
    """Disconnect all handlers."""
    for signal, handler in _HANDLERS.items():
        signal.disconnect(handler, dispatch_uid=__name__)
