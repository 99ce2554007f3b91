"""Switching the plugin on and off: here its parts are put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery import Celery, Task
from celery.app.annotations import prepare, resolve_all
from kombu.utils.functional import maybe_evaluate

from . import celery_internals, handlers, installation
from .errors import JobtasticError
from .installation import Installation, installation_on
from .memory.options import OPTIONS as MEMORY_OPTIONS
from .middleware import CALLS, Later, Middleware, MiddlewareStack
from .options import name_of
from .overrides import add_overrides, remove_overrides
from .sharing.answers import SharedCalls
from .sharing.counting import Counting

__all__ = ["Jobtastic"]

_AFTER_FINALIZE = "jobtastic_signals.after_finalize"


class Jobtastic:
    """Gives tasks of an app our options, without a base class.

    Switch it on with ``Jobtastic(app)``, or with :meth:`init_app` if the app is made elsewhere. No code at
    all is needed with this line in the Celery configuration::

        task_annotations = ["jobtastic_signals:Jobtastic", {"proj.tasks.report": {"cache_duration": 60}}]

    The order of installing, configuring and defining tasks does not matter. Installing twice does nothing.

    :param app: the app to switch it on for.
    :param middleware: your own middleware; they come after the built-in ones.

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

    def __init__(self, app: Celery[Any] | None = None, *, middleware: Iterable[Middleware] = ()) -> None:
        self._middleware = tuple(middleware)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Celery[Any]) -> None:
        """Switch the plugin on for *app*. Does nothing if it is on.

        :raises TypeError: if *app* is not a Celery app.
        :raises OptionError: if a task that *app* already has sets an option wrongly; the plugin stays off
            then.
        :raises JobtasticError: if it is on without the middleware of this one.
        """
        if not isinstance(app, Celery):
            kind = type(app)
            raise TypeError(
                f"the plugin is enabled on a Celery app, and {app!r} is of type "
                f"{kind.__module__}.{kind.__qualname__}; give what Celery(...) returned"
            )
        self._install(app)

    def uninstall(self, app: Celery[Any]) -> None:
        """Switch the plugin off for *app*, and leave its tasks as they were.

        It stays off until :meth:`init_app`, even if the configuration names it. Runs that go on meanwhile
        lose it; their claims lapse with their leases.
        """
        removed = installation.unregister(app)
        if removed is not None:
            _unwrap_tasks(removed)
            celery_internals.drop_annotations(app)
            app.on_after_finalize.disconnect(dispatch_uid=_AFTER_FINALIZE)
            removed.use_store(None, close=True)
            removed.counters.drop()  # The store did not take it.
        if not installation.installed:
            handlers.disconnect()

    def annotate(self, task: type[Task[Any, Any]]) -> dict[str, Any] | None:
        """Apply our options to a task class that binds. Celery calls this if the configuration names us."""
        app = task.app
        if app in installation.switched_off:
            return None
        looked_through = celery_internals.annotations_of(app)
        self._install(app)
        annotations = celery_internals.annotations_of(app)
        annotations[0].annotate(task)
        # Celery goes through its list once more for this task, in search of an ``annotate_any``.
        looked_through[:] = annotations
        return {}

    def annotate_any(self) -> None:
        """Add nothing. Celery calls this if the user's annotations before us answered for a task."""

    def _install(self, app: Celery[Any]) -> None:
        known = installation_on(app)
        if known is not None:
            if not all(each in known.stack for each in self._middleware):
                raise JobtasticError(
                    f"the plugin is already enabled on {app!r}, so {self._middleware!r} would not be used; "
                    "pass the middleware where the plugin is enabled first"
                )
            return
        installed = Installation(app, add_overrides)
        installed.stack = MiddlewareStack(
            [
                SharedCalls(installed),
                Later("sharing.middleware:Sharing", installed),
                Later("sharing.observation:ObservedRuns", installed),
                Counting(installed),
                Later("progress.middleware:ProgressReports", installed),
                Later("results.notes:Notes", installed),
                Later("memory.middleware:MemoryWatch", installed, options=MEMORY_OPTIONS),
                *self._middleware,
            ]
        )
        installed.observers = MiddlewareStack([Later("sharing.observation:ObservedCalls", installed, CALLS)])
        annotations = _Annotations(installed)
        installation.register(app, installed)
        # Celery looks through this list whenever a task class binds, and nobody stands before us in it.
        celery_internals.set_annotations(app, [annotations])
        app.on_after_finalize.connect(annotations.sweep, weak=False, dispatch_uid=_AFTER_FINALIZE)
        handlers.connect()
        try:
            annotations.sweep()
        except JobtasticError:
            self.uninstall(app)
            installation.switched_off.discard(app)
            raise


class _Annotations:
    """Stands in for the app's whole list of annotations, and applies the user's own before our options."""

    def __init__(self, installed: Installation) -> None:
        self._installed = installed
        self._parsed: tuple[Any, list[Any]] = (None, [])

    def annotate(self, task: type[Task[Any, Any]]) -> dict[str, Any]:
        """Apply the user's annotations as Celery would, and then read our options, which may be among them.

        Celery stops at the first object that answers, which is this one.
        """
        try:
            for changes in resolve_all(self._users_own(), task):
                _apply(changes, task)
            self._installed.read(task)
        except AttributeError as error:
            # Celery up to 5.6.2 takes it for a missing method, and drops the annotation without a word.
            raise JobtasticError(f"annotating {name_of(task)!r} failed: {error}") from error
        return {}

    def annotate_any(self) -> dict[str, Any]:
        """Add nothing: :meth:`annotate` did it all."""
        return {}

    def sweep(self, **_: Any) -> None:
        """Look at all tasks there are.

        Celery announces neither those that bound before us nor subclasses of registered class tasks.
        """
        self._installed.sweep()

    def _users_own(self) -> list[Any]:
        setting = self._installed.app.conf.task_annotations
        if self._parsed[0] is not setting:
            own = [item for item in prepare(setting) if not isinstance(maybe_evaluate(item), Jobtastic)]
            self._parsed = (setting, own)
        return self._parsed[1]


def _apply(changes: Mapping[str, Any], task: type[Task[Any, Any]]) -> None:
    for name, value in changes.items():
        if name.startswith("@"):
            task.add_around(name[1:], value)
        else:
            setattr(task, name, value)


def _unwrap_tasks(removed: Installation) -> None:
    others = [installation_on(app) for app in installation.installed if app is not removed.app]
    for task in removed.tasks:
        # A task class can be registered with several apps.
        if not any(other is not None and other.knows(task) for other in others):
            remove_overrides(task)
