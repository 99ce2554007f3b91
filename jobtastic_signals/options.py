"""The options of a task: plain attributes, read once and checked when the task binds.

An option belongs to the part that uses it, which declares it as an :class:`Option`. A task that sets
none of them is left alone; a wrong or misspelt one is an :exc:`~jobtastic_signals.errors.OptionError`
that names the task, the option, what it got and what it takes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celery import Task

from .errors import OptionError

__all__ = ["Option", "finite_number", "read_options"]

# Below this likeness another name is more probably the user's own than a slip: "herd_avoidence_timeout"
# and "cache_duraton" score 0.95 and more, "cache_timeout" and "herd_timeout" 0.71 and less.
_TYPO_LIKENESS = 0.9


@dataclass(frozen=True)
class Option:
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


def finite_number(value: Any) -> float:
    """*value* itself if it is a finite number; ``True`` is none.

    >>> finite_number(2.5)
    2.5
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a number")
    return value


def read_options(task: type[Task], known: Iterable[Option]) -> Mapping[str, Any] | None:
    """Return the checked values of all *known* options, or ``None`` if *task* sets none of them.

    :param task: a task class, its annotations applied.
    :raises OptionError: for a value that an option does not accept, and for an attribute whose name is a
        misspelt option.
    """
    options = {option.name: option for option in known}
    _refuse_misspelt(task, options)
    given = {name: getattr(task, name) for name in options if hasattr(task, name)}
    if not given:
        return None
    return {
        name: _parse(task, option, given[name]) if name in given else option.default
        for name, option in options.items()
    }


def _parse(task: type[Task], option: Option, value: Any) -> Any:
    try:
        return option.parse(value)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"task {name_of(task)!r}: {option.name}={value!r} is not accepted ({error}); "
            f"it takes {option.accepts}"
        ) from error


def _refuse_misspelt(task: type[Task], options: Mapping[str, Option]) -> None:
    for cls in task.__mro__:
        if cls.__module__.startswith("celery."):
            continue
        for attribute, value in vars(cls).items():
            meant = _misspelt(attribute, tuple(options))
            if meant is not None and not callable(value):
                raise OptionError(
                    f"task {name_of(task)!r}: unknown option {attribute}={value!r}; did you mean "
                    f"{meant!r}? It takes {options[meant].accepts}"
                )


@lru_cache(maxsize=4096)
def _misspelt(attribute: str, names: tuple[str, ...]) -> str | None:
    if attribute in names or attribute.startswith("_"):
        return None
    close = difflib.get_close_matches(attribute, names, n=1, cutoff=_TYPO_LIKENESS)
    return close[0] if close else None


def name_of(task: type[Task]) -> str:
    """Return what to call *task* in a message; a class that is not registered yet may have no name."""
    return task.name or f"{task.__module__}.{task.__qualname__}"
