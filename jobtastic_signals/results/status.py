"""The status of a task id as plain JSON, for people who wait for the task.

The format is that of the views of django-celery and django-celery-results, which scripts for jQuery read.
Everything is nested under ``task``, an unknown id is pending, and every end is ``SUCCESS`` or ``FAILURE``.
"""

from __future__ import annotations

import datetime
import math
import traceback as tracebacks
from collections.abc import Mapping
from typing import Any

from celery import Celery, states
from celery.exceptions import ImproperlyConfigured
from celery.utils.saferepr import saferepr

from ..errors import JobtasticError
from ..installation import installation_on
from . import backend as backends
from . import index as outcomes

__all__ = ["is_final", "task_status"]

#: The levels to which a result may be nested.
DEEPEST = 50

#: The final states: Celery's own, and those that Celery leaves to its users.
_ENDS = states.READY_STATES | {states.REJECTED, states.IGNORED}


def task_status(app: Celery, task_id: str, *, traceback: bool = False) -> dict[str, Any]:
    """Return the status of *task_id*, as the endpoints send it.

    It has the form ``{"task": {"id": ..., "status": ..., "result": ...}}``. ``result`` is the value of a
    success, the progress of a run, or the ``repr`` of an exception, whose class is in ``exc``. Any end but
    success has the status ``FAILURE``, and its real name in ``state``. Everything is JSON: a number that is
    not finite becomes ``None``, and a value that JSON does not know becomes text.

    If the result backend has lost the result or does not answer, the status comes from the store, as long as
    the store has that result. A lost result is then written back to the result backend.

    :param traceback: whether to include the traceback of a failure, which may reveal details to users.
    :raises JobtasticError: if *app* has no result backend.
    :raises Exception: what the result backend raises if it does not answer.

    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> task_status(app, "unknown")
    {'task': {'id': 'unknown', 'status': 'PENDING', 'result': None}}
    """
    meta = _meta_of(app, task_id)
    state, result = meta["status"], meta["result"]
    task: dict[str, Any] = {"id": task_id, "status": state, "result": plain(result)}
    if state in _ENDS and state != states.SUCCESS:
        task.update(status=states.FAILURE, state=state)
    if isinstance(result, BaseException):
        task.update(exc=_dotted(type(result)), result=repr(result))
        if traceback:
            task["traceback"] = meta.get("traceback") or _traceback(result)
    return {"task": task}


def is_final(status: Mapping[str, Any]) -> bool:
    """Return whether *status*, from :func:`task_status`, is final."""
    return status["task"]["status"] in (states.SUCCESS, states.FAILURE)


def _meta_of(app: Celery, task_id: str) -> backends.Meta:
    installation = installation_on(app)
    if installation is None:
        return backends.read_meta(app.backend, task_id)
    if backends.breaker_of(app).is_open:
        # Reading the backend may take for ever.
        known = outcomes.find(installation.store, app, task_id)
        if known is not None:
            return known
    try:
        meta = backends.read_meta(app.backend, task_id)
    except (JobtasticError, ImproperlyConfigured):
        raise
    except Exception:
        known = outcomes.find(installation.store, app, task_id)
        if known is None:
            raise
        return known
    if meta["status"] != states.PENDING:
        return meta
    known = outcomes.find(installation.store, app, task_id)
    return meta if known is None else backends.write_back(app.backend, known)


def plain(value: Any, depth: int = 0) -> Any:
    """Return *value* in the types of JSON. What is nested too deeply becomes text."""
    if depth > DEEPEST:
        return saferepr(value)
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def _dotted(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _traceback(error: BaseException) -> str:
    return "".join(tracebacks.format_exception(error))
