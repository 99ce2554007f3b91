"""The progress of the run that goes on where this is asked, if there is one."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task

from .. import celery_internals
from ..calls import run_of
from ..installation import installation_on, installed
from ..results import backend as backends
from ..settings import PROGRESS_INTERVAL
from . import background, records
from .lazy import LazyProgress, reporting
from .reporter import Progress
from .writer import BackendWriter

if TYPE_CHECKING:
    from contextvars import Context as Variables

    from celery.app.task import Context

__all__ = ["begin_report", "end_report", "progress_here", "writer_for"]

logger: logging.Logger = logging.getLogger(__name__)

# On the request of a task without options of ours, which has no run: its progress, and the mark that stands
# there once it has ended.
_PROGRESS, _ENDED = "_jobtastic_progress", "ended"

#: The requests of a worker's runs that go on in this process.
_going_on: set[int] = set()


def progress_here() -> Progress | None:
    """Return the progress of the run that goes on in this context; ``None`` outside of a run."""
    lazy = reporting.get() or _progress_without_run()
    return None if lazy is None else lazy.open()


def writer_for(
    task: Task[Any, Any], request: Context, key: str | None, *, began: float, may_find_leftovers: bool
) -> BackendWriter | None:
    """Return what writes the records of the run under *request*; ``None`` if nobody can read them.

    :param began: when the run began, by ``time.monotonic()``.
    """
    if not backends.shows_progress(task, request):
        return None
    return BackendWriter(
        task.app,
        request,
        began=time.time() - (time.monotonic() - began),
        task=task,
        key=key,
        may_find_leftovers=may_find_leftovers,
    )


def begin_report(request: Context) -> None:
    """Note that a run begins in this process."""
    if not request.is_eager:
        _going_on.add(id(request))


def end_report(request: Context) -> None:
    """End the report of the run under *request*; what it still reports is dropped."""
    _going_on.discard(id(request))
    lazy: LazyProgress | str | None = getattr(request, _PROGRESS, None)
    if isinstance(lazy, LazyProgress):
        lazy.close()
    setattr(request, _PROGRESS, _ENDED)


def _progress_without_run() -> LazyProgress | None:
    """Return the progress of the innermost running task that can report, if it has no options of ours."""
    running = celery_internals.running_tasks()
    if not running and _going_on:
        _warn_of_lost_report()
    for task in reversed(running):
        request = task.request
        if request.called_directly or (request.is_eager and not task.store_eager_result):
            continue
        if run_of(request) is not None:
            # Its own report has not begun yet, or has ended.
            return None
        lazy: LazyProgress | str | None = getattr(request, _PROGRESS, None)
        if isinstance(lazy, str):
            return None
        return lazy or _begin_progress(task, request)
    return None


def _begin_progress(task: Task[Any, Any], request: Context) -> LazyProgress:
    lazy = LazyProgress(partial(_progress_of, task, request))
    setattr(request, _PROGRESS, lazy)
    if installed:
        # Our handlers see the end of the run, so the progress need not be looked up for each update.
        lazy.enter()
    return lazy


def _progress_of(task: Task[Any, Any], request: Context, began: float, context: Variables | None) -> Progress:
    installation = installation_on(task.app)
    # Nobody sees the end of such a run before it is stored. Elsewhere than on Redis a record that another
    # thread writes could come after that.
    is_safe = records.has_atomic_records(task.backend)
    return Progress(
        f"{task.name}[{request.id}]",
        writer_for(task, request, None, began=began, may_find_leftovers=True),
        interval=PROGRESS_INTERVAL if installation is None else installation.settings.progress_interval,
        began=began,
        context=context,
        flushes=is_safe,
        waits_at_end=False,
        hand_over=background.hand_over if is_safe else None,
    )


_warned_in: set[int] = set()


def _warn_of_lost_report() -> None:
    """Log once in each process that a thread reports for nobody, probably for the run that started it."""
    pid = os.getpid()
    if pid not in _warned_in:
        _warned_in.add(pid)
        logger.warning(
            "thread %r reports progress, but belongs to no run, so nobody sees it; start it with "
            "contextvars.copy_context().run or asyncio.to_thread, or pass it the handle that "
            "current_progress() returns in the task",
            threading.current_thread().name,
        )
