"""Options of stores that are numbers."""

from __future__ import annotations

import math
from typing import Any

from ..support.safe_text import safe_repr

__all__ = ["positive"]


def positive(name: str, value: Any) -> float:
    """Return *value*, which is the option *name* of a store.

    :raises TypeError: if it is not a finite number above 0.

    >>> positive("timeout", 0.25)
    0.25
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise TypeError(f"{name}={safe_repr(value)} is not a positive number")
    return value
