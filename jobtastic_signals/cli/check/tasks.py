"""The tasks with options of ours, and those of them that do not share as their options say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from reprlib import Repr
from typing import Any

from celery import Celery

from ...errors import OptionError
from ...keys.recipe import CACHE_PREFIX, SIGNIFICANT_KWARGS
from ...memory.middleware import MemoryWatch
from ...overrides import methods_before_ours
from ...registry import installation_on
from ...sharing.middleware import Sharing
from .base import Finding, mend, note

__all__ = ["check_tasks", "options_of_tasks"]

#: What a task can set for the built-in middleware.
_BUILT_IN = (SIGNIFICANT_KWARGS, CACHE_PREFIX, *Sharing.options, *MemoryWatch.options)

#: What may happen where something stands in front of our method, and does not go on to it.
_LOST = {
    "apply_async": "its calls may be published without a look at what is there",
    "__call__": "workers may run what they could serve, and what should wait",
}

_short = Repr()
_short.maxstring = _short.maxother = 60


def options_of_tasks(app: Celery) -> dict[str, dict[str, str]]:
    """What each task sets of our options, as text, by its name."""
    return {name: {option: _told(value) for option, value in given.items()} for name, given in _given(app)}


def check_tasks(app: Celery) -> Iterator[Finding]:
    """What is wrong with the tasks that set options of ours."""
    installation = installation_on(app)
    names = [name for name, _ in _given(app)]
    if installation is None:
        if names:
            yield mend("task", f"without the plugin the options of {', '.join(names)} do nothing")
        return
    for name in names:
        task = app.tasks[name]
        bound_unseen, before_ours = not installation.has_seen(type(task)), methods_before_ours(task)
        try:
            installation.policy_of(type(task))
        except OptionError as error:
            yield mend("task", str(error))
            continue
        if bound_unseen and before_ours:
            yield _unseen(name)
        else:
            yield from (_replaced(name, place, method) for place, method in before_ours.items())


def _unseen(name: str) -> Finding:
    return note(
        "task",
        f"{name} bound unseen, since its base class is a task: the first call of each process is published "
        "without a look at what is there",
        "Derive it from a class that is not registered",
    )


def _replaced(name: str, place: str, method: Any) -> Finding:
    return mend(
        "task",
        f"{name}: {_named(method)} replaced {place} after the plugin came, so {_LOST[place]}",
        "Replace it before that, or wrap it with functools.wraps",
    )


def _given(app: Celery) -> Iterator[tuple[str, Mapping[str, Any]]]:
    installation = installation_on(app)
    known = _BUILT_IN if installation is None else tuple(installation.known_options())
    for name, task in sorted(app.tasks.items()):
        given = {each.name: getattr(task, each.name) for each in known if hasattr(task, each.name)}
        if given:
            yield name, given


def _told(value: Any) -> str:
    """*value* as it is written, with functions by their names.

    >>> _told(["customer", ("year", str)])
    "['customer', ('year', str)]"
    """
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_told, value))
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return getattr(value, "__name__", None) or _short.repr(value)


def _named(method: Any) -> str:
    named = method if hasattr(method, "__qualname__") else type(method)
    return f"{named.__module__}.{named.__qualname__}"
