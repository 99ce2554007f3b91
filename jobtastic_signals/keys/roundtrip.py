"""Finding out what arguments become on their way to the worker.

With JSON, a tuple arrives as a list, and the keys of a dict arrive as text. A key is made of what arrives, so
that caller and worker make the same key.
"""

from __future__ import annotations

import datetime
import decimal
import math
import sys
import uuid
from collections.abc import Iterable, Set
from functools import lru_cache
from typing import Any

from celery import Task
from kombu import serialization
from kombu.exceptions import KombuError

from ..celery_internals import dump_pydantic_arguments
from .canonical import MAX_DEPTH, encode

__all__ = ["Delivery", "arrival_of", "can_carry", "delivery_by", "models_dumped", "serializer_of"]


def serializer_of(task: Task[Any, Any]) -> str:
    """Return the name of the serializer for *task*'s arguments."""
    name: str = task.serializer or task.app.conf.task_serializer
    return name


def models_dumped(task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments with pydantic models dumped, like Celery 5.7 and later do for a caller."""
    if serializer_of(task) == "pickle":
        return args, kwargs
    return dump_pydantic_arguments(task, args, kwargs)


def arrival_of(task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[Delivery, Any, Any]:
    """Return what *task*'s serializer delivers, and the arguments with pydantic models dumped."""
    serializer = task.serializer or task.app.conf.task_serializer
    deliver = delivery_by(serializer)
    if serializer != "pickle" and "pydantic" in sys.modules:  # Otherwise there can be no model.
        args = tuple(args)
        if not deliver.unchanged.issuperset(map(type, (*args, *kwargs.values()))):
            args, kwargs = dump_pydantic_arguments(task, args, kwargs)
    return deliver, args, kwargs


class Delivery:
    """What arrives of a value that *serializer* carries. Call it with the value.

    A value that the serializer cannot carry is returned unchanged. Publishing it fails anyway, and an eager
    run never serializes it.

    :ivar unchanged: the types whose values are delivered as they are, without a call. Text is so only if it
        is ASCII.
    """

    def __init__(self, serializer: str) -> None:
        self._serializer = serializer
        self._delivers_all = serializer == "pickle"
        self.unchanged: frozenset[type] = _SAMPLED if self._delivers_all else _untouched_by(serializer)

    def __call__(self, value: Any) -> Any:
        """Return what arrives of *value*."""
        if self._delivers_all:
            return value
        try:
            # It is known what plain data becomes. To call the serializer costs many times as much as the key.
            return _plainly(value, self.unchanged, 0)
        except _NotPlainError:
            return _there_and_back(value, self._serializer)


@lru_cache(maxsize=64)
def delivery_by(serializer: str) -> Delivery:
    """Return what *serializer* delivers, which is found out once.

    >>> delivery_by("json")((1, {2: 3}))
    [1, {'2': 3}]
    """
    return Delivery(serializer)


def _there_and_back(value: Any, serializer: str) -> Any:
    try:
        content_type, encoding, data = serialization.dumps(value, serializer)
        return serialization.loads(data, content_type, encoding, accept={content_type})
    except (KombuError, TypeError, ValueError) as error:
        if isinstance(error.__context__, RecursionError):
            # The call stack was full. That says nothing about the value.
            raise error.__context__ from None
        return value


def can_carry(value: Any, serializer: str) -> bool:
    """Return whether *serializer* can write *value* into a message."""
    try:
        serialization.dumps(value, serializer)
    except RecursionError:
        return True  # The call stack was full. That says nothing about the value.
    except Exception:
        return False
    return True


class _NotPlainError(Exception):
    """Only the serializer itself knows what a value becomes."""


def _plainly(value: Any, untouched: frozenset[type], depth: int) -> Any:
    """Return what *value* becomes, if it consists of lists, tuples, dicts of texts and *untouched* types."""
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
    """Return whether *text* has no surrogates. JSON joins two of them into one character."""
    if text.isascii():
        return True
    try:
        text.encode("utf-16-le")  # Several times faster than UTF-8, and just as strict.
    except UnicodeEncodeError:
        return False
    return True


def _are_unicode(values: Iterable[Any], kinds: Set[type]) -> bool:
    texts = values if kinds == _TEXT else [value for value in values if type(value) is str]
    return all(map(str.isascii, texts)) or all(map(_is_unicode, texts))


_TEXT = frozenset([str])

#: The keys of a dict that kombu's JSON takes for an object that it wrote itself.
_ENVELOPE = {"__type__", "__value__"}

_SAMPLES = (
    *(None, False, True, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**70),
    *(0.0, -0.0, 1.5, 0.1, 5e-324, 1e308, math.nan, math.inf, -math.inf),
    *("", "1", "null", "\x00\x7f\x85", "ü\u2028\ufeff\uffff", "\U0001f600", b"", b"text", b"\x00\xff"),
    *(decimal.Decimal("1.10"), decimal.Decimal("-1e400"), decimal.Decimal("sNaN12")),
    *(uuid.UUID(int=5), datetime.date(1, 1, 1), datetime.date(2024, 2, 29)),
)

_SAMPLED = frozenset(map(type, _SAMPLES))


def _untouched_by(serializer: str) -> frozenset[type]:
    """Return the types whose values *serializer* delivers unchanged, as far as samples show.

    The set is empty for a serializer that changes even lists and dicts, and for YAML, whose rules are too
    many for samples.
    """
    containers = [[[], [1, "a"]], {"a": [1], "b": {}}]
    if serializer == "yaml" or not all(_arrives(container, serializer) for container in containers):
        return frozenset()
    touched = {type(sample) for sample in _SAMPLES if not _arrives(sample, serializer)}
    return _SAMPLED - touched


def _arrives(value: Any, serializer: str) -> bool:
    try:
        return encode(_there_and_back([value], serializer)) == encode([value])
    except TypeError:
        return False
