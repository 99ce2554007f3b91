"""Celery's result backend: what it knows of a task id, and what we write there."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery, Task, states
from celery.app.task import Context
from celery.backends.base import Backend, DisabledBackend
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from celery.utils.time import maybe_iso8601

from .. import celery_internals
from ..errors import JobtasticError
from ..support.circuit_breaker import CircuitBreaker
from ..support.shown import shown
from ..support.time_limits import caught

__all__ = [
    "PROGRESS",
    "Meta",
    "breaker_of",
    "checked",
    "context_of",
    "ended_at",
    "is_private",
    "is_silent",
    "known_meta",
    "loaded",
    "ignores_result",
    "meta_of",
    "read_meta",
    "result_with",
    "reading",
    "shows_progress",
    "timestamp",
    "write_back",
]

logger: logging.Logger = logging.getLogger(__name__)

#: The state of a run that reports its progress.
PROGRESS = "PROGRESS"

#: What a backend knows of a task: a dict with at least ``status`` and ``result``.
Meta = dict[str, Any]

#: Calls a function that reads from a backend, in this context: a caller may not want to wait for ever.
#: ``None`` for just calling it.
reading: ContextVar[Callable[[Callable[[], Meta]], Meta] | None] = ContextVar(
    "jobtastic_reading", default=None
)


_breakers: WeakKeyDictionary[Celery[Any], CircuitBreaker] = WeakKeyDictionary()


def breaker_of(app: Celery[Any]) -> CircuitBreaker:
    """Return the circuit breaker for *app*'s result backend."""
    breaker = _breakers.get(app)
    return _breakers.setdefault(app, CircuitBreaker()) if breaker is None else breaker


def is_silent(task: Task[Any, Any], backend: Backend) -> bool:
    """Return whether nobody can read a result of *task* by its id: no *backend*, or it ignores results."""
    return bool(task.ignore_result) or isinstance(backend, DisabledBackend)


def _has_no_ids(backend: Backend) -> bool:
    """Return whether *backend* tells nobody of a task by its id, except the caller of that task."""
    return isinstance(backend, DisabledBackend) or is_private(backend)


def is_private(backend: Backend) -> bool:
    """Return whether only the caller of a task can read its result, like with ``rpc://``."""
    # Nobody has such a backend whose module is not imported.
    rpc = sys.modules.get("celery.backends.rpc")
    return rpc is not None and isinstance(backend, rpc.RPCBackend)


def meta_of(
    task: Task[Any, Any], task_id: str, backend: Backend | None = None, told: bytes | None = None
) -> Meta | None:
    """Return what the backend knows of *task_id* now; ``None`` if it cannot say.

    :param backend: the backend of *task*, from a caller that knows it.
    :param told: as for :func:`known_meta`.
    """
    return None if task.ignore_result else known_meta(task.app, backend or task.backend, task_id, told)


def known_meta(app: Celery[Any], backend: Backend, task_id: str, told: bytes | None = None) -> Meta | None:
    """Return what *backend* knows of *task_id* now; ``None`` if it cannot say.

    :param told: what the store has just told of the app's backend, which is not asked then: see
        :class:`.Answer`.
    """
    if told is not None and backend is app.backend:  # A task can have a backend of its own.
        with caught(lambda _: None):  # What cannot be read is read once more, and reported.
            meta: Meta = backend.decode_result(told) if told else {"status": states.PENDING, "result": None}
            return meta
    if _has_no_ids(backend):
        return None
    breaker = breaker_of(app)
    if not breaker.lets_through():
        return None
    read, reader = partial(read_meta, backend, task_id), reading.get()
    try:
        meta = read() if reader is None else reader(read)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        if breaker.failed(error):
            logger.warning("the result backend did not answer for %s: %s", shown(task_id), shown(error))
        return None
    if breaker.is_open:
        breaker.answered()
    return meta


def read_meta(backend: Backend, task_id: str) -> Meta:
    """Return what *backend* knows of *task_id* now.

    Celery's own cache of results is left out, since the backend may have lost what is still there.

    :raises JobtasticError: if the app has no result backend.
    :raises Exception: what the backend raises if it does not answer.
    """
    own_cache = {} if is_private(backend) else {"cache": False}
    meta: Meta = checked(backend).get_task_meta(task_id, **own_cache)
    return meta


def checked(backend: Backend) -> Backend:
    """Return *backend*.

    :raises JobtasticError: if the app has none.
    """
    if isinstance(backend, DisabledBackend):
        raise JobtasticError(
            f"{backend.app!r} has no result backend, so nothing is known of its tasks; set result_backend"
        )
    return backend


def loaded(task: Task[Any, Any], task_id: str, meta: Meta | None) -> AsyncResult[Any]:
    """Return the result of *task_id*, which does not ask for what *meta* says if that is final."""
    result: AsyncResult[Any] = task.AsyncResult(task_id)
    if meta is not None:
        celery_internals.know_meta(result, meta)
    return result


def result_with(
    task: Task[Any, Any],
    backend: Backend,
    task_id: str,
    value: Any,
    extended_fields: Callable[[], Mapping[str, Any]] = dict,
    *,
    state: str = states.SUCCESS,
    told: bytes | None = None,
) -> AsyncResult[Any]:
    """Return the result of *task_id*, which ended with *value*. Write it back if the backend lost it.

    The value is that of the store: Celery's backends keep the first success of an id, also if it runs again.

    :param value: what the task returned, or its exception.
    :param extended_fields: returns what the backend kept of the run beside that.
    :param told: as for :func:`known_meta`.
    """
    known: Meta = {"status": state, "result": value, "task_id": task_id}
    meta = known_meta(task.app, backend, task_id, told)
    if meta is None or meta["status"] not in (states.SUCCESS, state):
        known = {**extended_fields(), **known}
        if meta is not None:
            write_back(backend, known)
        meta = None
    return loaded(task, task_id, {**(meta or {}), **known})


def write_back(backend: Backend, meta: Meta) -> Meta:
    """Store an end in *backend* that it has lost, or never had. Return it."""
    try:
        # Without a request Celery would add the children of the task that runs here.
        backend.store_result(
            meta["task_id"],
            meta["result"],
            meta["status"],
            traceback=meta.get("traceback"),
            request=context_of(meta),
        )
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        logger.warning("the result backend refused %s: %s", shown(meta["task_id"]), shown(error))
    return meta


def context_of(end: Meta) -> Context:
    """Return a request with what *end* says of it, from which the backend stores the same again."""
    return Context(
        id=end["task_id"],
        task=end.get("name"),
        args=end.get("args"),
        kwargs=end.get("kwargs"),
        hostname=end.get("worker"),
        retries=end.get("retries"),
        delivery_info={"routing_key": end.get("queue")},
        group=end.get("group_id"),
        parent_id=end.get("parent_id"),
        children=end.get("children"),
    )


def ended_at(meta: Meta | None) -> float | None:
    """Return when a task ended, as Unix time; ``None`` if the result backend knows of no ending."""
    if meta is None or meta["status"] not in states.READY_STATES:
        return None
    return timestamp(meta.get("date_done"))


def timestamp(moment: object) -> float | None:
    """Return a moment, as Celery and its result backends write it, as Unix time. Without a zone it is UTC."""
    if moment is None:
        return None
    when: datetime.datetime = maybe_iso8601(moment)
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    seconds: float = when.timestamp()
    return seconds


def shows_progress(task: Task[Any, Any], request: Context) -> bool:
    """Return whether everyone who has the id of the run under *request* can see its progress and its end."""
    # With ``rpc://`` each record is a message to the caller, whose queue is full after a thousand.
    if not request.id or _has_no_ids(task.backend):
        return False
    return not ignores_result(task, request) and (not request.is_eager or bool(task.store_eager_result))


def ignores_result(task: Task[Any, Any], request: Context) -> bool:
    """Return whether the result of the run under *request* is not to be stored."""
    ignores = vars(request).get("ignore_result")
    return bool(task.ignore_result if ignores is None else ignores)
