"""The index of task ids: what the store knows of an id.

The store knows results by their keys. Under an id it has at most one of these entries:

* The key of the result that the id computed, for ids that Celery made: one that a user chose can come again,
  with other arguments.
* The outcome of a call that was answered without a broker, if it could not be written to the result backend.
* A note that its run goes on, which the process of the run repeats. If it stops, the host is lost.
* A note that the run ignores its result, so that nobody waits for it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import Celery, states

from ..stores import Result
from ..stores.guard import GuardedStore
from ..stores.names import internal_name
from ..support.rare_warnings import rare_warnings
from ..support.shown import shown
from . import backend, payload

__all__ = [
    "HOST_LOST",
    "IGNORED",
    "age_of_result",
    "drop_note",
    "find",
    "keep",
    "key_for",
    "look_up",
    "note_ignored",
    "note_running",
    "ttl",
]

logger: logging.Logger = logging.getLogger(__name__)

_MADE_BY_CELERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Seconds for which an id is in the index at most. An id that nobody asks for must not stay for ever.
LONGEST = 7 * 24 * 3600.0

#: Seconds for which a note of an ignored result is kept.
IGNORED_NOTED_FOR = 3600.0

# The states of results; others are notes.
_STORED = {states.SUCCESS, states.FAILURE}

#: Why nothing more is to be expected of a task for now: its run was not renewed for as long as a lease, or it
#: ignores its result.
HOST_LOST, IGNORED = "host_lost", "ignored"


def key_for(task_id: str) -> str | None:
    """Return the key under which the store has the key of *task_id*'s result; ``None`` for an id of a user's
    own.
    """
    return _entry_of(task_id) if _MADE_BY_CELERY.fullmatch(task_id) else None


def ttl(result_ttl: float | None) -> float:
    """Return for how many seconds to index an id whose result lasts *result_ttl* seconds, or for ever."""
    return LONGEST if result_ttl is None else min(result_ttl, LONGEST)


def keep(store: GuardedStore, app: Celery[Any], task_id: str, state: str, value: Any) -> None:
    """Keep the outcome of *task_id* for as long as the result backend would.

    :raises EncodeError: if the result serializer does not accept the value.
    """
    if state in states.EXCEPTION_STATES:
        value = app.backend.prepare_exception(value)
    expires = app.conf.result_expires
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    data = payload.dumps(app, value)
    store.complete(_entry_of(task_id), task_id, None, data, state=state, ttl=seconds or None)


def note_running(store: GuardedStore, task_id: str, lease: float) -> None:
    """Note that the run of *task_id* goes on. Repeat this within *lease* seconds."""
    # A store keeps a result that is there.
    store.forget(_entry_of(task_id))
    data = f"{lease!r}".encode()
    store.complete(_entry_of(task_id), task_id, None, data, state=states.STARTED, ttl=LONGEST)


def note_ignored(store: GuardedStore, task_id: str) -> None:
    """Note that *task_id* ignores its result."""
    store.complete(_entry_of(task_id), task_id, None, b"", state=states.IGNORED, ttl=IGNORED_NOTED_FOR)


def drop_note(store: GuardedStore, task_id: str) -> None:
    """Drop the note about *task_id*."""
    store.forget(_entry_of(task_id))


def find(store: GuardedStore, app: Celery[Any], task_id: str) -> backend.Meta | None:
    """Return the end of *task_id* that the store knows, like a result backend would; ``None`` if none."""
    return look_up(store, app, task_id)[0]


def look_up(store: GuardedStore, app: Celery[Any], task_id: str) -> tuple[backend.Meta | None, str | None]:
    """Return the end of *task_id*, and why none is to be expected for now, as far as the store knows.

    This reads once from the store, and more often only if the entry names the key of a result.
    """
    try:
        entry = store.lookup(_entry_of(task_id))
        if not isinstance(entry, Result):
            return None, None
        if entry.state == states.STARTED:
            return None, HOST_LOST if entry.at - entry.ended >= float(entry.payload) else None
        if entry.state == states.IGNORED:
            return None, IGNORED
        found = entry if payload.is_payload(entry.payload) else store.lookup_indexed(_entry_of(task_id))
        # There may be none any more, or another one in its place.
        if not isinstance(found, Result) or found.owner != task_id:
            return None, None
        return _meta(app, task_id, found), None
    except Exception as error:
        rare_warnings.warn(
            logger,
            "outcome",
            "what is stored of %s cannot be read: %s",
            shown(task_id),
            shown(error),
        )
        return None, None


def age_of_result(store: GuardedStore, task_id: str) -> float | None:
    """Return how many seconds ago the run ended whose result the store has for *task_id*; ``None`` if it has
    none.

    The result backend knows less if the result was written back.
    """
    name = key_for(task_id)
    entry = None if name is None else store.lookup(name)
    if not isinstance(entry, Result) or entry.owner != task_id or entry.state not in _STORED:
        return None
    return entry.at - entry.ended


def _meta(app: Celery[Any], task_id: str, found: Result) -> backend.Meta:
    value = payload.outcome(app, found.payload, found.state)
    fields: Mapping[str, Any] = payload.extended_fields(app, found.payload)
    known = {"status": found.state, "result": value, "task_id": task_id, "age": found.at - found.ended}
    return {**fields, **known}


def _entry_of(task_id: str) -> str:
    return internal_name("task", task_id)
