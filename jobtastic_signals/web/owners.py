"""Who asked for which task, recorded in the sessions of visitors, so that a task can have many owners.

Identical calls share a task id. A single owner for each id would lock out everybody whose call joined.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any

from .tokens import checked_id

__all__ = ["MOST", "may_see", "remember"]

#: The number of tasks that a session remembers. With them, a session in a cookie has about 1,300 characters.
MOST = 50

_KEY = "jobtastic"


def remember(session: MutableMapping[str, Any], task_id: str, user: str | None = None) -> None:
    """Record in *session* that its visitor asked for *task_id*. The oldest record of ``MOST`` is dropped.

    :param user: the id of the user who is signed in. Nobody else who uses the session later sees the task.
    :raises ValueError: if *task_id* is not a task id.

    >>> session = {}
    >>> remember(session, "a"), remember(session, "b", user="ada")
    (None, None)
    >>> may_see(session, "a"), may_see(session, "b"), may_see(session, "b", user="ada")
    (True, False, True)
    """
    record = _record(checked_id(task_id), user)
    others = [other for other in _records(session) if other != record]
    # A new list, since a session notices only that a value is set.
    session[_KEY] = [*others, record][-MOST:]


def may_see(session: Mapping[str, Any], task_id: str, user: str | None = None) -> bool:
    """Return whether *task_id* is recorded in *session*, for *user* or from before anybody had signed in."""
    records = _records(session)
    return any(_record(task_id, each) in records for each in {user, None})


def _records(session: Mapping[str, Any]) -> list[str]:
    records = session.get(_KEY)
    return records if isinstance(records, list) else []


def _record(task_id: str, user: str | None) -> str:
    # As short as is safe, for sessions in cookies, and of the same length for all ids.
    digest = hashlib.blake2b(repr((task_id, user)).encode(), digest_size=12).digest()
    return base64.urlsafe_b64encode(digest).decode()
