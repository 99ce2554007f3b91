"""Values, described by data that can be written as JSON.

A description can be read in any interpreter, and says what a value means without asking the encoding:
``["list", [["int", "1"], ["str", "a"]]]`` is ``[1, "a"]``.

Needs the standard library alone, and pydantic for its models where it is installed.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import struct
import uuid
import zoneinfo
from typing import Any, NamedTuple

try:
    import pydantic
except ImportError:
    pydantic = None  # type: ignore[assignment]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    CRIMSON = 1  # noqa: PIE796 - another name for the same


class Paint(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    RED = 1
    BLUE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    OWN = 4


class Modes(enum.IntFlag):
    READ = 1
    WRITE = 2
    OWN = 4


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


@dataclasses.dataclass
class Spot:
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Fixed:
    __slots__ = ("x", "y")

    x: Any
    y: Any


class Pair(NamedTuple):
    x: Any
    y: Any


class Twin(NamedTuple):
    x: Any
    y: Any


class Outer:
    class Pair(NamedTuple):
        x: Any
        y: Any


class Token:
    """Known by its content, once it is registered."""

    def __init__(self, content):
        self.content = content

    def __repr__(self):
        return f"{type(self).__name__}({self.content!r})"


class SubToken(Token):
    pass


class Ticket:
    def __init__(self, content):
        self.content = content

    def __repr__(self):
        return f"Ticket({self.content!r})"


#: For ``register_type``.
REGISTERED = {Token: lambda token: token.content, Ticket: lambda ticket: ticket.content}

if pydantic is not None:

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

        x: Any
        y: Any
        _note: Any = None

    class Sample(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

        x: Any
        y: Any
        _note: Any = None

    MODELS = {"Model": Model, "Sample": Sample}
else:
    MODELS = {}  # type: ignore[unreachable]

ENUMS = {"Colour": Colour, "Paint": Paint, "Level": Level}
FLAGS = {"Rights": Rights, "Modes": Modes}
RECORDS = {"Point": Point, "Spot": Spot, "Fixed": Fixed, "Pair": Pair, "Twin": Twin, "Outer.Pair": Outer.Pair}
TOKENS = {"Token": Token, "SubToken": SubToken, "Ticket": Ticket}
PATHS = {
    name: getattr(pathlib, name) for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
}
HERE = type(pathlib.Path()).__name__

#: What others are made of by the same rules, for Python's own types.
SEQUENCES, SETS = ("list", "tuple"), ("set", "frozenset")


def build(spec):
    """The value that *spec* describes: a new one at each call."""
    return _BUILDERS[spec[0]](*spec)  # type: ignore[operator]


def meaning(spec):
    """What is the same for two descriptions exactly if their values are to have one encoding."""
    return _MEANINGS[spec[0]](*spec)  # type: ignore[operator]


def _float(_, text):
    if text.startswith("bits:"):
        return struct.unpack(">d", bytes.fromhex(text[5:]))[0]
    return float.fromhex(text)


def _zone(tz):
    return None if tz is None else build(tz)


def _timezone(_, microseconds, name):
    offset = datetime.timedelta(microseconds=microseconds)
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _model(name, x, y, extra, note):
    model = MODELS[name](x=build(x), y=build(y), **{key: build(item) for key, item in extra})
    model._note = build(note)  # type: ignore[attr-defined]
    return model


def members(items):
    """Those of *items* that get into a set: of what Python calls equal, such as 1 and True, the first."""
    found = {}
    for item in items:
        found.setdefault(build(item), item)
    return found


def entries(pairs):
    """As :func:`_members`, for a dict: the first of equal keys, and the last of their values."""
    found = {}
    for key, item in pairs:
        value = build(key)
        found[value] = (found[value][0] if value in found else key, item)
    return found


_BUILDERS = {
    "none": lambda _: None,
    "bool": lambda _, value: value,
    "int": lambda _, text: int(text, 0),
    "float": _float,
    "str": lambda _, text: text,
    "surrogates": lambda _, points: "".join(map(chr, points)),
    "bytes": lambda _, digits: bytes.fromhex(digits),
    "Decimal": lambda _, text: decimal.Decimal(text),
    "date": lambda _, parts: datetime.date(*parts),
    "datetime": lambda _, parts, tz, fold: datetime.datetime(*parts, tzinfo=_zone(tz), fold=fold),  # type: ignore[misc]
    "time": lambda _, parts, tz, fold: datetime.time(*parts, tzinfo=_zone(tz), fold=fold),  # type: ignore[misc]
    "timedelta": lambda _, parts: datetime.timedelta(*parts),
    "timezone": _timezone,
    "ZoneInfo": lambda _, key: zoneinfo.ZoneInfo(key),
    "UUID": lambda _, digits: uuid.UUID(digits),
    "list": lambda _, items: list(map(build, items)),
    "tuple": lambda _, items: tuple(map(build, items)),
    "set": lambda _, items: set(members(items)),
    "frozenset": lambda _, items: frozenset(members(items)),
    "dict": lambda _, pairs: {key: build(item) for key, (_, item) in entries(pairs).items()},
    **dict.fromkeys(ENUMS, lambda name, member: ENUMS[name][member]),
    **dict.fromkeys(FLAGS, lambda name, value: FLAGS[name](value)),
    **dict.fromkeys(RECORDS, lambda name, x, y: RECORDS[name](build(x), build(y))),
    **dict.fromkeys(MODELS, _model),
    **dict.fromkeys(PATHS, lambda name, text: PATHS[name](text)),
    **dict.fromkeys(TOKENS, lambda name, content: TOKENS[name](build(content))),
}


def _without_order(meanings):
    # Counted, since a set can hold two NaNs.
    return frozenset(collections.Counter(meanings).items())


def _float_meaning(kind, text):
    value = _float(kind, text)
    return ("float", "nan" if value != value else value.hex())


def _timezone_meaning(_, microseconds, name):
    if name is None:
        name = _timezone("", microseconds, None).tzname(None)
    return ("timezone", microseconds, name)


def _moment(kind, parts, tz, fold):
    padded = (*parts, 0, 0, 0, 0, 0, 0, 0)[: 7 if kind == "datetime" else 4]
    return (kind, padded, fold, tz and meaning(tz))


_MEANINGS = {
    "none": lambda _: ("none",),
    "bool": lambda _, value: ("bool", value),
    "int": lambda _, text: ("int", int(text, 0)),
    "float": _float_meaning,
    "str": lambda _, text: ("str", text),
    "surrogates": lambda _, points: ("str", "".join(map(chr, points))),
    "bytes": lambda _, digits: ("bytes", bytes.fromhex(digits)),
    # Its text tells all of them apart.
    "Decimal": lambda _, text: ("Decimal", str(decimal.Decimal(text))),
    "date": lambda _, parts: ("date", *parts),
    "datetime": _moment,
    "time": _moment,
    "timedelta": lambda _, parts: ("timedelta", (parts[0] * 86400 + parts[1]) * 10**6 + parts[2]),
    "timezone": _timezone_meaning,
    "ZoneInfo": lambda _, key: ("ZoneInfo", key),
    "UUID": lambda _, digits: ("UUID", int(digits, 16)),
    **dict.fromkeys(SEQUENCES, lambda _, items: ("sequence", tuple(map(meaning, items)))),
    **dict.fromkeys(SETS, lambda _, items: ("set", _without_order(map(meaning, members(items).values())))),
    "dict": lambda _, pairs: (
        "dict",
        _without_order((meaning(key), meaning(item)) for key, item in entries(pairs).values()),
    ),
    **dict.fromkeys(ENUMS, lambda name, member: (name, "RED" if member == "CRIMSON" else member)),
    **dict.fromkeys(FLAGS, lambda name, value: (name, value)),
    **dict.fromkeys(RECORDS, lambda name, x, y: (name, meaning(x), meaning(y))),
    **dict.fromkeys(
        MODELS,
        lambda name, x, y, extra, note: (
            *(name, meaning(x), meaning(y), meaning(note)),
            _without_order((key, meaning(item)) for key, item in dict(extra).items()),
        ),
    ),
    **dict.fromkeys(PATHS, lambda name, text: (name, str(PATHS[name](text)))),
    **dict.fromkeys(TOKENS, lambda name, content: (name, meaning(content))),
}

KINDS = frozenset(_BUILDERS)
