"""The canonical bytes of a value: the same for the same value, different for any other.

Every value is written as a tag that names its type and then its content, of which the reader knows the
end: it has a fixed size, a length or a number of items in front, or a ``;`` that cannot be in it. So no two
values meet by concatenation (the idea of netstrings and of bencode). Sets and dicts are sorted, so neither
their order nor Python's hash seed matters.

Only exact types have a canonical form, since a subclass can mean more than its base says. Enums,
dataclasses, named tuples and pydantic models are known by the name of their class and their fields, and
:func:`register_type` adds others.

This module needs the standard library alone, so that every Python can check the others' bytes.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import math
import pathlib
import reprlib
import struct
import sys
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = ["MAX_DEPTH", "chunks_of", "encode", "register_type"]

#: Containers may nest this deep; a cycle is deeper than any limit.
MAX_DEPTH = 200


def encode(value: Any, *, name: str = "value") -> bytes:
    """The canonical bytes of *value*.

    What Python calls equal can be two values here: ``1`` and ``True``, ``0.0`` and ``-0.0``,
    ``Decimal("1.0")`` and ``Decimal("1.00")``. A list and a tuple of the same items are one, as are a set
    and a frozenset.

    :param name: what to call the value in an error.
    :raises TypeError: for a type without a canonical form, and for nesting beyond :data:`MAX_DEPTH`; it
        says what is in the way, and where.

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

    Call it where the class is defined, so that callers and workers both do. Together with its class's
    name, what *content* returns has to tell one value from all others that the task should not take for
    the same. Registering a class again replaces what was said before.

    :param content: gets the instance, and returns anything that has a canonical form.
    :raises TypeError: if *cls* is no class, or *content* cannot be called.
    :raises ValueError: for a type that has a form already, whose keys would change for everybody.

    >>> class Customer:
    ...     def __init__(self, number):
    ...         self.number = number
    >>> register_type(Customer, lambda customer: customer.number)
    >>> encode(Customer(5)) == encode(Customer(5)) != encode(Customer(6))
    True
    """
    # Python 3.10 takes list[int] for a class.
    if not isinstance(cls, type) or typing.get_origin(cls) is not None:
        raise TypeError(f"register_type takes a class, and not {cls!r}")
    if not callable(content):
        raise TypeError(f"register_type takes a function of an instance of {cls.__name__}, not {content!r}")
    if cls in _WRITERS or cls is object:
        raise ValueError(f"{cls.__name__} cannot be registered: it is one of Python's own")
    _REGISTERED[cls] = content


def chunks_of(value: Any, *, name: str = "value") -> list[bytes]:
    """As :func:`encode`, in pieces, so that what is big need not be copied to be digested."""
    chunks: list[bytes] = []
    try:
        _write(value, chunks, 0)
    except TypeError:
        raise TypeError(_refusal(value, name)) from None
    return chunks


_TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels, or contains itself"

# Items. For fewer there is nothing to win.
_LONG = 16

_REGISTERED: dict[type, Callable[[Any], Any]] = {}

_Writer = Callable[[Any, list[bytes], int], None]


def _write(value: Any, out: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TypeError(_TOO_DEEP)
    _WRITERS.get(type(value), _instance)(value, out, depth + 1)


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
    # Not its text, which the context can change.
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
        raise TypeError("is a time zone that was read from a file, and has no name")
    out.append(b"Z")
    _str(value.key, out)


def _uuid(value: uuid.UUID, out: list[bytes], _: int) -> None:
    out.append(b"u" + value.bytes)


def _path(value: pathlib.PurePath, out: list[bytes], _: int) -> None:
    # Not the class's full name: its module differs between Pythons.
    out.append(b"P")
    _str(type(value).__name__, out)
    _str(str(value), out)


def _sequence(value: list[Any] | tuple[Any, ...], out: list[bytes], depth: int) -> None:
    if len(value) < _LONG or not _long_sequence(value, out):
        out.append(b"l%d:" % len(value))
        for item in value:
            _write(item, out, depth)


def _long_sequence(value: list[Any] | tuple[Any, ...], out: list[bytes]) -> bool:
    """Write many numbers of 64 bits, or many texts, at the speed of C; whether that is what *value* holds."""
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
    # As pairs, since there can be two keys with one form: NaN and NaN.
    for pair in sorted([(_bytes_of(key, depth), _bytes_of(item, depth)) for key, item in value.items()]):
        out += pair


def _instance(value: Any, out: list[bytes], depth: int) -> None:
    stand_in = _STAND_INS.get((type(value).__module__, type(value).__name__))
    if stand_in is not None:
        stand_in(value, out, depth)
        return
    tag, content = _content_of(value)
    out.append(tag)
    _str(_name_of(type(value)), out)
    _write(content, out, depth)


def _content_of(value: Any) -> tuple[bytes, Any]:
    """What tells an instance of somebody's class from the others of that class, and how it was found."""
    cls = type(value)
    for base in cls.__mro__:
        if base in _REGISTERED:
            return b"R", _registered_content(value, base)
    if issubclass(cls, enum.Enum):
        # Pythons differ in how they name what flags make together.
        return b"E", value.value if issubclass(cls, enum.Flag) else value.name
    fields = getattr(cls, "_fields", None)
    if issubclass(cls, tuple) and isinstance(fields, tuple) and len(fields) == len(value):
        return b"C", {**dict(zip(fields, value, strict=True)), **_beside(value, fields)}
    if not _WRITERS.keys().isdisjoint(cls.__mro__):
        raise TypeError(f"is of type {cls.__module__}.{cls.__qualname__}, which can hold more than its base")
    if "__dataclass_fields__" in vars(cls):
        names = [field.name for field in dataclasses.fields(value)]
        return b"C", {**_attributes(value, names), **_beside(value, names)}
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel) and hasattr(cls, "model_fields"):
        beside = {name: getattr(value, name, None) for name in ("__pydantic_extra__", "__pydantic_private__")}
        more = {name: content for name, content in beside.items() if content}
        return b"C", {**_attributes(value, cls.model_fields), **more}
    raise TypeError(f"is of type {cls.__module__}.{cls.__qualname__}")


def _registered_content(value: Any, base: type) -> Any:
    try:
        return _REGISTERED[base](value)
    except Exception as error:
        raise TypeError(
            f"is of type {base.__qualname__}, whose registered function failed: {error!r}"
        ) from error


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    try:
        return {name: getattr(value, name) for name in names}
    except AttributeError as error:
        raise TypeError(f"is incomplete ({error})") from None


def _beside(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """What was set on an instance besides its fields, but for what it computed from them."""
    more = {
        name: content
        for name, content in getattr(value, "__dict__", {}).items()
        if name not in names and not isinstance(getattr(type(value), name, None), functools.cached_property)
    }
    return {"__dict__": more} if more else {}


def _name_of(cls: type) -> str:
    if "<locals>" in cls.__qualname__:
        raise TypeError(
            f"is of the class {cls.__qualname__}, which is defined in a function, so others can have its name"
        )
    return f"{cls.__module__}:{cls.__qualname__}"


def _refusal(value: Any, name: str) -> str:
    """What is in the way of *value*, which goes by *name*: the innermost part without a form."""
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


def _shown(key: Any) -> str:
    try:
        return reprlib.repr(key)
    except Exception:  # Such as an int with too many digits for a text.
        return f"<{type(key).__name__}>"


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """What *value*, which stands at *place*, is made of, each with its own place."""
    kind = type(value)
    if kind in (list, tuple):
        yield from ((f"{place}[{index}]", item) for index, item in enumerate(value))
    elif kind is dict:
        yield from ((f"a key of {place}", key) for key in value)
        yield from ((f"{place}[{_shown(key)}]", item) for key, item in value.items())
    elif kind in (set, frozenset):
        yield from ((f"an item of {place}", item) for item in value)
    elif kind not in _WRITERS:
        try:
            tag, content = _content_of(value)
        except TypeError:
            return
        if tag == b"C":
            yield from ((f"{place}.{name}", item) for name, item in content.items())
        else:
            yield f"the content of {place}", content


_WRITERS: Mapping[type, _Writer] = {
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

#: Classes that stand for Python's own while a test has frozen the time.
_STAND_INS: Mapping[tuple[str, str], _Writer] = {
    ("freezegun.api", "FakeDate"): _date,
    ("freezegun.api", "FakeDatetime"): _datetime,
}
