"""Switching the plugin on and off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery, Task

from . import handlers as receivers
from . import registry
from .errors import JobtasticError
from .installation import Installation
from .middleware import Middleware
from .registry import installation_on, required_sharing_of

__all__ = ["Jobtastic", "forget"]


class Jobtastic:
    """Gives tasks of an app our options, without a base class.

    Switch it on with ``Jobtastic(app)``; or, where the app is made elsewhere, with :meth:`init_app`; or
    with no code at all, in the Celery configuration::

        task_annotations = ["jobtastic_signals:Jobtastic", {"proj.tasks.report": {"cache_duration": 60}}]

    The order of installing, configuring and defining tasks does not matter, and installing twice does
    nothing.

    :param app: the app to switch it on.
    :param middleware: your own, which come after the built-in ones.

    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(cache_duration=60)
    ... def double(n):
    ...     print("it runs")
    ...     return 2 * n
    >>> double.apply((21,)).get(), double.apply((21,)).get()
    it runs
    (42, 42)
    >>> jobtastic.uninstall(app)
    """

    def __init__(self, app: Celery | None = None, *, middleware: Iterable[Middleware] = ()) -> None:
        self._middleware = tuple(middleware)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Celery) -> None:
        """Switch the plugin on for *app*; does nothing where it is on.

        :raises OptionError: if a task that *app* already has sets an option wrongly; it stays off then.
        :raises JobtasticError: if it is on without the middleware of this one.
        """
        self._install(app)

    def uninstall(self, app: Celery) -> None:
        """Switch the plugin off for *app*, and leave its tasks as they were.

        It stays off, also where the configuration names it, until :meth:`init_app`. Runs under way end
        without it: what they claimed is free when its lease ends.
        """
        installation = registry.unregister(app)
        if installation is not None:
            installation.remove()
        if not registry.installed:
            receivers.disconnect()

    def annotate(self, task: type[Task]) -> dict[str, Any] | None:
        """Called by Celery for a task class that binds, where the configuration names this class."""
        app = task.app
        if app in registry.switched_off:
            return None
        looked_through = app.annotations
        self._install(app).annotate(task)
        # Celery goes through it once more for this task, in search of an ``annotate_any``.
        looked_through[:] = app.annotations
        return {}

    def annotate_any(self) -> None:
        """Called by Celery where the user's annotations before us answered for a task."""

    def _install(self, app: Celery) -> Installation:
        installation = installation_on(app)
        if installation is not None:
            if not set(self._middleware) <= set(installation.middleware):
                raise JobtasticError(
                    f"{app!r} has the plugin already, so {self._middleware!r} would not be used; give the "
                    "middleware where the plugin is switched on first"
                )
            return installation
        installation = Installation(app, self._middleware)
        registry.register(app, installation)
        receivers.connect()
        try:
            installation.sweep()
        except JobtasticError:
            self.uninstall(app)
            registry.switched_off.discard(app)
            raise
        return installation


def forget(task: Task, *args: Any, **kwargs: Any) -> bool:
    """Drop the stored result of calling *task* with these arguments; the next such call runs again.

    :returns: whether there was one. A run in progress goes on, and its result is stored.
    :raises JobtasticError: if *task* has no options of ours, or its app has not the plugin.
    """
    installation, policy = required_sharing_of(task)
    return installation.store.forget(policy.keys.key(task, args, kwargs))
