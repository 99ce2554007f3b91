"""What has no canonical form."""

import collections
import dataclasses
import enum
import sys
import threading
from typing import Any

from jobtastic_signals.keys.canonical import MAX_DEPTH


class Whole(int):
    pass


class Words(str):
    pass


class Rows(list):
    pass


class Table(dict):
    pass


class Plain:
    pass


def _local():
    class Local:
        pass

    return Local()


def _local_enum():
    return enum.Enum("Local", "RED", qualname="_local_enum.<locals>.Local").RED  # type: ignore[attr-defined]


def _local_dataclass():
    @dataclasses.dataclass
    class Local:
        x: int = 1

    return Local()


def _local_error():
    class LocalError(Exception):
        pass

    return LocalError("x")


def _cycle(kind):
    value = kind()
    if kind is list:
        value.append((value,))
    else:
        value["x"] = [value]
    return value


def _deep(kind):
    value: Any = 1
    for _ in range(MAX_DEPTH + 1):
        value = {"x": value} if kind is dict else kind([value])
    return value


#: Each makes a new one.
UNKNOWN = {
    "object": object,
    "instance": Plain,
    "generator": lambda: (each for each in ()),
    "iterator": lambda: iter([1]),
    "lock": threading.Lock,
    "lambda": lambda: lambda: None,
    "function": lambda: len,
    "method": lambda: [].append,
    "module": lambda: sys,
    "class": lambda: Plain,
    "builtin class": lambda: int,
    "complex": lambda: 1j,
    "bytearray": lambda: bytearray(b"a"),
    "memoryview": lambda: memoryview(b"a"),
    "range": lambda: range(3),
    "ellipsis": lambda: ...,
    "OrderedDict": lambda: collections.OrderedDict(a=1),
    "defaultdict": lambda: collections.defaultdict(int, a=1),
    "Counter": lambda: collections.Counter("a"),
    "deque": lambda: collections.deque([1]),
    "keys": lambda: {}.keys(),
    "error": lambda: ValueError("x"),
    "subclass of int": lambda: Whole(1),
    "subclass of str": lambda: Words("a"),
    "subclass of list": lambda: Rows([1]),
    "subclass of dict": lambda: Table(a=1),
    "local class": _local,
    "local exception": _local_error,
    "local enum": _local_enum,
    "local dataclass": _local_dataclass,
}

#: What has no end, or seems to. To say where costs a thousand times as much as for others.
ENDLESS = {
    "cyclic list": lambda: _cycle(list),
    "cyclic dict": lambda: _cycle(dict),
    "deep list": lambda: _deep(list),
    "deep tuple": lambda: _deep(tuple),
    "deep dict": lambda: _deep(dict),
    "deep set": lambda: _deep(frozenset),
}

FOREIGN = {**UNKNOWN, **ENDLESS}

#: Those whose text has their address in memory.
WITH_ADDRESS = ("object", "instance", "generator", "iterator", "lock", "lambda", "method", "memoryview")
