"""Text for foreign objects, whose own methods can raise, also while a failure is being reported."""

from __future__ import annotations

from typing import Any

from .time_limits import caught

__all__ = ["class_name", "safe_repr", "safe_str"]

#: Python converts integers of this size to decimal text, however low its limit for that is set.
MOST_BITS = 2048

# The attributes of a class as Python keeps them. A metaclass can hide them behind its own.
_QUALNAME, _MODULE = vars(type)["__qualname__"], vars(type)["__module__"]
_ARGUMENTS = vars(BaseException)["args"]


def safe_repr(value: object) -> str:
    """Return ``repr(value)``, or the best text there is if that raises. Only a soft time limit is raised.

    The text can be encoded as UTF-8.

    >>> class Broken(Exception):
    ...     def __repr__(self):
    ...         return self.missing
    >>> safe_repr(Broken("no", 7)), safe_repr("text")
    ("Broken('no', 7)", "'text'")
    """
    with caught(_pass):
        return _encodable(_number(value) or repr(value))
    if issubclass(type(value), BaseException):
        with caught(_pass):
            arguments = ", ".join(safe_repr(each) for each in _ARGUMENTS.__get__(value))
            return f"{class_name(value).rpartition('.')[2]}({arguments})"
    return f"<{class_name(value)} object>"


def safe_str(value: object) -> str:
    """Return ``str(value)``, or the same as :func:`safe_repr` if that raises.

    >>> safe_str("text"), safe_str(b"bytes"), len(safe_str(10**5000))
    ('text', "b'bytes'", 4155)
    """
    kind = type(value)
    with caught(_pass):
        # A text that is a member of an enum means its characters. The str() of bytes can be an error.
        if not issubclass(kind, (str, bytes)):
            return _encodable(_number(value) or str(value))
        if issubclass(kind, str):
            return _encodable(value)
    return safe_repr(value)


def class_name(value: object) -> str:
    """Return the full name of the class of *value*.

    >>> class_name(ValueError())
    'builtins.ValueError'
    """
    name = "object"
    with caught(_pass):
        name = f"{_MODULE.__get__(type(value))}.{_QUALNAME.__get__(type(value))}"
    return _encodable(name)


def _pass(error: Exception) -> None:
    """Go on to the next best text."""


def _number(value: Any) -> str | None:
    """Return an integer as hexadecimal text if decimal text of it may be refused. It takes linear time."""
    if isinstance(value, int) and int.bit_length(value) > MOST_BITS:
        return hex(int.__index__(value))
    return None


def _encodable(text: Any) -> str:
    """Return a text, or one of a subclass, as plain text, with lone surrogates made visible."""
    plain = str.__str__(text)
    return plain if plain.isascii() else plain.encode(errors="backslashreplace").decode()
