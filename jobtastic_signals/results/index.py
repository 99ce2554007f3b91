"""What became of a task id, as far as the store knows: for when the result backend does not.

The store knows results by their keys, so next to each stored result stands under which key its owner is; for
ids that Celery made, since one that a user chose can come again, with other arguments. What a call came to
while the broker was down stands under its id, if the result backend could not be told.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery import Celery, states

from ..stores import Result
from . import backend as backends

if TYPE_CHECKING:
    from ..stores.guard import GuardedStore

__all__ = ["find", "keep", "note"]

logger = logging.getLogger(__name__)

_MADE_BY_CELERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def note(store: GuardedStore, task_id: str, key: str, ttl: float | None) -> None:
    """The result under *key* is that of *task_id*, for *ttl* seconds; ``None`` for ever."""
    if _MADE_BY_CELERY.fullmatch(task_id):
        store.settle(_index(task_id), task_id, key.encode(), ttl)


def keep(store: GuardedStore, app: Celery, task_id: str, state: str, value: Any) -> None:
    """*task_id* came to *state* and *value*; kept for as long as the result backend would.

    :raises EncodeError: if the result serializer does not take it.
    """
    if state in states.EXCEPTION_STATES:
        value = app.backend.prepare_exception(value)
    payload = json.dumps(state).encode() + b"\n" + backends.dumps(app, value)
    expires = app.conf.result_expires
    ttl = expires.total_seconds() if isinstance(expires, timedelta) else expires
    store.settle(_outcome(task_id), task_id, payload, ttl or None)


def find(store: GuardedStore, app: Celery, task_id: str) -> backends.Meta | None:
    """What the store knows of *task_id*, as a result backend would tell it; ``None`` if nothing."""
    try:
        return _outcome_of(store, app, task_id) or _result_of(store, app, task_id)
    except Exception as error:
        logger.warning("what is stored of %s cannot be read: %r", task_id, error)
        return None


def _outcome_of(store: GuardedStore, app: Celery, task_id: str) -> backends.Meta | None:
    kept = store.lookup(_outcome(task_id))
    if not isinstance(kept, Result):
        return None
    head, _, payload = kept.payload.partition(b"\n")
    state, value = json.loads(head), backends.loads(app, payload)
    if state in states.EXCEPTION_STATES:
        value = app.backend.exception_to_python(value)
    return {"status": state, "result": value, "task_id": task_id}


def _result_of(store: GuardedStore, app: Celery, task_id: str) -> backends.Meta | None:
    noted = store.lookup(_index(task_id))
    found = store.lookup(noted.payload.decode(errors="replace")) if isinstance(noted, Result) else None
    # There may be none any more, or another one in its place.
    if not isinstance(found, Result) or found.owner != task_id:
        return None
    value = backends.loads(app, found.payload)
    return {"status": states.SUCCESS, "result": value, "task_id": task_id}


# No key of a call starts like these.


def _index(task_id: str) -> str:
    return f"task:{task_id}"


def _outcome(task_id: str) -> str:
    return f"outcome:{task_id}"
