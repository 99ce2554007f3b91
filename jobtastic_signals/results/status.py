"""What a task's waiting people are told: the status of a task id, as plain JSON.

The form is that of django-celery's and django-celery-results' views, which scripts for jQuery read: all is
nested under ``task``, an unknown id is pending, and every end is either ``SUCCESS`` or ``FAILURE``.
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
from ..registry import installation_on
from . import backend as backends
from . import index as outcomes

__all__ = ["is_final", "task_status"]

#: How deeply a result may be nested.
DEEPEST = 50

#: The states after which nothing comes, in Celery itself and where users set them.
_ENDS = states.READY_STATES | {states.REJECTED, states.IGNORED}


def task_status(app: Celery, task_id: str, *, traceback: bool = False) -> dict[str, Any]:
    """The status of *task_id*, as the endpoints send it.

    ``{"task": {"id": ..., "status": ..., "result": ...}}``. The result is that of a success, the progress of
    a run in progress, and the ``repr`` of an exception, with its class in ``exc``. An end other than success
    has the status ``FAILURE`` and its true name in ``state``. Everything is JSON: numbers that are not finite
    are ``None``, and what JSON does not know is text.

    What the result backend has lost or cannot tell is answered from the store, if that is still the result of
    calls like the one that made it; and the result backend is told again.

    :param traceback: whether to send the traceback of a failure, which may tell more than a user should know.
    :raises JobtasticError: if *app* has no result backend.
    :raises Exception: what the result backend raises when it cannot be asked.

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
    """Whether *status*, from :func:`task_status`, will not change any more."""
    return status["task"]["status"] in (states.SUCCESS, states.FAILURE)


def _meta_of(app: Celery, task_id: str) -> backends.Meta:
    installation = installation_on(app)
    if installation is None:
        return backends.read_meta(app.backend, task_id)
    if installation.result_backend.is_open:
        # Reading it may take for ever.
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
    return meta if known is None else backends.told_again(app.backend, known)


def plain(value: Any, depth: int = 0) -> Any:
    """*value* in JSON's own types; what is nested too deeply for those who read it becomes text."""
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
