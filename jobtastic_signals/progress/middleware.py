"""Progress as a middleware: records while a run goes on, and the history of how long runs take."""

from __future__ import annotations

import logging
import time
from contextvars import Context
from functools import partial
from typing import Any

from celery import Task, states
from celery.app.task import Context as Request
from celery.exceptions import WorkerLostError

from ..calls import Run
from ..installation import Installation
from ..middleware import Middleware
from ..results import backend as backends
from ..support.shown import shown
from ..support.time_limits import logged
from ..support.timers import call_at
from . import records
from .background import hand_over
from .current import writer_for
from .history import History
from .lazy import LazyProgress
from .reporter import Progress

__all__ = ["ProgressReports"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds that a run has to take to be worth remembering.
WORTH_REMEMBERING = 1.0

#: Seconds after a run was lost at which we look whether its end is still there. Celery kills the process of
#: the run within a tenth of a second, and a database can be busy with its last write for a little longer.
LOOKS = (0.3, 1.0, 5.0)

UNSUCCESSFUL_ENDS = states.READY_STATES & states.EXCEPTION_STATES

LOST = "the run was ended from outside: killed, revoked, or by a hard time limit"


class ProgressReports(Middleware):
    """Shows how far runs are, and remembers how long they take."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._history = History(installation)

    def before_body(self, run: Run) -> None:
        """Let the run report. An eager run that nobody can look up is part of the run around it."""
        assert run.request is not None
        if run.is_eager and not backends.shows_progress(run.task, run.request):
            return
        lazy = LazyProgress(partial(self._progress_of, run, run.request))
        run.keep(lazy)
        lazy.enter()
        if _is_followed(run):
            lazy.begin(self._installation.settings.progress_after)

    def after_body(self, run: Run) -> None:
        """Write nothing more: the result is about to be written."""
        lazy = run.part(LazyProgress)
        if lazy is not None:
            lazy.close()

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Remember how long the run took, if it succeeded."""
        lazy = run.drop(LazyProgress)
        if lazy is None:
            return
        if lazy.is_shared and not records.has_atomic_records(run.task.backend):
            # Another process of this run may still be writing a record.
            _watch_end(run, backends.meta_of(run.task, run.id))
        if state == states.SUCCESS and lazy.took >= WORTH_REMEMBERING and _is_followed(run):
            self._history.add(run.task.name, run.id, lazy.took, lazy.weights)

    def run_lost(self, run: Run) -> None:
        """Look later whether the process of the run has written a record over the end that Celery stored."""
        if records.has_atomic_records(run.task.backend) or _may_run_again(run.task):
            return
        _watch_end(run, _end_of(run))

    def _progress_of(self, run: Run, request: Request, began: float, context: Context | None) -> Progress:
        return Progress(
            f"{run.task.name}[{run.id}]",
            writer_for(run.task, request, run.key, began=began, may_find_leftovers=_may_have_run(run)),
            interval=self._installation.settings.progress_interval,
            past=lambda: self._history.of(run.task.name),
            began=began,
            context=context,
            waits_at_end=not records.has_atomic_records(run.task.backend),
        )


def _is_followed(run: Run) -> bool:
    """Return whether the run is shown before it reports: one of its options is not about memory.

    A run that is only observed shows nothing by itself.
    """
    return run.policy.shares or (
        not run.policy.observes
        and any(not name.startswith("memleak_") and hasattr(run.task, name) for name in run.policy.options)
    )


def _may_have_run(run: Run) -> bool:
    """Return whether the id of the run may show the record of another one; see :class:`.BackendWriter`."""
    delivery = getattr(run.request, "delivery_info", None) or {}
    return bool(run.stamp.get("waits") or delivery.get("redelivered"))


def _watch_end(run: Run, end: backends.Meta | None) -> None:
    """Look later whether *end*, which Celery has stored for the run, is still there."""
    if end is not None and end["status"] in states.READY_STATES:
        now = time.monotonic()
        for seconds in LOOKS:
            call_at(now + seconds, partial(hand_over, partial(_restore, run, end)))


def _end_of(run: Run) -> backends.Meta | None:
    """Return the end that Celery has just stored for a lost run; ``None`` if there is none to restore."""
    meta = backends.meta_of(run.task, run.id)
    if meta is not None and records.is_record(meta):
        # A record has replaced the end already, so nobody knows any more which end it was.
        return {"task_id": run.id, "status": states.FAILURE, "result": WorkerLostError(LOST)}
    return meta if meta is not None and meta["status"] in UNSUCCESSFUL_ENDS else None


def _may_run_again(task: Task[Any, Any]) -> bool:
    """Return whether the broker may deliver the message of a lost run again: a record may be of that run."""
    acknowledges = (task.acks_on_failure_or_timeout, getattr(task, "acks_on_timeout", True))
    return bool(task.acks_late) and (bool(task.reject_on_worker_lost) or False in acknowledges)


def _restore(run: Run, end: backends.Meta) -> None:
    with logged(logger, "%s[%s]: cannot see whether its end is still stored", run.task.name, shown(run.id)):
        if records.restore_end(run.task.backend, end):
            logger.info(
                "%s[%s]: a record was written over its end, which is stored again",
                run.task.name,
                shown(run.id),
            )
