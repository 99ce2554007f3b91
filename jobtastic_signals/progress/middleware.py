"""Progress as a middleware: records while a run goes on, and the history of how long runs take."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from celery import Task, states
from celery.exceptions import WorkerLostError

from ..calls import Run
from ..installation import Installation
from ..middleware import Middleware
from ..results import backend as backends
from ..support.time_limits import logged
from ..support.timers import call_at
from . import records
from .api import writer_for
from .history import History
from .reporter import Progress

__all__ = ["ProgressReports"]

logger = logging.getLogger(__name__)

#: Seconds that a run has to take to be worth remembering.
WORTH_REMEMBERING = 1.0

#: Seconds after a run was lost at which we look whether its end is still there. Celery kills the process of
#: the run within a tenth of a second, and a database can be busy with its last write for a little longer.
LOOKS = (0.3, 1.0, 5.0)

UNSUCCESSFUL_ENDS = states.READY_STATES & states.EXCEPTION_STATES

LOST = "the run was ended from outside: killed, revoked, or by a hard time limit"


class ProgressReports(Middleware):
    """Writes the first record of each run and what it reports, and remembers how long runs take."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._history = History(installation)

    def before_body(self, run: Run) -> None:
        """Write the first record. An eager run that nobody can look up is part of the run around it."""
        assert run.request is not None
        write = writer_for(run.task, run.request, run.key)
        if write is None and run.is_eager:
            return
        progress = Progress(
            f"{run.task.name}[{run.id}]",
            write,
            interval=self._installation.settings.progress_interval,
            past=lambda: self._history.of(run.task.name),
        )
        run.keep(progress)
        progress.enter()
        progress.begin()

    def after_body(self, run: Run) -> None:
        """Write nothing more: the result is about to be written."""
        progress = run.part(Progress)
        if progress is not None:
            progress.close()

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Remember how long the run took, if it succeeded."""
        progress = run.drop(Progress)
        if state == states.SUCCESS and progress is not None and progress.took >= WORTH_REMEMBERING:
            self._history.add(run.task.name, run.id, progress.took, progress.weights)

    def run_lost(self, run: Run) -> None:
        """Look later whether the process of the run has written a record over the end that Celery stored."""
        if records.has_atomic_records(run.task.backend) or _may_run_again(run.task):
            return
        end = _end_of(run)
        if end is not None:
            now = time.monotonic()
            for seconds in LOOKS:
                call_at(now + seconds, partial(_restore, run, end))


def _end_of(run: Run) -> backends.Meta | None:
    """Return the end that Celery has just stored for a lost run; ``None`` if there is none to restore."""
    meta = backends.meta_of(run.task, run.id)
    if meta is not None and records.is_record(meta):
        # A record has replaced the end already, so nobody knows any more which end it was.
        return {"task_id": run.id, "status": states.FAILURE, "result": WorkerLostError(LOST)}
    return meta if meta is not None and meta["status"] in UNSUCCESSFUL_ENDS else None


def _may_run_again(task: Task) -> bool:
    """Return whether the broker may deliver the message of a lost run again: a record may be of that run."""
    acknowledges = (task.acks_on_failure_or_timeout, getattr(task, "acks_on_timeout", True))
    return bool(task.acks_late) and (bool(task.reject_on_worker_lost) or False in acknowledges)


def _restore(run: Run, end: backends.Meta) -> None:
    with logged(logger, "%s[%s]: cannot see whether its end is still stored", run.task.name, run.id):
        if records.restore_end(run.task.backend, end):
            logger.info(
                "%s[%s]: a record was written over its end, which is stored again", run.task.name, run.id
            )
