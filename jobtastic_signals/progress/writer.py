"""What one run shows in the result backend: its records, and before the first one that it has started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from celery import Celery, Task, states
from celery.app.task import Context
from celery.backends.base import Backend

from .. import events
from ..errors import JobtasticError
from ..results.backend import PROGRESS, Meta
from . import records

__all__ = ["BackendWriter", "Record", "Writer"]

#: What a record may replace while a run goes on, beside another record.
_BEFORE_PROGRESS = frozenset({states.PENDING, states.RECEIVED, states.STARTED})

Record = Mapping[str, Any]

#: What another process has to know of a request.
_FIELDS = ("id", "task", "hostname", "retries", "delivery_info", "group", "parent_id", "root_id")


class Writer(Protocol):
    """Whatever shows others where a run is. Only one thread at a time calls it, but for :meth:`stop`."""

    def write(self, record: Record, is_estimate: bool) -> bool:
        """Write *record*. Return whether there may be more.

        :param is_estimate: whether the run did not report it itself. It replaces nothing that others stored.
        """

    def show_start(self, record: Record | None) -> bool:
        """Show that the run goes on, although it has reported nothing. Return whether there may be records.

        :param record: an estimate; ``None`` if nothing is known.
        """

    def stop(self) -> None:
        """Begin to write nothing from now on."""


class BackendWriter:
    """Writes to a result backend, whatever thread it is called in. It can be pickled for another process.

    :param task: the task; ``None`` in another process.
    :param began: when the run began, as Unix time.
    :param may_find_leftovers: whether the id may show a record that is not of this run: that of a delivery
        that was lost, or of a run that this one has waited for.
    """

    def __init__(
        self,
        app: Celery[Any],
        request: Context,
        *,
        began: float,
        task: Task[Any, Any] | None = None,
        key: str | None = None,
        may_find_leftovers: bool = False,
    ) -> None:
        self._app, self._request, self._began = app, request, began
        self._task, self._key = task, key
        self._may_find_leftovers = may_find_leftovers
        self._latest: Record | None = None
        self._is_stopped = self._has_ended = False

    def __reduce__(self) -> tuple[Any, ...]:
        if self._task is not None and self._task.backend is not self._app.backend:
            raise JobtasticError(
                f"the progress of {self._task.name!r} cannot be passed to another process, because the task "
                "has a result backend of its own; report from the process of the task"
            )
        names = _FIELDS + (("args", "kwargs") if self._app.conf.result_extended else ())
        fields = {name: getattr(self._request, name, None) for name in names}
        return _of_other_process, (self._app, fields, self._began)

    @property
    def began(self) -> float:
        """When the run began, as Unix time."""
        return self._began

    def write(self, record: Record, is_estimate: bool) -> bool:
        """Write *record*; see :meth:`Writer.write`."""
        return self._write(record, self._is_free_for_estimate if is_estimate else lambda known: True)

    def show_start(self, record: Record | None) -> bool:
        """Show an estimate, or Celery's state ``STARTED``; see :meth:`Writer.show_start`."""
        if record is not None:
            return self._write(record, self._is_free_at_start)
        if self._task is None or not self._task.track_started:
            records.replace_state(
                self._backend, self._request, states.STARTED, None, self._may_become_started
            )
        return not self._has_ended

    @property
    def _backend(self) -> Backend:
        """The result backend of the calling thread."""
        return (self._app if self._task is None else self._task).backend

    def stop(self) -> None:
        """Begin to write nothing from now on. What is being written on Redis does not replace the end."""
        self._is_stopped = True

    def _write(self, record: Record, is_free: Callable[[Meta], bool]) -> bool:
        if records.replace_state(
            self._backend,
            self._request,
            PROGRESS,
            record,
            lambda known: self._goes_on(known) and is_free(known),
        ):
            self._latest = record
            if self._task is not None:
                events.emit(
                    events.progress_updated, self._task, key=self._key, task_id=self._request.id, **record
                )
        return not self._has_ended

    def _goes_on(self, known: Meta) -> bool:
        """Return whether the run goes on, by what the backend knows of its id."""
        if known["status"] == states.RETRY:
            # That of an earlier attempt, or the end of this one.
            self._has_ended = self._latest is not None or not self._request.retries
        elif known["status"] in states.READY_STATES:
            self._has_ended = not records.is_of_earlier_run(known, self._began)
        return not (self._has_ended or self._is_stopped)

    def _is_free_for_estimate(self, known: Meta) -> bool:
        """Return whether the state was not stored by the task itself or by another process of this run."""
        if known["status"] == PROGRESS:
            return self._latest is not None and known["result"] == self._latest
        return known["status"] in _BEFORE_PROGRESS or _is_past(known)

    def _is_free_at_start(self, known: Meta) -> bool:
        is_leftover = self._may_find_leftovers and records.is_record(known)
        return is_leftover or known["status"] in _BEFORE_PROGRESS or _is_past(known)

    def _may_become_started(self, known: Meta) -> bool:
        is_shown = known["status"] == states.STARTED
        return self._goes_on(known) and not is_shown and self._is_free_at_start(known)


def _is_past(known: Meta) -> bool:
    """Return whether a state that does not end this run is that of an earlier one."""
    return known["status"] == states.RETRY or known["status"] in states.READY_STATES


def _of_other_process(app: Celery[Any], fields: Mapping[str, Any], began: float) -> BackendWriter:
    return BackendWriter(app, Context(**fields), began=began)
