"""The index of task ids: what became of an id, as far as the store knows, for when the result backend does
not.

The store knows results by their keys. So the key of a stored result stands under the id of its owner, for ids
that Celery made: one that a user chose can come again, with other arguments. The outcome of a call that was
answered without a broker stands under its id, if it could not be written to the result backend.
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

from celery import Celery, states

from ..stores import Result
from ..stores.guard import GuardedStore
from . import backend, payload

__all__ = ["find", "keep", "key_for", "ttl"]

logger = logging.getLogger(__name__)

_MADE_BY_CELERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Seconds for which an id is in the index at most. An id that nobody asks for must not stay for ever.
LONGEST = 7 * 24 * 3600.0


def key_for(task_id: str) -> str | None:
    """Return the key under which the store has the key of *task_id*'s result; ``None`` for an id of a user's
    own.

    No key of a call starts like this.
    """
    return f"task:{task_id}" if _MADE_BY_CELERY.fullmatch(task_id) else None


def ttl(result_ttl: float | None) -> float:
    """Return for how many seconds to index an id whose result lasts *result_ttl* seconds, or for ever."""
    return LONGEST if result_ttl is None else min(result_ttl, LONGEST)


def keep(store: GuardedStore, app: Celery, task_id: str, state: str, value: Any) -> None:
    """Keep the outcome of *task_id* for as long as the result backend would.

    :raises EncodeError: if the result serializer does not accept the value.
    """
    if state in states.EXCEPTION_STATES:
        value = app.backend.prepare_exception(value)
    expires = app.conf.result_expires
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    store.complete(
        _outcome(task_id), task_id, None, payload.dumps(app, value), state=state, ttl=seconds or None
    )


def find(store: GuardedStore, app: Celery, task_id: str) -> backend.Meta | None:
    """Return what the store knows of *task_id*, like a result backend would; ``None`` if nothing."""
    try:
        return _outcome_of(store, app, task_id) or _result_of(store, app, task_id)
    except Exception as error:
        logger.warning("what is stored of %s cannot be read: %r", task_id, error)
        return None


def _outcome_of(store: GuardedStore, app: Celery, task_id: str) -> backend.Meta | None:
    kept = store.lookup(_outcome(task_id))
    return _meta(app, task_id, kept) if isinstance(kept, Result) else None


def _result_of(store: GuardedStore, app: Celery, task_id: str) -> backend.Meta | None:
    name = key_for(task_id)
    found = store.lookup_indexed(name) if name is not None else None
    # There may be none any more, or another one in its place.
    if not isinstance(found, Result) or found.owner != task_id:
        return None
    return _meta(app, task_id, found)


def _meta(app: Celery, task_id: str, found: Result) -> backend.Meta:
    value = payload.loads(app, found.payload)
    if found.state in states.EXCEPTION_STATES:
        value = app.backend.exception_to_python(value)
    return {"status": found.state, "result": value, "task_id": task_id}


def _outcome(task_id: str) -> str:
    # No key of a call starts like this.
    return f"outcome:{task_id}"
