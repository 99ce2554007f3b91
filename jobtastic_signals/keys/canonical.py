"""The canonical bytes of a value: the same for the same value, different for any other.

Every value is written as a tag for its type, followed by its content. A reader knows where the content ends.
It has a fixed size, it starts with its length or its number of items, or it ends with a ``;`` that it cannot
contain. So concatenation never makes two different values equal (the idea of netstrings and of bencode). Sets
and dicts are sorted, so neither their order nor Python's hash seed matters.

Only exact types have a canonical form, since a subclass can hold more than its base. Enums, dataclasses,
named tuples and pydantic models are written as the name of their class and their fields.
:func:`register_type` adds other types.

This module and :mod:`.instances` import only the standard library, so that each version of Python can check
the bytes of the others.
"""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import struct
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .instances import REGISTERED, content_of, name_of, short_repr

__all__ = ["MAX_DEPTH", "WRITERS", "chunks_of", "encode", "register_type"]

#: Containers may nest this deep; a cycle is deeper than any limit.
MAX_DEPTH = 200


def encode(value: Any, *, name: str = "value") -> bytes:
    """Return the canonical bytes of *value*.

    Values that Python calls equal can differ here: ``1`` and ``True``, ``0.0`` and ``-0.0``,
    ``Decimal("1.0")`` and ``Decimal("1.00")``. A list and a tuple of the same items are the same, and so are
    a set and a frozenset.

    :param name: the name of the value in an error.
    :raises TypeError: for a type without a canonical form, and for nesting beyond :data:`MAX_DEPTH`. The
        message says which part of the value, and where it is.

    >>> encode({"b": [1, True], "a": None}) == encode({"a": None, "b": [1, True]})
    True
    >>> len({encode(1), encode(1.0), encode(True), encode("1"), encode(b"1")})
    5
    >>> encode({"rows": [1, iter([])]}, name="x")
    Traceback (most recent call last):
      ...
    TypeError: x['rows'][1] is of type builtins.list_iterator
    """
    return b"".join(chunks_of(value, name=name))


def register_type(cls: type, content: Callable[[Any], Any]) -> None:
    """Give instances of *cls* and of its subclasses a canonical form.

    Call it where the class is defined, so that callers and workers both do. *content* has to return different
    contents for any two instances that a task must not take for the same. Registering a class again replaces
    its earlier function.

    :param content: gets the instance, and returns anything that has a canonical form.
    :raises TypeError: if *cls* is not a class, or *content* is not callable.
    :raises ValueError: for a type that has a canonical form already, since all its keys would change.

    >>> class Customer:
    ...     def __init__(self, number):
    ...         self.number = number
    >>> register_type(Customer, lambda customer: customer.number)
    >>> encode(Customer(5)) == encode(Customer(5)) != encode(Customer(6))
    True
    """
    # Python 3.10 takes list[int] for a class.
    if not isinstance(cls, type) or typing.get_origin(cls) is not None:
        raise TypeError(f"register_type takes a class, and {cls!r} is not one")
    if not callable(content):
        raise TypeError(
            f"register_type takes a function of an instance of {cls.__name__}, and {content!r} is not one"
        )
    if cls in WRITERS or cls is object:
        raise ValueError(f"{cls.__name__} cannot be registered, because it has a canonical form already")
    REGISTERED[cls] = content


def chunks_of(value: Any, *, name: str = "value") -> list[bytes]:
    """Do the same as :func:`encode`, in chunks, so that large values need not be copied to be hashed."""
    chunks: list[bytes] = []
    try:
        _write(value, chunks, 0)
    except TypeError:
        raise TypeError(_reason(value, name)) from None
    return chunks


_TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels, or contains itself"
_LONG = 16  # Items. For fewer, the fast way is not faster.
_Writer = Callable[[Any, list[bytes], int], None]


def _write(value: Any, out: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TypeError(_TOO_DEEP)
    WRITERS.get(type(value), _instance)(value, out, depth + 1)


def _bytes_of(value: Any, depth: int) -> bytes:
    out: list[bytes] = []
    _write(value, out, depth)
    return b"".join(out)


def _none(value: None, out: list[bytes], _: int) -> None:
    out.append(b"N")


def _bool(value: bool, out: list[bytes], _: int) -> None:
    out.append(b"T" if value else b"F")


def _int(value: int, out: list[bytes], _: int) -> None:
    out.append(b"i%x;" % value)


def _float(value: float, out: list[bytes], _: int) -> None:
    # There are many NaNs, and all mean the same.
    out.append(b"f" + struct.pack(">d", value if value == value else math.nan))


def _str(value: str, out: list[bytes], _: int = 0) -> None:
    raw = value.encode("utf-8", "surrogatepass")
    out += b"s%d:" % len(raw), raw


def _bytes(value: bytes, out: list[bytes], _: int) -> None:
    out += b"b%d:" % len(value), value


def _decimal(value: decimal.Decimal, out: list[bytes], _: int) -> None:
    # Not its text, which depends on the decimal context.
    sign, digits, exponent = value.as_tuple()
    out.append(f"D{sign},{''.join(map(str, digits))},{exponent};".encode())


def _moment(tag: str, value: datetime.datetime | datetime.time, out: list[bytes], depth: int) -> None:
    wall = value.replace(tzinfo=None, fold=0)
    out.append(f"{tag}{wall.isoformat()},{value.fold};".encode())
    _write(value.tzinfo, out, depth)


def _datetime(value: datetime.datetime, out: list[bytes], depth: int) -> None:
    _moment("m", value, out, depth)


def _time(value: datetime.time, out: list[bytes], depth: int) -> None:
    _moment("h", value, out, depth)


def _date(value: datetime.date, out: list[bytes], _: int) -> None:
    out.append(f"a{value.isoformat()};".encode())


def _timedelta(value: datetime.timedelta, out: list[bytes], _: int) -> None:
    out.append(b"p%d,%d,%d;" % (value.days, value.seconds, value.microseconds))


def _timezone(value: datetime.timezone, out: list[bytes], depth: int) -> None:
    out.append(b"z")
    _timedelta(value.utcoffset(None), out, depth)
    _str(value.tzname(None), out)


def _zoneinfo(value: zoneinfo.ZoneInfo, out: list[bytes], _: int) -> None:
    if value.key is None:
        raise TypeError("is a time zone that was read from a file and has no name")
    out.append(b"Z")
    _str(value.key, out)


def _uuid(value: uuid.UUID, out: list[bytes], _: int) -> None:
    out.append(b"u" + value.bytes)


def _path(value: pathlib.PurePath, out: list[bytes], _: int) -> None:
    # Not the full name of the class: its module differs between versions of Python.
    out.append(b"P")
    _str(type(value).__name__, out)
    _str(str(value), out)


def _sequence(value: list[Any] | tuple[Any, ...], out: list[bytes], depth: int) -> None:
    if len(value) < _LONG or not _long_sequence(value, out):
        out.append(b"l%d:" % len(value))
        if value and depth > MAX_DEPTH:
            raise TypeError(_TOO_DEEP)
        for item in value:  # Not by _write(), since a call costs as much as a small item.
            WRITERS.get(type(item), _instance)(item, out, depth + 1)


def _long_sequence(value: list[Any] | tuple[Any, ...], out: list[bytes]) -> bool:
    """Write many 64-bit integers or many texts at the speed of C. Return ``False`` for other items."""
    kinds = set(map(type, value))
    if kinds == {int}:
        try:
            out += b"I%d:" % len(value), struct.pack(f">{len(value)}q", *value)
        except struct.error:
            return False
        return True
    if kinds == {str}:
        out += b"X%d:" % len(value), struct.pack(f">{len(value)}Q", *map(len, value))
        _str("".join(value), out)
        return True
    return False


def _set(value: Iterable[Any], out: list[bytes], depth: int) -> None:
    items = sorted([_bytes_of(item, depth) for item in value])
    out.append(b"S%d:" % len(items))
    out += items


def _mapping(value: Mapping[Any, Any], out: list[bytes], depth: int) -> None:
    out.append(b"d%d:" % len(value))
    if set(map(type, value)) == {str}:
        for key in sorted(value):
            _str(key, out)
            _write(value[key], out, depth)
        return
    # As pairs, since two keys can have the same form: NaN and NaN.
    for pair in sorted([(_bytes_of(key, depth), _bytes_of(item, depth)) for key, item in value.items()]):
        out += pair


def _instance(value: Any, out: list[bytes], depth: int) -> None:
    frozen = _FROZEN.get((type(value).__module__, type(value).__name__))
    if frozen is not None:
        frozen(value, out, depth)
        return
    tag, content = content_of(value, WRITERS)
    out.append(tag)
    _str(name_of(type(value)), out)
    _write(content, out, depth)


def _reason(value: Any, name: str) -> str:
    """Return why *value* has no form: its innermost part without one, and the reason."""
    place = name
    for depth in range(MAX_DEPTH + 1):
        part = next((part for part in _parts(value, place) if _obstacle(part[1], depth + 1)), None)
        if part is None:
            return f"{place} {_obstacle(value, depth)}"
        place, value = part
    return f"{name} {_TOO_DEEP}"


def _obstacle(value: Any, depth: int) -> str | None:
    try:
        _write(value, [], depth)
    except TypeError as error:
        return str(error)
    return None


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of *value*, which is at *place*, each with its own place."""
    kind = type(value)
    if kind in (list, tuple):
        yield from ((f"{place}[{index}]", item) for index, item in enumerate(value))
    elif kind is dict:
        yield from ((f"a key of {place}", key) for key in value)
        yield from ((f"{place}[{short_repr(key)}]", item) for key, item in value.items())
    elif kind in (set, frozenset):
        yield from ((f"an item of {place}", item) for item in value)
    elif kind not in WRITERS:
        try:
            tag, content = content_of(value, WRITERS)
        except TypeError:
            return
        if tag == b"C":
            yield from ((f"{place}.{name}", item) for name, item in content.items())
        else:
            yield f"the content of {place}", content


#: For each type that has a form: what adds the form of a value, at a depth, to a list of chunks.
WRITERS: Mapping[type, _Writer] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    decimal.Decimal: _decimal,
    datetime.datetime: _datetime,
    datetime.date: _date,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    datetime.timezone: _timezone,
    zoneinfo.ZoneInfo: _zoneinfo,
    uuid.UUID: _uuid,
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    pathlib.PosixPath: _path,
    pathlib.WindowsPath: _path,
    list: _sequence,
    tuple: _sequence,
    set: _set,
    frozenset: _set,
    dict: _mapping,
}

#: Classes that replace Python's own while a test has frozen the time.
_FROZEN: Mapping[tuple[str, str], _Writer] = {
    ("freezegun.api", "FakeDate"): _date,
    ("freezegun.api", "FakeDatetime"): _datetime,
}
