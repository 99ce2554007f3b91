"""The options of a task that are about memory."""

from __future__ import annotations

from typing import Any

from ..options import Option, finite_number

__all__ = ["OPTIONS"]


def _parse_trace(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")
    return value


MEMLEAK_THRESHOLD = Option(
    "memleak_threshold",
    default=-1,
    accepts="the megabytes (10^6 bytes) that a run may add to the memory of its process without a warning, "
    "such as 50; negative for no warnings",
    parse=finite_number,
)

MEMLEAK_TRACE = Option(
    "memleak_trace",
    default=False,
    accepts="True to trace the run after a warning with tracemalloc, once an hour at most, or False",
    parse=_parse_trace,
)

OPTIONS: tuple[Option, ...] = (MEMLEAK_THRESHOLD, MEMLEAK_TRACE)
