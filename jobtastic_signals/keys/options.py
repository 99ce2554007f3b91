"""The options that say which calls of a task are identical."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..options import Option
from .texts import ToStr

__all__ = ["CACHE_PREFIX", "SIGNIFICANT_KWARGS"]


def _parse_significant(value: Any) -> tuple[tuple[str, ToStr | None], ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError("not a list")
    parsed: dict[str, ToStr | None] = {}
    for entry in value:
        name, to_str = (entry, None) if isinstance(entry, str) else _pair(entry)
        if name in parsed:
            raise ValueError(f"{name!r} is named twice")
        parsed[name] = to_str
    return tuple(sorted(parsed.items(), key=lambda item: item[0]))


def _pair(entry: Any) -> tuple[str, ToStr]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise TypeError(f"{entry!r} is neither a name nor a pair of name and function")
    name, to_str = entry
    if not isinstance(name, str) or not callable(to_str):
        raise TypeError(f"{entry!r} is not a pair of name and function")
    return name, to_str


def _parse_prefix(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise TypeError("not a text, or an empty one")


SIGNIFICANT_KWARGS = Option(
    "significant_kwargs",
    default=None,
    accepts="a list of argument names of the task, or of (name, to_str) pairs; with an empty list, all "
    "calls are identical",
    parse=_parse_significant,
)

CACHE_PREFIX = Option(
    "cache_prefix",
    default=None,
    accepts="a text that is not empty; tasks with the same prefix share results",
    parse=_parse_prefix,
)
