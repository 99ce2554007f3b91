"""The arguments of a call on a command line: JSON, or plain text where that cannot be mistaken for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..common import EXIT_UNKNOWN, CommandError

__all__ = ["arguments_in"]

_NAMED = re.compile(r"(?P<name>[^\W\d]\w*)=(?P<value>.*)", re.DOTALL)

#: What JSON begins with that is no number and no word.
_JSON = ("[", "{", '"')


def arguments_in(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments that *words* stand for.

    :raises CommandError: for broken JSON, and for an argument that comes twice.

    >>> arguments_in(["acme", "2026", '["a", "b"]', "verbose=true", 'year="2026"'])
    (['acme', 2026, ['a', 'b']], {'verbose': True, 'year': '2026'})
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        named = _NAMED.fullmatch(word)
        if named is None:
            if kwargs:
                raise CommandError(f"{word!r} comes after a named argument; put it before.", EXIT_UNKNOWN)
            args.append(_value(word))
        elif named["name"] in kwargs:
            raise CommandError(f"The argument {named['name']!r} is given twice.", EXIT_UNKNOWN)
        else:
            kwargs[named["name"]] = _value(named["value"])
    return args, kwargs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.startswith(_JSON):
            raise CommandError(f"The argument {text!r} is not JSON: {error}.", EXIT_UNKNOWN) from error
        return text
