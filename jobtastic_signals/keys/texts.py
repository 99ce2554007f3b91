"""Texts that a ``to_str`` function makes of an argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from celery import Task

from ..errors import UnkeyableError
from ..support.safe_text import safe_repr
from .canonical import encode

__all__ = ["ToStr", "text_of"]

ToStr: TypeAlias = Callable[[Any], "str | bytes"]


def text_of(task: Task[Any, Any], name: str, value: Any, to_str: ToStr) -> bytes:
    """Return the text that *to_str* makes of *value*, the argument *name*.

    :raises UnkeyableError: if it fails, or returns something else than a text, or an address in memory.
    """
    try:
        text = to_str(value)
    except Exception as error:
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} failed: {safe_repr(error)}", argument=name
        ) from error
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} returned {type(text).__name__}; it must "
            "return str or bytes",
            argument=name,
        )
    if text is not value and " at 0x" in text and _has_own_address(text, value):
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} returned {text[:200]!r}, which has an "
            "address in memory: no other process has the same one, and another object can get it later. "
            "Return a text that identifies the value, such as its primary key",
            argument=name,
        )
    return text.encode("utf-8", "surrogatepass")


_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def _has_own_address(text: str, value: Any) -> bool:
    """Return whether *text* has an address that is not part of the data of *value*."""
    try:
        data = encode(value).lower()
    except TypeError:
        data = b""
    return any(address.lower().encode() not in data for address in _ADDRESS.findall(text))
