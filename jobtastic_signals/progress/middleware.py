"""Progress: what a run says while it goes on, seen by those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import states

from ..calls import Call, Run
from ..middleware import Middleware
from ..results import backend as backends
from .api import writer_for
from .history import History
from .reporter import Progress

if TYPE_CHECKING:
    from ..settings import Settings
    from ..stores.guard import GuardedStore

__all__ = ["ProgressReports"]

#: Seconds that a run has to take to be worth remembering.
WORTH_REMEMBERING = 1.0


class ProgressReports(Middleware):
    """The first record of each run, updates while it goes on, and how long runs take."""

    def __init__(self, get_settings: Callable[[], Settings], get_store: Callable[[], GuardedStore]) -> None:
        self._get_settings = get_settings
        self._history = History(get_store)

    def before_publish(self, call: Call) -> None:
        """A run that is sent again to wait shows the progress of the run that it waits for."""
        owner = call.stamp.get("waiting_for")
        if owner is not None and call.stamp.get("waits") and call.id is not None:
            meta = backends.meta_of(call.task, owner)
            if meta is not None and meta["status"] == backends.PROGRESS:
                backends.start_progress(call.task, call.task.request, meta["result"])

    def before_body(self, run: Run) -> None:
        """Write the first record. An eager run that nobody can look up is part of what is around it."""
        assert run.request is not None
        write = writer_for(run.task, run.request, run.key)
        if write is None and run.is_eager:
            return
        run.progress = Progress(
            f"{run.task.name}[{run.id}]",
            write,
            interval=self._get_settings().progress_interval,
            past=lambda: self._history.of(run.task.name),
        )
        run.progress.enter()
        run.progress.begin()

    def after_body(self, run: Run) -> None:
        """Write nothing more: the result is about to be written."""
        if run.progress is not None:
            run.progress.close()

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Remember how long it took."""
        progress = run.progress
        if state == states.SUCCESS and progress is not None and progress.took >= WORTH_REMEMBERING:
            self._history.add(run.task.name, run.id, progress.took, progress.weights)
