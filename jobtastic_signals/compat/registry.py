"""Class tasks that register themselves, and methods that can be called on the class, as with Celery 4."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task, current_app

from .. import celery_internals
from ..installation import switched_off
from ..plugin import Jobtastic
from .settings import use_store_of_jobtastic

__all__ = ["is_definition", "on_class", "register", "task_of"]

#: The latest class of each name: a module can be loaded twice.
_latest: dict[str, type[Task[Any, Any]]] = {}


class on_class:  # noqa: N801 - a decorator
    """A method that can be called on the class as well: there it is one of the registered task."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Task[Any, Any] | None, cls: type[Task[Any, Any]]) -> Any:
        if task is not None:
            return self._function.__get__(task)
        if "registered" in vars(cls):  # By super() in a class method.
            return self._function.__get__(vars(cls)["registered"])
        return getattr(task_of(cls), self._name) if is_definition(cls) else self._function


def register(cls: type[Task[Any, Any]]) -> None:
    """Let *cls* be a task of each app that is finalized from now on, and of the current one in any case."""
    app = celery_internals.app_of_thread()
    name = app.gen_task_name if app is not None else lambda name, module: f"{module}.{name}"
    cls.name = vars(cls).get("name") or name(cls.__name__, cls.__module__)
    cls.home = app
    _latest[cls.name] = cls
    celery_internals.for_each_app(partial(_add_to, cls=cls))
    if app is not None and app.finalized:
        _add_to(app, cls)


def is_definition(cls: type[Task[Any, Any]]) -> bool:
    """Return whether *cls* is what a user has defined, of which each app has a subclass as its task."""
    return "home" in vars(cls)


def task_of(cls: type[Task[Any, Any]]) -> Task[Any, Any]:
    """Return the task of the current app that *cls* defines."""
    # A thread has no app of its own. Celery's default would publish to a broker that nobody has chosen.
    app = celery_internals.app_of_thread() or cls.home or current_app
    task: Task[Any, Any] = app.tasks[cls.name]
    return task


def _add_to(app: Celery[Any], cls: type[Task[Any, Any]]) -> None:
    """Register a subclass of *cls*: a task class belongs to one app."""
    if _latest[cls.name] is not cls:
        return
    if app not in switched_off:
        Jobtastic(app)
    use_store_of_jobtastic(app)

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return cls.run(self, *args, **kwargs)

    # The keys of calls are made from this.
    setattr(run, "__signature__", inspect.signature(cls.calculate_result))  # noqa: B010
    names = ("__module__", "__qualname__", "__doc__")
    body = {"run": run, "autoregister": False, **{name: getattr(cls, name) for name in names}}
    own: Any = type(cls.__name__, (cls,), body)
    own.registered = own()
    app.register_task(own.registered)
