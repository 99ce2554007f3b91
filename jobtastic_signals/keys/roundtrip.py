"""What a task's serializer makes of arguments on their way to the worker.

Under JSON a tuple arrives as a list and a dict's keys as text. A key is made of what arrives, so that
caller and worker make the same.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable, Iterable, Set
from functools import lru_cache
from typing import Any

from celery import Task
from kombu import serialization
from kombu.exceptions import KombuError

from .canonical import MAX_DEPTH, encode

__all__ = ["delivery_by", "models_dumped", "serializer_of"]


def serializer_of(task: Task) -> str:
    """The name of the serializer for *task*'s arguments."""
    name: str = task.serializer or task.app.conf.task_serializer
    return name


def models_dumped(task: Task, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments with pydantic models dumped, as Celery from 5.7 on does with those of a caller."""
    dump = getattr(task, "_dump_pydantic_arguments", None)
    if dump is None or serializer_of(task) == "pickle":
        return args, kwargs
    dumped: tuple[Any, Any] = dump(args, kwargs)
    return dumped


@lru_cache(maxsize=64)
def delivery_by(serializer: str) -> Callable[[Any], Any]:
    """A function that takes a value, and returns it as it comes out of a message that *serializer* wrote.

    What the serializer cannot carry is left as it is: publishing it fails by itself, and an eager run
    never serialises it.

    >>> delivery_by("json")((1, {2: 3}))
    [1, {'2': 3}]
    """
    if serializer == "pickle":
        return lambda value: value
    untouched = _untouched_by(serializer)
    simple = untouched - _TEXT

    def deliver(value: Any) -> Any:
        if type(value) in simple:
            return value
        try:
            # Plain data, of which is known what becomes of it: asking costs many times what the key costs.
            return _plainly(value, untouched, 0)
        except _NotPlainError:
            return _there_and_back(value, serializer)

    return deliver


def _there_and_back(value: Any, serializer: str) -> Any:
    try:
        content_type, encoding, data = serialization.dumps(value, serializer)
        return serialization.loads(data, content_type, encoding, accept={content_type})
    except (KombuError, TypeError, ValueError) as error:
        if isinstance(error.__context__, RecursionError):
            # The next time there may be room for it, so nothing is known of what becomes of the value.
            raise error.__context__ from None
        return value


class _NotPlainError(Exception):
    """Only the serializer itself can tell what becomes of a value."""


def _plainly(value: Any, untouched: frozenset[type], depth: int) -> Any:
    """*value* as delivered, where it is made of lists, tuples, dicts of texts and *untouched* types."""
    kind = type(value)
    if kind in untouched and (kind is not str or _is_unicode(value)):
        return value
    if not untouched or depth > MAX_DEPTH:
        raise _NotPlainError
    if kind is list or kind is tuple:
        kinds = set(map(type, value))
        if kinds <= untouched and (str not in kinds or _are_unicode(value, kinds)):
            return value if kind is list else list(value)
        return [_plainly(item, untouched, depth + 1) for item in value]
    if kind is dict and _TEXT.issuperset(map(type, value)) and value.keys() != _ENVELOPE:
        if not _are_unicode(value, _TEXT):
            raise _NotPlainError
        return {key: _plainly(item, untouched, depth + 1) for key, item in value.items()}
    raise _NotPlainError


def _is_unicode(text: str) -> bool:
    """Whether *text* has no surrogates, of which JSON makes one character of two."""
    if text.isascii():
        return True
    try:
        text.encode("utf-16-le")  # Several times faster than UTF-8, and as strict.
    except UnicodeEncodeError:
        return False
    return True


def _are_unicode(values: Iterable[Any], kinds: Set[type]) -> bool:
    texts = values if kinds == _TEXT else [value for value in values if type(value) is str]
    return all(map(str.isascii, texts)) or all(map(_is_unicode, texts))


_TEXT = frozenset([str])

#: What kombu's JSON takes for an object that it wrote itself.
_ENVELOPE = {"__type__", "__value__"}

_SAMPLES = (
    *(None, False, True, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**70),
    *(0.0, -0.0, 1.5, 0.1, 5e-324, 1e308, math.nan, math.inf, -math.inf),
    *("", "1", "null", "\x00\x7f\x85", "ü\u2028\ufeff\uffff", "\U0001f600", b"", b"text", b"\x00\xff"),
    *(decimal.Decimal("1.10"), decimal.Decimal("-1e400"), decimal.Decimal("sNaN12")),
    *(uuid.UUID(int=5), datetime.date(1, 1, 1), datetime.date(2024, 2, 29)),
)


def _untouched_by(serializer: str) -> frozenset[type]:
    """The types of which *serializer* delivers every value as it is, as far as samples can tell.

    Empty for one that does not even leave lists and dicts alone, and for YAML, which is too rich to be
    known by samples.
    """
    containers = [[[], [1, "a"]], {"a": [1], "b": {}}]
    if serializer == "yaml" or not all(_arrives(container, serializer) for container in containers):
        return frozenset()
    touched = {type(sample) for sample in _SAMPLES if not _arrives(sample, serializer)}
    return frozenset(map(type, _SAMPLES)) - touched


def _arrives(value: Any, serializer: str) -> bool:
    try:
        return encode(_there_and_back([value], serializer)) == encode([value])
    except TypeError:
        return False
