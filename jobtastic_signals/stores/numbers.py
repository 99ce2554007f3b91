"""Options of stores that are numbers."""

from __future__ import annotations

import math
from typing import Any

from ..support.safe_text import safe_repr

__all__ = ["number_or_text", "positive"]


def positive(name: str, value: Any) -> float:
    """Return *value*, which is the option *name* of a store.

    :raises TypeError: if it is not a finite number above 0.

    >>> positive("timeout", 0.25)
    0.25
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise TypeError(f"{name}={safe_repr(value)} is not a positive number")
    return value


def number_or_text(text: str) -> int | float | str:
    """Return the number that *text* is, or else the text.

    >>> number_or_text("3"), number_or_text("0.5"), number_or_text("three")
    (3, 0.5, 'three')
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
