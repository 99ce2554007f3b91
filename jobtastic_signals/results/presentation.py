"""Results and exceptions as plain JSON, for people. Nothing here raises, whatever the objects do.

A result can be of any class, with any methods, and an exception that Celery has rebuilt can lack what its
methods need. What cannot be presented in a better way becomes text.
"""

from __future__ import annotations

import datetime
import math
import traceback as tracebacks
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import UserFacingError
from ..support.safe_text import MOST_BITS, class_name, safe_repr, safe_str
from ..support.time_limits import caught

__all__ = ["message_of", "plain", "present_error", "traceback_of"]

#: The levels to which a value may be nested, and how many values are presented at most.
DEEPEST, MOST = 50, 1_000_000

#: What is beyond, in the way of ``repr``.
_LEFT_OUT = "..."


def plain(value: Any) -> Any:
    """Return *value* in the types of JSON.

    * A number that is not finite becomes ``None``.
    * An integer that JSON readers may refuse becomes hexadecimal text.
    * The keys of a mapping become text. If two of them have the same, one gets a number: ``"1 (2)"``.
    * A value inside itself, or nested too deeply, becomes ``"[...]"`` or ``"{...}"``.
    * Anything else becomes its ``str()``.

    >>> plain({1: (1, math.inf), "1": {7}})
    {'1': [1, None], '1 (2)': [7]}
    """
    return _Presenter().present(value)


def present_error(error: BaseException) -> dict[str, str]:
    """Return the class of *error* as ``exc``, and its ``repr`` as ``result``.

    >>> present_error(ValueError("wrong"))
    {'exc': 'builtins.ValueError', 'result': "ValueError('wrong')"}
    """
    return {"exc": class_name(error), "result": safe_repr(error)}


def message_of(error: BaseException) -> str | None:
    """Return the text that the author of a task provided for people; ``None`` without one."""
    return safe_str(error) if isinstance(error, UserFacingError) else None


def traceback_of(error: BaseException) -> str:
    """Return the traceback of *error*, as far as it has one here."""
    with caught(lambda _: None):
        return safe_str("".join(tracebacks.format_exception(error)))
    return f"{class_name(error)}: {safe_repr(error)}\n"


class _Presenter:
    """Presents one value, which is in ``_around`` while it is presented."""

    def __init__(self) -> None:
        self._around: set[int] = set()
        self._left = MOST

    def present(self, value: Any) -> Any:
        """Return *value* in the types of JSON."""
        self._left -= 1
        # Unlike ``isinstance``, this does not ask the object, which can raise, or lie.
        kind = type(value)
        with caught(lambda error: None):
            if value is None or kind is bool:
                return value
            if issubclass(kind, int) and int.bit_length(value) <= MOST_BITS:
                return int.__index__(value)
            if issubclass(kind, float):
                return float.__float__(value) if math.isfinite(value) else None
            if issubclass(kind, Mapping):
                return self._inside(value, "{...}", lambda: self._mapping(value.items()))
            if issubclass(kind, (list, tuple, set, frozenset)):
                return self._inside(value, "[...]", lambda: self._sequence(value))
            if issubclass(kind, (datetime.date, datetime.time)):
                return safe_str(value.isoformat())
        return safe_str(value)

    def _inside(self, value: Any, otherwise: str, present: Callable[[], Any]) -> Any:
        if id(value) in self._around or len(self._around) >= DEEPEST or self._left <= 0:
            return otherwise
        self._around.add(id(value))
        try:
            return present()
        finally:
            self._around.discard(id(value))

    def _sequence(self, items: Iterable[Any]) -> list[Any]:
        presented = []
        for item in items:
            if self._left <= 0:
                presented.append(_LEFT_OUT)
                break
            presented.append(self.present(item))
        return presented

    def _mapping(self, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        presented: dict[str, Any] = {}
        taken: Counter[str] = Counter()
        for key, item in items:
            if self._left <= 0:
                presented[_LEFT_OUT] = _LEFT_OUT
                break
            text = name = safe_str(key)
            while name in presented:
                taken[text] += 1
                name = f"{text} ({taken[text] + 1})"
            presented[name] = self.present(item)
        return presented
