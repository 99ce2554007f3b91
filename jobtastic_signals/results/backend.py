"""What is asked of Celery's result backend, and how results become bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, states
from celery.backends.base import Backend, DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from kombu import serialization

from ..errors import JobtasticError
from ..registry import installation_on
from ..support.circuit_breaker import Breaker

if TYPE_CHECKING:
    from celery.app.task import Context

__all__ = [
    "PROGRESS",
    "Meta",
    "dumps",
    "healed",
    "is_private",
    "is_silent",
    "loaded",
    "loads",
    "ignores_result",
    "meta_of",
    "read_meta",
    "reading",
    "shows_progress",
    "start_progress",
    "store_progress",
    "told_again",
]

logger = logging.getLogger(__name__)

#: The state of a run that tells how far it is.
PROGRESS = "PROGRESS"

#: What a backend knows of a task: a dict with at least ``status`` and ``result``.
Meta = dict[str, Any]

#: Calls what asks a backend, in this context: somebody may not want to wait for ever.
reading: ContextVar[Callable[[Callable[[], Meta]], Meta]] = ContextVar(
    "jobtastic_reading", default=lambda read: read()
)


def is_silent(task: Task) -> bool:
    """Whether nobody can learn the result of *task* by id: no backend, or the task ignores results."""
    return bool(task.ignore_result) or isinstance(task.backend, DisabledBackend)


def is_private(task: Task) -> bool:
    """Whether only the caller itself can read its results, as with ``rpc://``."""
    return isinstance(task.backend, RPCBackend)


def meta_of(task: Task, task_id: str) -> Meta | None:
    """What the backend knows of *task_id* now; ``None`` if nothing can be learned."""
    if is_silent(task) or is_private(task):
        return None
    installation = installation_on(task.app)
    breaker = Breaker() if installation is None else installation.result_backend
    if not breaker.lets_through():
        return None
    try:
        meta = reading.get()(lambda: read_meta(task.backend, task_id))
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        if breaker.failed(error):
            logger.warning("the result backend could not be asked for %s[%s]: %r", task.name, task_id, error)
        return None
    if breaker.is_open:
        breaker.answered()
    return meta


def read_meta(backend: Backend, task_id: str) -> Meta:
    """What *backend* knows of *task_id* now; it raises what it will where it cannot be asked.

    Not from Celery's own cache of results: the backend may have lost since what that still has.

    :raises JobtasticError: if the app has no result backend.
    """
    if isinstance(backend, DisabledBackend):
        raise JobtasticError(
            f"{backend.app!r} has no result backend, so nothing is known of its tasks: set result_backend"
        )
    own_cache = {} if isinstance(backend, RPCBackend) else {"cache": False}
    meta: Meta = backend.get_task_meta(task_id, **own_cache)
    return meta


def loaded(task: Task, task_id: str, meta: Meta | None) -> AsyncResult[Any]:
    """The result of *task_id*, knowing already what *meta* says if that is final."""
    result: AsyncResult[Any] = task.AsyncResult(task_id)
    if meta is not None:
        result._maybe_set_cache(meta)
    return result


def healed(task: Task, task_id: str, value: Any) -> AsyncResult[Any]:
    """The result of *task_id*, which succeeded with *value*; the backend is told again if it forgot."""
    if is_silent(task) or is_private(task):
        return loaded(task, task_id, None)
    known: Meta = {"status": states.SUCCESS, "result": value, "task_id": task_id}
    meta = meta_of(task, task_id)
    if meta is not None and meta["status"] != states.SUCCESS:
        meta = told_again(task.backend, known)
    return loaded(task, task_id, known if meta is None else meta)


def told_again(backend: Backend, meta: Meta) -> Meta:
    """Tell *backend*, which forgot it or never knew, of the end that *meta* tells."""
    try:
        backend.store_result(meta["task_id"], meta["result"], meta["status"])
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        logger.warning("the result backend refused %s: %r", meta["task_id"], error)
    return meta


def shows_progress(task: Task, request: Context) -> bool:
    """Whether those who have the id of the run under *request* can learn of its progress, and of its end."""
    # With ``rpc://`` each record is a message to the caller, whose queue is full after a thousand.
    if not request.id or isinstance(task.backend, (DisabledBackend, RPCBackend)):
        return False
    return not ignores_result(task, request) and (not request.is_eager or bool(task.store_eager_result))


def ignores_result(task: Task, request: Context) -> bool:
    """Whether the result of the run under *request* is not wanted."""
    ignores = vars(request).get("ignore_result")
    return bool(task.ignore_result if ignores is None else ignores)


#: What a record may stand over while a run goes on, besides another record.
_BEFORE_PROGRESS = frozenset({states.PENDING, states.RECEIVED, states.STARTED})


def store_progress(
    task: Task, request: Context, record: Mapping[str, Any], *, unasked: bool = False, again: bool = False
) -> bool:
    """Let those who have the id of the run under *request* see *record*.

    ``False``, and nothing is stored, where an end is known of it, as when a time limit has just struck. A
    record that is *unasked* for, since the task said nothing, is not stored over what the task itself said. A
    retry that was announced is an end, unless this may be the one that runs *again*.

    :raises Exception: what the result backend raises; where it cannot be read, nothing is written.
    """
    known = read_meta(task.backend, request.id)
    if known["status"] in states.READY_STATES or (known["status"] == states.RETRY and not again):
        return False
    if unasked and known["status"] not in _BEFORE_PROGRESS and not _is_record(known):
        return True
    start_progress(task, request, record)
    return True


def start_progress(task: Task, request: Context, record: Mapping[str, Any]) -> None:
    """As :func:`store_progress`, for a run that starts: over the end of an earlier run of the same id."""
    task.backend.store_result(request.id, dict(record), PROGRESS, request=request)


def _is_record(meta: Meta) -> bool:
    result = meta["result"]
    return meta["status"] == PROGRESS and isinstance(result, Mapping) and "progress_percent" in result


def dumps(app: Celery, value: Any) -> bytes:
    """*value* as Celery's result serializer writes it, with the names of type and encoding before it."""
    serializer = app.conf.result_serializer
    content_type, encoding, data = serialization.dumps(app.backend.prepare_value(value), serializer)
    body = data if isinstance(data, bytes) else data.encode()
    return json.dumps([content_type, encoding]).encode() + b"\n" + body


def loads(app: Celery, payload: bytes) -> Any:
    """The value that :func:`dumps` wrote; refuses what the app does not accept as a result.

    :raises kombu.exceptions.ContentDisallowed: for a serializer that the app does not accept.
    """
    head, _, body = payload.partition(b"\n")
    content_type, encoding = json.loads(head)
    accept = app.conf.result_accept_content or app.conf.accept_content
    return serialization.loads(
        body, content_type, encoding, accept=serialization.prepare_accept_content(accept)
    )
