"""The options of a task: plain attributes, read once and checked when the task binds.

An option belongs to the part that uses it, which declares it as an :class:`Option`. A task that sets
none of them is left alone; a wrong or misspelt one is an :exc:`~jobtastic_signals.errors.OptionError`
that names the task, the option, what it got and what it takes.

A few options are given with one call: keyword arguments of ``apply_async``, which never reach the message.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

from celery import Task

from .errors import OptionError
from .support.safe_text import safe_repr
from .support.shown import one_line

__all__ = [
    "NOTHING_ASKED",
    "ON_DUPLICATE",
    "CallOptions",
    "Option",
    "finite_number",
    "misspelt",
    "name_of",
    "on_duplicate",
    "own_attributes",
    "read_options",
    "seconds",
    "take_call_options",
]

#: What a task or a call can ask for where an identical call is in flight.
ON_DUPLICATE = ("join", "raise", "drop", "rerun")

# Below this likeness another name is more probably the user's own than a slip: "herd_avoidence_timeout"
# and "cache_duraton" score 0.95 and more, "cache_timeout" and "herd_timeout" 0.71 and less.
_TYPO_LIKENESS = 0.9

# What Celery itself puts on tasks, some of it when they bind.
_CELERYS_OWN = frozenset({*vars(Task), *dict(Task.from_config)})


class Option(NamedTuple):
    """One attribute that a task may set.

    :param name: the attribute.
    :param default: its value on a task that has other options of ours, but not this one.
    :param accepts: what it takes, in words that complete "it takes ...".
    :param parse: turns what the task says into what hooks read; a :exc:`ValueError` or :exc:`TypeError`
        refuses it.
    """

    name: str
    default: Any
    accepts: str
    parse: Callable[[Any], Any]


class CallOptions(NamedTuple):
    """What one call asks for.

    :ivar refresh: whether it wants a new run, whose result replaces the stored one.
    :ivar bypass: whether it neither reads nor writes what is shared.
    :ivar on_duplicate: as the option of the task; ``None`` for what that says.
    """

    refresh: bool = False
    bypass: bool = False
    on_duplicate: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The keyword arguments that ask for this."""
        return {name: value for name, value in self._asdict().items() if value}


#: What a call asks for that says nothing.
NOTHING_ASKED = CallOptions()


def take_call_options(task_name: str, options: MutableMapping[str, Any]) -> CallOptions:
    """Return what one call asks for, and remove it from the options of its ``apply_async``.

    :raises OptionError: for a value that is not accepted.

    >>> options = {"refresh": True, "queue": "slow"}
    >>> take_call_options("proj.report", options).refresh, options
    (True, {'queue': 'slow'})
    """
    given = {name: options.pop(name) for name in _OF_CALLS if name in options}
    if not given:
        return NOTHING_ASKED
    read = {}
    for name, value in given.items():
        parse, accepts = _OF_CALLS[name]
        try:
            read[name] = parse(value)
        except (TypeError, ValueError) as error:
            raise _call_error(task_name, f"{name}={one_line(safe_repr(value))}", accepts) from error
    asked = CallOptions(**read)
    if asked.refresh and asked.bypass:
        # One replaces what is stored, and the other leaves it alone.
        raise _call_error(task_name, "refresh=True with bypass=True", "one of the two")
    return asked


def on_duplicate(value: Any) -> str:
    """Return *value* if it is one of :data:`ON_DUPLICATE`.

    >>> on_duplicate("drop")
    'drop'
    """
    if value not in ON_DUPLICATE:
        raise ValueError("not one of these")
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")
    return value


def _call_error(task_name: str, given: str, accepts: str) -> OptionError:
    return OptionError(f"a call of {task_name!r}: {given} is not accepted; it takes {accepts}")


#: How the options of one call are read, and what they accept.
_OF_CALLS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "refresh": (_flag, "True or False"),
    "bypass": (_flag, "True or False"),
    "on_duplicate": (on_duplicate, ", ".join(map(repr, ON_DUPLICATE))),
}


def finite_number(value: Any) -> float:
    """*value* itself if it is a finite number; ``True`` is none.

    >>> finite_number(2.5)
    2.5
    """
    # An integer beyond the largest float could not be added to a time.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise TypeError("not a number")
    return value


def seconds(value: Any) -> float:
    """Return a duration in seconds: a finite number, or a :class:`datetime.timedelta`.

    >>> seconds(2.5), seconds(datetime.timedelta(minutes=1))
    (2.5, 60.0)
    """
    return value.total_seconds() if isinstance(value, datetime.timedelta) else finite_number(value)


def read_options(task: type[Task[Any, Any]], known: Iterable[Option]) -> Mapping[str, Any] | None:
    """Return the checked values of all *known* options, or ``None`` if *task* sets none of them.

    A method that an option of its name does not accept belongs to its class, such as the ``on_duplicate`` of
    celery-singleton.

    :param task: a task class, its annotations applied.
    :raises OptionError: for values that an option does not accept, and for attributes whose name is a
        misspelt option. It reports all of them, each in a line.
    """
    options = {option.name: option for option in known}
    wrong = list(_misspelt_options(task, options))
    read, is_set = {}, False
    for name, option in options.items():
        read[name] = option.default
        if not hasattr(task, name):
            continue
        try:
            read[name] = _parse(task, option, getattr(task, name))
        except OptionError as error:
            if _is_method(task, name):
                continue
            wrong.append(error)
        is_set = True
    if wrong:
        raise OptionError("\n".join(map(str, wrong))) from wrong[0].__cause__
    return read if is_set else None


def own_attributes(task: type[Task[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of public attributes that neither Celery nor a method has put there."""
    for cls in task.__mro__:
        if cls.__module__.startswith("celery."):
            continue
        for name, value in vars(cls).items():
            if not name.startswith("_") and not callable(value):
                yield name, value


def _is_method(task: type[Task[Any, Any]], name: str) -> bool:
    """Return whether a class body defines *name* by ``def``."""
    value = getattr(task, name)
    if isinstance(value, property):
        return True
    as_methods = {f"{cls.__qualname__}.{name}" for cls in task.__mro__}
    return isinstance(value, FunctionType) and value.__qualname__ in as_methods


def _parse(task: type[Task[Any, Any]], option: Option, value: Any) -> Any:
    try:
        return option.parse(value)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"task {name_of(task)!r}: {option.name}={one_line(safe_repr(value))} is not accepted "
            f"({error}); it takes {option.accepts}"
        ) from error


def _misspelt_options(task: type[Task[Any, Any]], options: Mapping[str, Option]) -> Iterator[OptionError]:
    for name, value in own_attributes(task):
        meant = misspelt(name, tuple(options))
        if meant is not None:
            yield OptionError(
                f"task {name_of(task)!r}: unknown option {name}={value!r}; did you mean "
                f"{meant!r}? It takes {options[meant].accepts}"
            )


@lru_cache(maxsize=4096)
def misspelt(attribute: str, names: tuple[str, ...]) -> str | None:
    """Return the one of *names* that *attribute* is with a slip, or ``None``."""
    if attribute in names or attribute in _CELERYS_OWN:
        return None
    import difflib  # Few tasks have any other attribute.

    close = difflib.get_close_matches(attribute, names, n=1, cutoff=_TYPO_LIKENESS)
    return close[0] if close else None


def name_of(task: type[Task[Any, Any]]) -> str:
    """Return what to call *task* in a message; a class that is not registered yet may have no name."""
    return task.name or f"{task.__module__}.{task.__qualname__}"
