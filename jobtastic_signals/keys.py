"""Cache keys: one text for all calls that are the same.

A key names the task's family and a digest of the call's significant arguments, bound to the task's
signature: ``f(1)``, ``f(x=1)`` and, with a default of 1, ``f()`` have one key.

Arguments are first brought to what the task's serializer makes of them (under JSON a tuple is a list and
a dict's keys are text), so that caller and worker see the same. Then each becomes bytes, by the option's
``to_str`` or by :func:`encode`, which is canonical and injective: every value is tagged with its type
and its length, so that no two different calls can meet by concatenation, and the order of dicts and sets
does not matter.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import inspect
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celery import Task
from kombu import serialization
from kombu.exceptions import KombuError

from .errors import OptionError, UnkeyableError
from .options import Option, name_of

__all__ = ["CACHE_PREFIX", "SIGNIFICANT_KWARGS", "KeyRecipe", "encode"]

SCHEME = "v1"

#: Containers may nest this deep; a cycle is deeper than any limit.
MAX_DEPTH = 200

ToStr = Callable[[Any], "str | bytes"]


def _parse_significant(value: Any) -> tuple[tuple[str, ToStr | None], ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError("not a list")
    parsed: dict[str, ToStr | None] = {}
    for entry in value:
        name, to_str = (entry, None) if isinstance(entry, str) else _pair(entry)
        if name in parsed:
            raise ValueError(f"{name!r} stands there twice")
        parsed[name] = to_str
    return tuple(sorted(parsed.items(), key=lambda item: item[0]))


def _pair(entry: Any) -> tuple[str, ToStr]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise TypeError(f"{entry!r} is neither a name nor a pair of name and function")
    name, to_str = entry
    if not isinstance(name, str) or not callable(to_str):
        raise TypeError(f"{entry!r} is not a pair of name and function")
    return name, to_str


def _parse_prefix(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise TypeError("not a text, or an empty one")


SIGNIFICANT_KWARGS = Option(
    "significant_kwargs",
    default=None,
    accepts="a list of argument names of the task, or of (name, to_str) pairs; an empty list makes all "
    "calls the same",
    parse=_parse_significant,
)

CACHE_PREFIX = Option(
    "cache_prefix",
    default=None,
    accepts="a text that names the family of calls which share results",
    parse=_parse_prefix,
)


class KeyRecipe:
    """How to make the keys of one task; what can be done once for all its calls is done here.

    :param task: the task class, its annotations applied.
    :param options: its options, read.
    :raises OptionError: if ``significant_kwargs`` names what the task does not take.
    """

    def __init__(self, task: type[Task], options: Mapping[str, Any]) -> None:
        self._signature = _signature_of(task)
        self._significant: tuple[tuple[str, ToStr | None], ...] | None = options["significant_kwargs"]
        self._prefix: str | None = options["cache_prefix"]
        self._catch_all = _catch_all_of(self._signature)
        self._check_names(task)

    def key(self, task: Task, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None) -> str:
        """The key of calling *task* with *args* and *kwargs*.

        :raises TypeError: if the task does not take such arguments.
        :raises UnkeyableError: for an argument that has no canonical form.
        """
        serializer = task.serializer or task.app.conf.task_serializer
        arguments = self._bind(*_without_models(task, args or (), kwargs or {}, serializer))
        digest = hashlib.blake2b(digest_size=20)
        for name, to_str in self._parts(arguments):
            digest.update(_sized(b"n", name.encode()))
            if name in arguments:
                value = as_delivered(arguments[name], serializer)
                digest.update(_encode_argument(task, name, value, to_str))
        return f"{SCHEME}:{self._prefix or task.name}:{digest.hexdigest()}"

    def _parts(self, arguments: Mapping[str, Any]) -> Iterable[tuple[str, ToStr | None]]:
        if self._significant is not None:
            return self._significant
        return [(name, None) for name in sorted(arguments)]

    def _bind(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._catch_all is None:
            return bound.arguments
        arguments = dict(bound.arguments)
        caught = arguments.pop(self._catch_all)
        # Names caught by **kwargs can be significant like any other. Those that clash with a parameter, as
        # with a positional-only one, stay together under the name of the catch-all.
        clashing = {name: caught.pop(name) for name in (*arguments, self._catch_all) if name in caught}
        return {**arguments, **caught, **({self._catch_all: clashing} if clashing else {})}

    def _check_names(self, task: type[Task]) -> None:
        for name, _ in self._significant or ():
            if name == self._catch_all:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which catches all other "
                    "keywords; it takes the names of those that matter"
                )
            if name not in self._signature.parameters and self._catch_all is None:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which is no argument of "
                    f"the task; it takes {', '.join(self._signature.parameters) or 'none'}"
                )


def _signature_of(task: type[Task]) -> inspect.Signature:
    run = inspect.getattr_static(task, "run")
    # As an instance has it, so without ``self``, and whatever kind of method it is.
    return inspect.signature(run.__get__(object(), task) if hasattr(run, "__get__") else run)


def _catch_all_of(signature: inspect.Signature) -> str | None:
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return parameter.name
    return None


def _without_models(task: Task, args: Any, kwargs: Any, serializer: str) -> tuple[Any, Any]:
    """The arguments with pydantic models dumped, as Celery from 5.7 on does with those of a caller."""
    dump = getattr(task, "_dump_pydantic_arguments", None)
    return (args, kwargs) if dump is None or serializer == "pickle" else dump(args, kwargs)


def as_delivered(value: Any, serializer: str) -> Any:
    """*value* as it comes out of a message that *serializer* wrote.

    What the serializer cannot carry is left as it is: publishing it fails by itself, and an eager run
    never serialises it.

    >>> as_delivered((1, {2: 3}), "json")
    [1, {'2': 3}]
    """
    if value is None or type(value) in (str, int, float, bool) or serializer == "pickle":
        return value
    try:
        content_type, encoding, data = serialization.dumps(value, serializer)
        return serialization.loads(data, content_type, encoding, accept={content_type})
    except (KombuError, TypeError, ValueError, RecursionError):
        return value


def _encode_argument(task: Task, name: str, value: Any, to_str: ToStr | None) -> bytes:
    if to_str is None:
        try:
            return encode(value)
        except TypeError as error:
            raise UnkeyableError(
                f"task {task.name!r}: argument {name!r} has no canonical form ({error}); give it a to_str "
                f"in significant_kwargs, as ({name!r}, str), or leave it out there"
            ) from None
    try:
        text = to_str(value)
    except Exception as error:
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} failed: {error!r}"
        ) from error
    if isinstance(text, str):
        return _sized(b"t", text.encode("utf-8", "surrogatepass"))
    if isinstance(text, bytes):
        return _sized(b"t", text)
    raise UnkeyableError(
        f"task {task.name!r}: the to_str of argument {name!r} gave {type(text).__name__}; it has to give "
        "str or bytes"
    )


def encode(value: Any) -> bytes:
    """The canonical bytes of *value*: the same for the same value, different for any other.

    What Python calls equal can be two values here: ``1`` and ``True``, ``0.0`` and ``-0.0``.

    :raises TypeError: for a type without a canonical form, and for nesting beyond :data:`MAX_DEPTH`.

    >>> encode({"b": [1, True], "a": None}) == encode({"a": None, "b": [1, True]})
    True
    >>> len({encode(1), encode(1.0), encode(True), encode("1"), encode(b"1")})
    5
    """
    return _encode(value, 0)


def _encode(value: Any, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise TypeError(f"it nests deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, enum.Enum):
        kind = type(value)
        return _sized(b"E", _text(f"{kind.__module__}.{kind.__qualname__}") + _text(value.name))
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise TypeError(
            f"{type(value).__module__}.{type(value).__qualname__} is not a type that can be encoded"
        )
    return encoder(value, depth + 1)


def _sized(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _text(value: str) -> bytes:
    return _sized(b"s", value.encode("utf-8", "surrogatepass"))


def _float(value: float, _: int) -> bytes:
    return _sized(b"f", b"nan" if math.isnan(value) else value.hex().encode())


def _sequence(value: Iterable[Any], depth: int) -> bytes:
    return _sized(b"l", b"".join([_encode(item, depth) for item in value]))


def _set(value: Iterable[Any], depth: int) -> bytes:
    return _sized(b"S", b"".join(sorted([_encode(item, depth) for item in value])))


def _mapping(value: Mapping[Any, Any], depth: int) -> bytes:
    items = sorted([(_encode(key, depth), _encode(item, depth)) for key, item in value.items()])
    return _sized(b"d", b"".join([part for pair in items for part in pair]))


_ENCODERS: Mapping[type, Callable[[Any, int], bytes]] = {
    type(None): lambda value, _: b"N",
    bool: lambda value, _: b"T" if value else b"F",
    int: lambda value, _: _sized(b"i", b"%x" % value),
    float: _float,
    str: lambda value, _: _text(value),
    bytes: lambda value, _: _sized(b"b", value),
    decimal.Decimal: lambda value, _: _sized(b"D", str(value).encode()),
    datetime.datetime: lambda value, _: _sized(b"m", value.isoformat().encode()),
    datetime.date: lambda value, _: _sized(b"a", value.isoformat().encode()),
    datetime.time: lambda value, _: _sized(b"h", value.isoformat().encode()),
    datetime.timedelta: lambda value, _: _sized(
        b"p", b"%d,%d,%d" % (value.days, value.seconds, value.microseconds)
    ),
    uuid.UUID: lambda value, _: _sized(b"u", value.bytes),
    list: _sequence,
    tuple: _sequence,
    set: _set,
    frozenset: _set,
    dict: _mapping,
}
