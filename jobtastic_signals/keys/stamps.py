"""Checking stamps: anyone who can publish a message can write one.

A stamp is a hint with limited power. It says when a call was made, for whom it waited, and what its caller
asked for. It does not say which key its message has: the worker makes that itself from the arguments and the
context of the message.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..options import ON_DUPLICATE
from ..support.rare_warnings import rare_warnings
from ..support.shown import shown
from .recipe import SCHEME

if TYPE_CHECKING:
    from celery.app.task import Context

__all__ = ["HEADER", "checked_stamp", "header_of", "is_key", "is_sound_id", "named_header", "stamp_of"]

logger: logging.Logger = logging.getLogger(__name__)

#: The message header that carries the stamp, and so an attribute of the request.
HEADER = "jobtastic"

#: Characters of the longest text in a stamp, and of the longest task id that shares.
LONGEST_TEXT, LONGEST_KEY = 255, 1000

#: Seconds of the longest time in which a caller may withdraw its message.
LONGEST_WITHDRAWAL = 24 * 3600.0

_KEY = re.compile(rf"{SCHEME}:.+:[0-9a-f]{{40}}", re.DOTALL)

# Times and counts up to here are exact as a float, and as a number in Lua.
_LARGEST = 2**53


def is_sound_id(task_id: object) -> bool:
    r"""Return whether *task_id* is a text that every store can hold, and that is not too long to keep.

    >>> is_sound_id("order 7"), is_sound_id(""), is_sound_id("x" * 300), is_sound_id("\ud800")
    (True, False, False, False)
    """
    return _is_text(task_id) and task_id != ""


def is_key(key: object) -> bool:
    """Return whether *key* looks like one that a recipe makes, so it is not an internal name of a store.

    >>> is_key(f"v1:proj.report:{'0' * 40}"), is_key("outcome:5"), is_key("v1:proj.report:7")
    (True, False, False)
    """
    return _is_text(key, LONGEST_KEY) and _KEY.fullmatch(str(key)) is not None


def named_header(fields: object, name: str) -> Any:
    """Return a header of a message from the *fields* that Celery has of it, or ``None``.

    With task protocol 1 the headers are in a dict of their own.
    """
    # With ``dict`` beside it, the check of an abstract class is for those that are none: it takes longer than
    # the rest of this.
    if not isinstance(fields, (dict, Mapping)):
        return None
    found = fields.get(name)
    if found is not None or (headers := fields.get("headers")) is None:
        return found
    return headers.get(name) if isinstance(headers, (dict, Mapping)) else None


def header_of(request: Context | None, name: str) -> Any:
    """Return a header of the message of *request*; ``None`` if it has no such header."""
    # With task protocol 1 they are in a dict of their own.
    return None if request is None else named_header(vars(request), name)


def stamp_of(request: Context | None, task_id: str) -> Mapping[str, Any]:
    """Return the stamp on *request* if it is this very message's; see :func:`checked_stamp`."""
    return checked_stamp(header_of(request, HEADER), task_id)


def checked_stamp(stamp: Any, task_id: str) -> Mapping[str, Any]:
    """Return *stamp* without those of our fields that are not sound; empty if it is not *task_id*'s.

    Headers get copied from one message to another, by retries and by users. A stamp names its task id so that
    it is believed for no other call. What is not sound costs a warning, one for each field in a minute.
    """
    if stamp is None:
        return {}
    if not isinstance(stamp, Mapping):
        _warn("stamp", stamp, task_id)
        return {}
    if stamp.get("id") != task_id:
        return {}
    checked = {}
    for name, value in stamp.items():
        is_sound = _FIELDS.get(name) if isinstance(name, str) else _is_never_sound
        if is_sound is None or is_sound(value):
            checked[name] = value
        else:
            _warn(name if name in _FIELDS else "name of a field", value, task_id)
    return checked


def _is_text(value: object, longest: int = LONGEST_TEXT) -> bool:
    """Return whether *value* is a text of bounded length without lone surrogates."""
    if not isinstance(value, str) or len(value) > longest:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _is_owner_or_none(value: object) -> bool:
    return value is None or is_sound_id(value)


def _is_number(value: object, largest: float = _LARGEST) -> bool:
    # NaN and infinity fail the comparison, and an integer of any size passes or fails it without an error.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= largest


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_withdrawal(value: object) -> bool:
    return _is_number(value, LONGEST_WITHDRAWAL)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_on_duplicate(value: object) -> bool:
    return isinstance(value, str) and value in ON_DUPLICATE


def _is_never_sound(value: object) -> bool:
    return False


#: Our fields of a stamp. Middleware of users may add others, which are theirs to check.
_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "id": is_sound_id,
    "key": is_key,
    "store": _is_text,
    "called": _is_number,
    "waiting_for": _is_owner_or_none,
    "after": is_sound_id,
    "fresh": _is_flag,
    "bypass": _is_flag,
    "on_duplicate": _is_on_duplicate,
    "waits": _is_count,
    "expected": _is_number_or_none,
    "withdrawable": _is_withdrawal,
}


def _warn(kind: str, value: object, task_id: object) -> None:
    rare_warnings.warn(
        logger,
        f"stamp: {kind}",
        "the message of task %s has a stamp that nobody of this package wrote, so this part of it counts as "
        "absent: %s=%s",
        shown(task_id),
        kind,
        shown(value),
    )
