"""Scopes: what keys are forgotten together. A key has one for its prefix, and one for each tag of its calls.

Tags come from the arguments of a call. All calls with one key need the same tags, on the caller and on the
worker. So a template may only name arguments that count for the key. A value counts as the worker receives
it, and an argument with a ``to_str`` counts by that text.
"""

from __future__ import annotations

import datetime
import decimal
import string
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from celery import Task

from ..errors import OptionError, UnkeyableError
from ..options import Option, name_of
from ..support.shown import shown_error
from ..support.time_limits import caught
from .recipe import KeyRecipe
from .texts import text_of

__all__ = ["CACHE_TAGS", "TagRecipe", "scope_of_prefix", "scope_of_tag"]

# Types that have the same text wherever values have the same canonical form.
_PLAIN = frozenset(
    [
        *(str, int, float, bool, decimal.Decimal, uuid.UUID),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    ]
)


def scope_of_prefix(prefix: str) -> str:
    """Return the name of the scope of all keys with *prefix*."""
    return f"scope:{prefix}"


def scope_of_tag(tag: str) -> str:
    """Return the name of the scope of all keys with *tag*. It has the same length for any tag.

    >>> scope_of_tag("customer:5")
    'tag:8220bb6002b91d6a0bef76ef279d980c'
    """
    import hashlib  # Few calls have tags.

    digest = hashlib.blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=16)
    return f"tag:{digest.hexdigest()}"


def _parse_tags(value: Any) -> Callable[..., Any] | tuple[str, ...] | None:
    if value is None:
        return None
    if callable(value):
        function: Callable[..., Any] = value
        return function
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError("not a list")
    tags = tuple(value)
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            raise TypeError(f"{tag!r} is not a text, or an empty one")
        list(_fields_in(tag))
    return tags or None


CACHE_TAGS = Option(
    "cache_tags",
    default=None,
    accepts="a list of texts with arguments in braces, such as ['customer:{customer_id}'], or a function "
    "that gets all arguments by name and returns a list of texts",
    parse=_parse_tags,
)


class TagRecipe:
    """How to make the scopes of one task's calls.

    :param task: the task class.
    :param tags: the option, parsed.
    :param keys: how its keys are made.
    :raises OptionError: if a template names what does not count for the keys.
    """

    def __init__(
        self,
        task: type[Task[Any, Any]],
        tags: Callable[..., Any] | tuple[str, ...] | None,
        keys: KeyRecipe,
    ) -> None:
        self._keys = keys
        self._function: Callable[..., Any] | None = tags if callable(tags) else None
        self._templates: tuple[str, ...] = () if tags is None or callable(tags) else tags
        fields = [field for template in self._templates for field in _fields_in(template)]
        for field in fields:
            _check_field(task, field, keys)
        self._names = None if self._function is not None else frozenset(map(_argument_in, fields))

    def scopes(self, task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[str, ...]:
        """Return the scopes of calling *task* with *args* and *kwargs*.

        :raises UnkeyableError: if the tags cannot be made.
        """
        scope = scope_of_prefix(self._keys.prefix or task.name)
        if not self._templates and self._function is None:
            return (scope,)
        return (scope, *map(scope_of_tag, self._tags(task, args, kwargs)))

    def _tags(self, task: Task[Any, Any], args: Any, kwargs: Any) -> Sequence[str]:
        tags: list[Any] = []
        with caught(lambda error: _refuse(task, error)):
            values = self._keys.values(task, args, kwargs, self._names)
            if self._function is not None:
                tags = list(dict.fromkeys(self._function(**values)))
            for template in self._templates:
                tags.append(_FORMATTER.vformat(template, (), {**values, **self._texts(task, values)}))
            for tag in tags:
                if not isinstance(tag, str) or not tag:
                    raise TypeError(f"{tag!r} is not a text, or an empty one")
        return tags

    def _texts(self, task: Task[Any, Any], values: Mapping[str, Any]) -> dict[str, str]:
        """Return the texts of those *values* that count by one."""
        return {
            name: text_of(task, name, values[name], to_str).decode(errors="backslashreplace")
            for name, to_str in self._keys.significant
            if to_str is not None and name in values
        }


class _Formatter(string.Formatter):
    """Fills in values of plain types. Others may have different texts where their keys are the same."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value, first = super().get_field(field_name, args, kwargs)
        if type(value) not in _PLAIN:
            raise TypeError(f"{field_name} is of type {type(value).__name__}, which has no text for tags")
        return value, first


_FORMATTER = _Formatter()


def _fields_in(template: str) -> Iterator[str]:
    """Yield what stands in the braces of *template*.

    :raises ValueError: for braces that do not match.
    """
    for _, field, spec, _ in _FORMATTER.parse(template):
        if field is not None:
            yield field
            yield from _fields_in(spec or "")


def _argument_in(field: str) -> str:
    """Return the name of the argument that *field* is, or is a part of."""
    return field.partition(".")[0].partition("[")[0]


def _check_field(task: type[Task[Any, Any]], field: str, keys: KeyRecipe) -> None:
    name, counting = _argument_in(field), dict(keys.significant)
    if name not in counting and not keys.counts_any_keyword:
        problem = f"which does not count for its keys; these count: {', '.join(counting) or 'none'}"
    elif name != field and counting.get(name) is not None:
        problem = f"and {name!r} counts by the text of its to_str only; name {name!r} itself"
    else:
        return
    raise OptionError(f"task {name_of(task)!r}: cache_tags names {field!r}, {problem}")


def _refuse(task: Task[Any, Any], error: Exception) -> None:
    raise UnkeyableError(
        f"task {task.name!r}: its cache_tags cannot be made: {shown_error(error)}"
    ) from error
