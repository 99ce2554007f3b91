"""Explaining at a prompt what went into a key, and why two calls share or not."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from celery import Signature, Task

from .installation import call_of, required_sharing_of
from .keys.canonical import encode
from .keys.recipe import Argument
from .keys.roundtrip import serializer_of
from .keys.texts import text_of

__all__ = ["Difference", "Explanation", "arguments_of", "explain", "explain_difference"]


@dataclass(frozen=True, repr=False)
class Explanation:
    """One call and its key, with a readable ``repr``.

    :ivar call: the call, as text.
    :ivar key: its key.
    :ivar arguments: the arguments in the key.
    :ivar insignificant: the given arguments that do not count.
    """

    task: Task[Any, Any]
    call: str
    key: str
    arguments: tuple[Argument, ...]
    insignificant: Mapping[str, Any]

    def __str__(self) -> str:
        rows = [(each.name, _shown(each), self._note(each)) for each in self.arguments]
        lines = [self.call, f"has the key {self.key}, made of", *_aligned(rows)]
        if not rows:
            lines[-1] = f"has the key {self.key}, like all its calls"
        if self.insignificant:
            lines += [
                "and not of",
                *_aligned((name, _short(value)) for name, value in self.insignificant.items()),
            ]
        return "\n".join(lines)

    __repr__ = __str__

    def _note(self, argument: Argument) -> str:
        if argument.is_missing:
            return ""
        notes = ["the default"] if argument.is_default else []
        if repr(argument.given) != repr(argument.value):
            notes.append(f"{_short(argument.given)} as {serializer_of(self.task)} delivers it")
        if argument.to_str is not None:
            notes.append(f"counts as {_short(_text_of(self.task, argument))}")
        return "; ".join(notes)


class Place(NamedTuple):
    """One difference between two calls: where it is, the two values, and a note."""

    where: str
    left: str
    right: str
    note: str = ""


@dataclass(frozen=True, repr=False)
class Difference:
    """The reasons why two calls share or not, with a readable ``repr``.

    :ivar left: the first call.
    :ivar right: the second call.
    :ivar places: where the calls differ. If they do not share, these are the reasons. If they share, these
        are the differences that do not count.
    """

    left: Explanation
    right: Explanation
    places: tuple[Place, ...]

    @property
    def shares(self) -> bool:
        """Whether the two calls have one key."""
        return self.left.key == self.right.key

    def __str__(self) -> str:
        if self.shares:
            conclusion = f"share the key {self.left.key}" + (", in spite of" if self.places else "")
        else:
            conclusion = "do not share, because of"
        rows = [(place, f"{left} | {right}", note) for place, left, right, note in self.places]
        return "\n".join([self.left.call, self.right.call, conclusion, *_aligned(rows)])

    __repr__ = __str__


def explain(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> Explanation:
    """Return what goes into the key of calling *task* with these arguments.

    :param task: a task, or a signature such as ``report.s("acme")``.
    :raises TypeError: if *task* is neither, or does not take such arguments.
    :raises UnkeyableError: for an argument that has no canonical form.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://")
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(name="report", significant_kwargs=[("customer", str.lower), "years"])
    ... def report(customer, years=(2025, 2026), verbose=False): ...
    >>> explain(report, "ACME", verbose=True)
    report('ACME', verbose=True)
    has the key v1:report:9cf7b9434921bc8c3359ae6de28dd7fc87b7a969, made of
      customer  'ACME'        counts as 'acme'
      years     [2025, 2026]  the default; (2025, 2026) as json delivers it
    and not of
      verbose  True
    >>> jobtastic.uninstall(app)
    """
    task, args, kwargs = call_of(task, args, kwargs)
    _, policy = required_sharing_of(task)
    return Explanation(
        task,
        _call_text(task, args, kwargs),
        policy.keys.key(task, args, kwargs),
        tuple(policy.keys.arguments(task, args, kwargs)),
        policy.keys.insignificant(args, kwargs),
    )


def explain_difference(
    task: Task[Any, Any] | Signature[Any], /, call_a: Any, call_b: Any = None
) -> Difference:
    """Return why two calls of *task* share or not.

    Two signatures are enough: ``explain_difference(task.s(1), task.s(2))``.

    :param call_a: a signature, such as ``task.s(1, year=2026)``, or the pair of its arguments, such as
        ``((1,), {"year": 2026})``.
    :param call_b: the other call, in one of these forms.
    :raises TypeError: if one of them is not a call of *task*.
    :raises Exception: what :func:`explain` raises.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://")
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(name="report", herd_avoidance_timeout=60)
    ... def report(customer, filters=None): ...
    >>> explain_difference(report, report.s("acme"), report.s("acme", {"years": [2025]}))
    report('acme')
    report('acme', {'years': [2025]})
    do not share, because of
      filters  None | {'years': [2025]}
    >>> jobtastic.uninstall(app)
    """
    if call_b is None and isinstance(task, Signature):
        call_a, call_b = task, call_a
    task, _, _ = call_of(task, (), {})
    left, right = (
        explain(task, *args, **kwargs)
        for args, kwargs in (arguments_of(task, call_a), arguments_of(task, call_b))
    )
    places = []
    for one, other in zip(left.arguments, right.arguments, strict=True):
        if (one.form != other.form) != (left.key == right.key):
            places += _places(task, one, other)
    if left.key == right.key:
        places += _insignificant_places(left, right)
    return Difference(left, right, tuple(places))


def arguments_of(task: Task[Any, Any], call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments of *call*, a signature or a pair of them.

    :raises TypeError: if it is neither, or the signature of another task.
    """
    if isinstance(call, Signature):
        if call.task != task.name:
            raise TypeError(f"{call!r} is a call of {call.task!r}, and not of {task.name!r}")
        return tuple(call.args), dict(call.kwargs)
    if isinstance(call, (tuple, list)) and len(call) == 2 and isinstance(call[1], Mapping):
        return tuple(call[0]), dict(call[1])
    raise TypeError(
        f"{call!r} is not a call of {task.name!r}; give a signature, such as task.s(1, year=2026), or the "
        "pair of its arguments, such as ((1,), {'year': 2026})"
    )


def _places(task: Task[Any, Any], one: Argument, other: Argument) -> list[Place]:
    """Return where an argument differs between two calls. The list is empty if they were given the same."""
    if one.is_missing or other.is_missing:
        return [Place(one.name, _shown(one), _shown(other))] if one != other else []
    if one.to_str is not None:
        texts = [_short(_text_of(task, each)) for each in (one, other)]
        if _shown(one) == _shown(other) and texts[0] == texts[1]:
            return []
        note = f"both count as {texts[0]}" if texts[0] == texts[1] else f"count as {texts[0]} and {texts[1]}"
        return [Place(one.name, _shown(one), _shown(other), note)]
    if one.form != other.form:
        return [_first_difference(one.value, other.value, one.name)]
    if repr(one.given) == repr(other.given):
        return []
    note = f"both are {_short(one.value)} as {serializer_of(task)} delivers it"
    return [Place(one.name, _short(one.given), _short(other.given), note)]


def _insignificant_places(left: Explanation, right: Explanation) -> Iterator[Place]:
    for name in {**left.insignificant, **right.insignificant}:
        texts = [_shown_in(side.insignificant, name) for side in (left, right)]
        if texts[0] != texts[1]:
            yield Place(name, texts[0], texts[1], "does not count")


def _first_difference(one: Any, other: Any, where: str) -> Place:
    """Return the innermost place where two values differ first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key not in one or key not in other:
                return Place(f"{where}[{key!r}]", _shown_in(one, key), _shown_in(other, key))
            if _form(one[key]) != _form(other[key]):
                return _first_difference(one[key], other[key], f"{where}[{key!r}]")
    if type(one) is type(other) is list and len(one) == len(other):
        for index, (item, its_counterpart) in enumerate(zip(one, other, strict=True)):
            if _form(item) != _form(its_counterpart):
                return _first_difference(item, its_counterpart, f"{where}[{index}]")
    return Place(where, _short(one), _short(other))


def _form(value: Any) -> bytes:
    try:
        return encode(value)
    except TypeError:
        return repr(value).encode()  # A default that no message can carry.


def _text_of(task: Task[Any, Any], argument: Argument) -> str:
    assert argument.to_str is not None
    return text_of(task, argument.name, argument.value, argument.to_str).decode("utf-8", "backslashreplace")


_NOTHING = "not given"

_SHORTENED = reprlib.Repr()
_SHORTENED.maxstring = _SHORTENED.maxother = _SHORTENED.maxlong = 60
_short = _SHORTENED.repr


def _shown(argument: Argument) -> str:
    return _NOTHING if argument.is_missing else _short(argument.value)


def _shown_in(values: Mapping[Any, Any], name: Any) -> str:
    return _short(values[name]) if name in values else _NOTHING


def _call_text(task: Task[Any, Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    given = [*map(_short, args), *(f"{name}={_short(value)}" for name, value in kwargs.items())]
    return f"{task.name}({', '.join(given)})"


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
