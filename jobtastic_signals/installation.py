"""The plugin on one app: its store, its middleware, and what its tasks' options ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.app.annotations import prepare, resolve_all
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from kombu.utils.functional import maybe_evaluate

from . import registry
from .calls import Call, Run, TaskPolicy
from .errors import JobtasticError
from .keys.recipe import CACHE_PREFIX, SIGNIFICANT_KWARGS, KeyRecipe
from .memory.middleware import MemoryWatch
from .middleware import Middleware
from .options import Option, name_of, read_options
from .overrides import add_methods, remove_methods
from .progress.middleware import ProgressReports
from .settings import Settings
from .sharing.middleware import Sharing
from .stores import open_store
from .stores.guard import GuardedStore
from .support.circuit_breaker import Breaker

__all__ = ["Installation"]

logger = logging.getLogger(__name__)

_AFTER_FINALIZE = "jobtastic_signals.after_finalize"


class Installation:
    """The plugin on one app.

    :ivar broker: whether the broker is known to be down.
    :ivar result_backend: whether the result backend is.
    """

    def __init__(self, app: Celery, middleware: Iterable[Middleware] = ()) -> None:
        self.app = app
        built_in = (
            Sharing(lambda: self.settings, lambda: self.store),
            ProgressReports(lambda: self.settings, lambda: self.store),
            MemoryWatch(lambda: self.settings),
        )
        self.middleware: tuple[Middleware, ...] = (*built_in, *middleware)
        self.broker, self.result_backend = Breaker(), Breaker()
        self._policies: dict[type[Task], TaskPolicy | None] = {}
        self._annotations: tuple[Any, list[Any]] = (None, [])
        self._settings: Settings | None = None
        self._store: GuardedStore | None = None
        self._store_lock = threading.Lock()
        # Celery looks through this list whenever a task class binds, and nobody stands before us in it.
        app.annotations = [self]
        app.on_after_finalize.connect(self._after_finalize, weak=False, dispatch_uid=_AFTER_FINALIZE)

    @property
    def settings(self) -> Settings:
        """The app's settings, read when they are first needed.

        :raises SettingError: if they are wrong.
        """
        if self._settings is None:
            self._settings = Settings.read(self.app)
        return self._settings

    @property
    def store(self) -> GuardedStore:
        """The app's store, in this process.

        :raises SettingError: if the settings are wrong.
        """
        if self._store is None:
            settings = self.settings
            with self._store_lock:
                if self._store is None:
                    opening = partial(open_store, settings.store, **settings.store_options)
                    self._store = GuardedStore(opening, settings.store, namespace=settings.namespace)
        return self._store

    def use_store(self, store: GuardedStore | None) -> GuardedStore | None:
        """Take *store* from now on, or with ``None`` what the settings say; what was in use."""
        with self._store_lock:
            before, self._store = self._store, store
        return before

    def policy_of(self, task: type[Task]) -> TaskPolicy | None:
        """What the options of a task class ask for; ``None`` if it has none."""
        try:
            return self._policies[task]
        except KeyError:
            return self._attach(task)

    def knows(self, task: type[Task]) -> bool:
        """Whether *task* is here, and has options of ours."""
        return self._policies.get(task) is not None

    def has_seen(self, task: type[Task]) -> bool:
        """Whether it is known already what *task* asks for, if anything."""
        return task in self._policies

    def known_options(self) -> Iterator[Option]:
        """All options that a task may set here."""
        yield SIGNIFICANT_KWARGS
        yield CACHE_PREFIX
        for middleware in self.middleware:
            yield from middleware.options

    def annotate(self, task: type[Task]) -> dict[str, Any]:
        """Called by Celery for each task class that binds.

        Applies the user's own annotations as Celery would, which takes the first that has an answer and
        would stop at us, and then our options, which may stand in them.
        """
        try:
            for changes in resolve_all(self._users_annotations(), task):
                _apply(changes, task)
            self._attach(task)
        except AttributeError as error:
            # Celery up to 5.6.2 takes it for a missing method, and drops the annotation without a word.
            raise JobtasticError(f"annotating {name_of(task)!r} failed: {error}") from error
        return {}

    def annotate_any(self) -> dict[str, Any]:
        """Called by Celery beside :meth:`annotate`, which did it all."""
        return {}

    def sweep(self) -> None:
        """Look at all tasks there are.

        Those that bound before us were not announced, nor are subclasses of registered class tasks.
        """
        for task in list(self.app._tasks.values()):
            self.policy_of(type(task))

    def walk(self, hook: str, subject: Call | Run) -> None:
        """Call *hook* of each middleware in order; what one raises is logged, but for a soft time limit."""
        for middleware in self.middleware:
            self._call(middleware, hook, subject)

    def walk_back(self, hook: str, subject: Call | Run, *more: Any) -> None:
        """As :meth:`walk`, in the reverse order."""
        struck: SoftTimeLimitExceeded | None = None
        for middleware in reversed(self.middleware):
            try:
                self._call(middleware, hook, subject, *more)
            except SoftTimeLimitExceeded as limit:
                struck = limit
        if struck is not None:
            raise struck

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """What the first middleware that can answers *call* with.

        :raises JobtasticError: for what the user has to mend, as a wrong setting.
        """
        for position, middleware in enumerate(self.middleware):
            try:
                result = middleware.answer(call)
            except (JobtasticError, SoftTimeLimitExceeded):
                raise
            except Exception:
                logger.exception("answer of %r failed", middleware)
            else:
                if result is not None:
                    for before in reversed(self.middleware[:position]):
                        self._call(before, "publish_failed", call)
                    return result
        return None

    def remove(self) -> None:
        """Undo what was done to the app and to its tasks."""
        others = [registry.installation_on(app) for app in registry.installed if app is not self.app]
        for task, policy in self._policies.items():
            # A task class can be registered with several apps.
            if policy is not None and not any(other is not None and other.knows(task) for other in others):
                remove_methods(task)
        del self.app.annotations
        self.app.on_after_finalize.disconnect(dispatch_uid=_AFTER_FINALIZE)
        if self._store is not None:
            self._store.close()

    def _after_finalize(self, **_: Any) -> None:
        self.sweep()

    def _attach(self, task: type[Task]) -> TaskPolicy | None:
        options = read_options(task, self.known_options())
        if options is None:
            policy = None
        else:
            policy = TaskPolicy(options, KeyRecipe(task, options))
            add_methods(task)
        self._policies[task] = policy
        return policy

    def _users_annotations(self) -> list[Any]:
        setting = self.app.conf.task_annotations
        if self._annotations[0] is not setting:
            users = [item for item in prepare(setting) if not _is_plugin(maybe_evaluate(item))]
            self._annotations = (setting, users)
        return self._annotations[1]

    def _call(self, middleware: Middleware, hook: str, *arguments: Any) -> None:
        try:
            getattr(middleware, hook)(*arguments)
        except SoftTimeLimitExceeded:
            # It strikes wherever the process is, and is the task's.
            raise
        except Exception:
            logger.exception("%s of %r failed", hook, middleware)


def _apply(changes: Mapping[str, Any], task: type[Task]) -> None:
    for name, value in changes.items():
        if name.startswith("@"):
            task.add_around(name[1:], value)
        else:
            setattr(task, name, value)


def _is_plugin(annotation: Any) -> bool:
    from .plugin import Jobtastic

    return isinstance(annotation, Jobtastic)
