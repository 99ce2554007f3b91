"""What became of a task id, as far as the store knows: for when the result backend has forgotten it.

The store knows results by their keys, so next to each stored result stands under which key its owner is; for
ids that Celery made, since one that a user chose can come again, with other arguments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .stores import Result

if TYPE_CHECKING:
    from .stores.guard import GuardedStore

__all__ = ["find", "note"]


_MADE_BY_CELERY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def note(store: GuardedStore, task_id: str, key: str, ttl: float | None) -> None:
    """The result under *key* is that of *task_id*, for *ttl* seconds; ``None`` for ever."""
    if _MADE_BY_CELERY.fullmatch(task_id):
        store.settle(_name(task_id), task_id, key.encode(), ttl)


def find(store: GuardedStore, task_id: str) -> Result | None:
    """The stored result of *task_id*; ``None`` if there is none any more, or another one in its place."""
    noted = store.lookup(_name(task_id))
    found = store.lookup(noted.payload.decode(errors="replace")) if isinstance(noted, Result) else None
    return found if isinstance(found, Result) and found.owner == task_id else None


def _name(task_id: str) -> str:
    # No key of a call starts like this.
    return f"task:{task_id}"
