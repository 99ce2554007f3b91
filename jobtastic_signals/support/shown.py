"""Show values from outside in messages: on one line, not too long, and without raising.

Ids, keys and reasons come from whoever can publish or write to the store. A line break in one of them would
start a forged line in the log, and an escape sequence would reach the terminal of whoever reads it.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from .safe_text import safe_repr, safe_str
from .time_limits import caught

__all__ = ["one_line", "shown", "shown_error"]

#: How many characters of a value are shown, and how many of a message.
LONGEST, LONGEST_MESSAGE = 200, 1000

# What ids, keys and host names consist of where nothing is wrong with them.
_PLAIN = re.compile(rf"[A-Za-z0-9_.:@/+\[\]-]{{1,{LONGEST}}}")

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST


def shown(value: Any) -> str:
    r"""Return *value* as a message shows it: a plain name or id as it is, anything else as a short ``repr``.

    >>> shown("v1:proj.report:0123")
    'v1:proj.report:0123'
    >>> shown("done\nERROR the disk is full")
    "'done\\nERROR the disk is full'"
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    text = ""
    with caught(lambda error: None):
        text = _REPR.repr(value)
    return one_line(text or safe_repr(value), LONGEST)


def shown_error(error: BaseException) -> str:
    r"""Return the type and the message of *error* on one line.

    >>> shown_error(ValueError("no\nnumber"))
    'ValueError: no\\nnumber'
    """
    text, name = safe_str(error), type(error).__name__
    return one_line(f"{name}: {text}" if text else name)


def one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    r"""Return *text* with escapes for what cannot be printed, and without its middle if it is long.

    >>> one_line("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    if len(text) > longest:
        half = (longest - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
