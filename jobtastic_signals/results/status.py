"""The status of a task id as plain JSON, for people who wait for the task.

The format is that of the views of django-celery and django-celery-results, which scripts for jQuery read.
Everything is nested under ``task``, an unknown id is pending, and every end is ``SUCCESS`` or ``FAILURE``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from celery import Celery, states
from celery.exceptions import ImproperlyConfigured, SecurityError
from kombu.exceptions import SerializationError, SerializerNotInstalled

from ..errors import JobtasticError, UnreadableStateError
from ..installation import Installation, installation_on
from ..progress import groups
from ..support.shown import shown_error
from . import backend as backends
from . import index as outcomes
from .presentation import message_of, plain, present_error, traceback_of

__all__ = ["is_final", "task_status"]

#: The final states: Celery's own, and those that Celery leaves to its users.
_ENDS = states.READY_STATES | {states.REJECTED, states.IGNORED}

#: What decoding raises. What is stored stays the same, so to ask again would not help.
_UNREADABLE = (
    SerializationError,
    SerializerNotInstalled,
    SecurityError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def task_status(app: Celery[Any], task_id: str, *, traceback: bool = False) -> dict[str, Any]:
    """Return the status of *task_id*, as the endpoints send it.

    It has the form ``{"task": {"id": ..., "status": ..., "result": ...}}``. ``result`` is the value of a
    success, the progress of a run, or the ``repr`` of an exception, whose class is in ``exc``. Any end but
    success has the status ``FAILURE``, and its real name in ``state``. Everything is JSON, whatever the
    objects are: see :func:`.presentation.plain`. These are added where they are known:

    * ``message``: why the task failed, for people, if it raised a
      :exc:`~jobtastic_signals.UserFacingError`;
    * ``age``: the seconds since the task ended;
    * ``notice``: why nothing more is to be expected for now. ``"host_lost"``: the host of the run died or
      cannot reach the store. ``"ignored"``: the task ignores its result.

    If the result backend has lost the result or does not answer, the status comes from the store, as long as
    the store has that result. A lost result is then written back to the result backend. Otherwise the store
    is read once.

    :param task_id: that of a task, or what :func:`~jobtastic_signals.status_id` returned for a group.
    :param traceback: whether to include the traceback of a failure, which may reveal details to users.
    :raises JobtasticError: if *app* has no result backend.
    :raises Exception: what the result backend raises if it does not answer.

    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> task_status(app, "unknown")
    {'task': {'id': 'unknown', 'status': 'PENDING', 'result': None}}
    """
    meta = _meta_of(app, task_id)
    if meta["status"] == groups.GROUP:
        meta = groups.group_meta(app, meta["result"])
    return {"task": _present(task_id, meta, traceback=traceback)}


def is_final(status: Mapping[str, Any]) -> bool:
    """Return whether *status*, from :func:`task_status`, is final."""
    return status["task"]["status"] in (states.SUCCESS, states.FAILURE)


def _meta_of(app: Celery[Any], task_id: str) -> backends.Meta:
    installation = installation_on(app)
    if installation is None:
        return _read(app, task_id)
    if backends.breaker_of(app).is_open:
        # Reading the backend may take for ever.
        known = outcomes.find(installation.store, app, task_id)
        if known is not None:
            return known
    try:
        meta = _read(app, task_id)
    except Exception as error:
        if _is_of_configuration(error):
            raise
        known = outcomes.find(installation.store, app, task_id)
        if known is None:
            raise
        return known
    if meta["status"] in (states.SUCCESS, states.FAILURE):
        return {**meta, "age": outcomes.age_of_result(installation.store, task_id)}
    is_known = meta["status"] in _ENDS or meta["status"] == groups.GROUP
    return meta if is_known else _unfinished(installation, task_id, meta)


def _read(app: Celery[Any], task_id: str) -> backends.Meta:
    try:
        return backends.read_meta(app.backend, task_id)
    except _UNREADABLE as error:
        if isinstance(error, (JobtasticError, OSError)):
            raise
        raise UnreadableStateError(
            f"what the result backend has of {task_id!r} cannot be decoded here ({shown_error(error)}); "
            "accept the result_serializer of its worker in result_accept_content, and import what it pickles"
        ) from error


def _is_of_configuration(error: Exception) -> bool:
    """Return whether *error* says that there is no result backend, or no driver for it."""
    is_of_ours = isinstance(error, JobtasticError) and not isinstance(error, UnreadableStateError)
    return is_of_ours or isinstance(error, ImproperlyConfigured)


def _unfinished(installation: Installation, task_id: str, meta: backends.Meta) -> backends.Meta:
    """Return what the store knows of a task that has not ended, as far as the result backend knows."""
    app = installation.app
    known, notice = outcomes.look_up(installation.store, app, task_id)
    if known is not None and meta["status"] == states.PENDING:
        return backends.write_back(app.backend, known)
    if notice == outcomes.HOST_LOST:
        # It may have ended since the result backend was read.
        meta = _read(app, task_id)
    return meta if meta["status"] in _ENDS else {**meta, "notice": notice}


def _present(task_id: str, meta: backends.Meta, *, traceback: bool) -> dict[str, Any]:
    state, result = meta["status"], meta["result"]
    task: dict[str, Any] = {"id": task_id, "status": state, "result": None}
    is_end, is_error = state in _ENDS, issubclass(type(result), BaseException)
    if is_end and state != states.SUCCESS:
        task.update(status=states.FAILURE, state=state)
    if not is_error:
        task["result"] = plain(result)
    else:
        task.update(present_error(result))
        if traceback:
            task["traceback"] = plain(meta.get("traceback")) or traceback_of(result)
    optional = {
        "message": message_of(result) if is_end and is_error else None,
        "age": _age_of(meta) if is_end else None,
        "notice": meta.get("notice"),
    }
    return {**task, **{name: value for name, value in optional.items() if value is not None}}


def _age_of(meta: backends.Meta) -> float | None:
    age, ended = meta.get("age"), backends.ended_at(meta)
    if age is None and ended is not None:
        age = time.time() - ended
    # Clocks of hosts can differ.
    return None if age is None else round(max(age, 0.0), 1)
