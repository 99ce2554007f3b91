"""The tasks with our options, and those among them that cannot share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from reprlib import Repr
from typing import Any

from celery import Celery

from ...errors import OptionError
from ...installation import installation_on
from ...keys.options import CACHE_PREFIX, SIGNIFICANT_KWARGS
from ...keys.tags import CACHE_TAGS
from ...memory.options import OPTIONS as MEMORY_OPTIONS
from ...overrides import shadowing_overrides
from ...sharing.answers import SharedCalls
from .base import Finding, fix, note

__all__ = ["check_tasks", "options_of_tasks"]

#: The options of the built-in middleware.
_BUILT_IN = (SIGNIFICANT_KWARGS, CACHE_PREFIX, CACHE_TAGS, *SharedCalls.options, *MEMORY_OPTIONS)

#: What may happen if another method shadows ours and does not call it.
_HARM = {
    "apply_async": "its calls may be published although a result or a run could answer them",
    "__call__": "workers may run calls that they could serve, and calls that should wait",
}

_short = Repr()
_short.maxstring = _short.maxother = 60


def options_of_tasks(app: Celery[Any]) -> dict[str, dict[str, str]]:
    """Return the options of ours that each task sets, as text, by its name."""
    return {name: {option: _as_text(value) for option, value in given.items()} for name, given in _given(app)}


def check_tasks(app: Celery[Any]) -> Iterator[Finding]:
    """Yield what is wrong with the tasks that set our options."""
    installation = installation_on(app)
    names = [name for name, _ in _given(app)]
    if installation is None:
        if names:
            yield fix("task", f"without the plugin, the options of {', '.join(names)} have no effect")
        return
    for name in names:
        task = app.tasks[name]
        is_unread, shadowing = not installation.has_seen(type(task)), shadowing_overrides(task)
        try:
            installation.policy_of(type(task))
        except OptionError as error:
            yield from (fix("task", line) for line in str(error).splitlines())
            continue
        if is_unread and shadowing:
            yield _unread(name)
        else:
            yield from (_shadowed(name, place, method) for place, method in shadowing.items())


def _unread(name: str) -> Finding:
    return note(
        "task",
        f"{name}: its options are read only at the first call in each process, because its base class is a "
        "registered task; that call is published without asking the store",
        "Derive it from a class that is not registered as a task",
    )


def _shadowed(name: str, place: str, method: Any) -> Finding:
    return fix(
        "task",
        f"{name}: {_named(method)} replaced {place} after the plugin was enabled, so {_HARM[place]}",
        "Replace it before that, or use functools.wraps and call the original",
    )


def _given(app: Celery[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    installation = installation_on(app)
    known = _BUILT_IN if installation is None else tuple(installation.known_options)
    for name, task in sorted(app.tasks.items()):
        given = {each.name: getattr(task, each.name) for each in known if hasattr(task, each.name)}
        if given:
            yield name, given


def _as_text(value: Any) -> str:
    """Return *value* as one writes it, with functions by their names.

    >>> _as_text(["customer", ("year", str)])
    "['customer', ('year', str)]"
    """
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_as_text, value))
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return getattr(value, "__name__", None) or _short.repr(value)


def _named(method: Any) -> str:
    named = method if hasattr(method, "__qualname__") else type(method)
    return f"{named.__module__}.{named.__qualname__}"
