"""What the plugin keeps for one app, and how it is found: on the app itself, so it goes when the app goes."""

from __future__ import annotations

import reprlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any
from weakref import WeakSet

from celery import Celery, Signature, Task

from . import celery_internals
from .calls import TaskPolicy
from .errors import JobtasticError, SettingError
from .keys.context import KEY_CONTEXT
from .keys.options import CACHE_PREFIX, SIGNIFICANT_KWARGS
from .keys.recipe import KeyRecipe
from .keys.tags import CACHE_TAGS, TagRecipe
from .middleware import MiddlewareStack
from .options import Option, read_options
from .settings import Settings
from .stores import Store, open_shared_store, open_store
from .stores.guard import GuardedStore
from .support.circuit_breaker import CircuitBreaker
from .support.counters import Counters
from .support.timers import store_timers

__all__ = [
    "COUNTS",
    "NO_KEY",
    "OTHERS",
    "Installation",
    "call_of",
    "count",
    "ignores_results_by_default",
    "installation_on",
    "installed",
    "register",
    "required_sharing_of",
    "sharing_of",
    "switched_off",
    "unregister",
]

_ATTRIBUTE = "_jobtastic"

#: What the store calls the numbers of a task begins like this, and seconds for which it keeps them.
COUNTS, COUNTS_KEPT_FOR = "counts:", 90 * 24 * 3600.0

#: The numbers of calls without a key begin like this, and the argument without a canonical form follows.
NO_KEY = "no_key:"

#: The name for all keywords that ``**kwargs`` catches. Whoever calls chooses those.
OTHERS = "**"

#: Apps with the plugin, and apps where it was switched off, whatever their configuration says.
installed: WeakSet[Celery[Any]] = WeakSet()
switched_off: WeakSet[Celery[Any]] = WeakSet()


class Installation:
    """The plugin's state for one app.

    :ivar app: the app.
    :ivar stack: the middleware; set once, by whoever builds them.
    :ivar observers: the middleware for calls that are only observed.
    :ivar counters: what happens in this process, counted under the names of tasks.
    :ivar broker: the circuit breaker for the broker.
    :param wrap: puts our methods on a task class that has options of ours.
    """

    def __init__(self, app: Celery[Any], wrap: Callable[[type[Task[Any, Any]]], None]) -> None:
        self.app = app
        self.stack: MiddlewareStack = MiddlewareStack()
        self.observers: MiddlewareStack = MiddlewareStack()
        self.counters: Counters = Counters(self._count, store_timers)
        self.broker: CircuitBreaker = CircuitBreaker()
        self._wrap = wrap
        self._policies: dict[type[Task[Any, Any]], TaskPolicy | None] = {}
        self._store: GuardedStore | None = None
        self._store_lock = threading.Lock()

    @cached_property
    def settings(self) -> Settings:
        """The app's settings, read when they are first needed.

        :raises SettingError: if they are wrong.
        """
        return Settings.read(self.app)

    @cached_property
    def store(self) -> GuardedStore:
        """The app's store, in this process.

        :raises SettingError: if the settings are wrong.
        """
        settings = self.settings
        with self._store_lock:
            if self._store is None:
                self._store = GuardedStore(
                    self._open_for_use,
                    settings.store,
                    namespace=settings.namespace,
                    retry_after=settings.store_retry_after,
                )
            return self._store

    def open_store(self) -> Store:
        """Return the store that the settings name, opened once more.

        :raises SettingError: if the settings are wrong, or name a store that other processes cannot share
            though tasks run in other processes.
        :raises StoreError: if its driver is not installed.
        """
        settings = self.settings
        opening = open_store if self.app.conf.task_always_eager else open_shared_store
        return opening(settings.store, **settings.store_options)

    def _open_for_use(self) -> Store:
        # Not in open_store(), by which a worker prepares to fork: some result backends connect when they are
        # made.
        from .results.beside import tell_of_results  # Many processes use no store.

        store = self.open_store()
        tell_of_results(store, self.app)
        return store

    def use_store(self, store: GuardedStore | None, *, close: bool = False) -> GuardedStore | None:
        """Use *store* from now on, or with ``None`` what the settings say. Return what was in use.

        :param close: whether to close what was in use.
        """
        self.counters.flush()
        with self._store_lock:
            before, self._store = self._store, store
            vars(self).pop("store", None)
        if close and before is not None:
            before.close()
        return before

    @property
    def known_options(self) -> Iterator[Option]:
        """All options that a task may set here."""
        yield SIGNIFICANT_KWARGS
        yield CACHE_PREFIX
        yield KEY_CONTEXT
        yield CACHE_TAGS
        yield from self.stack.options

    @property
    def tasks(self) -> Iterator[type[Task[Any, Any]]]:
        """The task classes that have options of ours."""
        return (task for task, policy in list(self._policies.items()) if policy is not None)

    def policy_of(self, task: type[Task[Any, Any]]) -> TaskPolicy | None:
        """Return what the options of a task class ask for, or ``None`` if it has none.

        :raises OptionError: if one of them is wrong.
        """
        try:
            return self._policies[task]
        except KeyError:
            return self.read(task)

    def read(self, task: type[Task[Any, Any]]) -> TaskPolicy | None:
        """Read the options of a task class anew; see :meth:`policy_of`."""
        options = read_options(task, self.known_options)
        policy = None
        if options is not None:
            keys = KeyRecipe(task, options, lambda: self.settings.key_context)
            tags = TagRecipe(task, options[CACHE_TAGS.name], keys)
            policy = TaskPolicy(options, keys, tags, lambda: self.settings.observe)
            self.stack.check_options(task, policy)
            self._wrap(task)
        self._policies[task] = policy
        return policy

    def sweep(self) -> None:
        """Read the options of all tasks there are.

        :raises OptionError: if one of them is wrong.
        """
        for task in list(celery_internals.tasks_without_finalizing(self.app).values()):
            self.policy_of(type(task))

    def _count(self, task_name: str, amounts: Mapping[str, float]) -> bool:
        with suppress(SettingError):
            return self.store.count(COUNTS + task_name, amounts, ttl=COUNTS_KEPT_FOR)
        return True  # Nothing can ever be shared with these settings, and every call says so.

    def knows(self, task: type[Task[Any, Any]]) -> bool:
        """Return whether a task class has options of ours, as far as they have been read."""
        return self._policies.get(task) is not None

    def has_seen(self, task: type[Task[Any, Any]]) -> bool:
        """Return whether the options of a task class have been read."""
        return task in self._policies


def installation_on(app: Celery[Any]) -> Installation | None:
    """Return the plugin on *app*, or ``None`` if it is not switched on."""
    return getattr(app, _ATTRIBUTE, None)


def sharing_of(task: Task[Any, Any]) -> tuple[Installation, TaskPolicy] | None:
    """Return the plugin on *task*'s app and what the task's options ask for; ``None`` if one is missing."""
    installation: Installation | None = getattr(task.app, _ATTRIBUTE, None)
    if installation is None:
        return None
    # Not type(task): what ``@app.task`` gives is a proxy of the task.
    policy = installation.policy_of(task.__class__)
    return None if policy is None else (installation, policy)


def count(task: Task[Any, Any], **amounts: float) -> None:
    """Add *amounts* to the numbers of *task*."""
    installation = installation_on(task.app)
    if installation is not None:
        installation.counters.add(task.name, **amounts)


def ignores_results_by_default(task: Task[Any, Any]) -> bool:
    """Return whether *task* shares, and nobody can read its results because of ``task_ignore_result``."""
    found = sharing_of(task)
    shares = found is not None and found[1].shares
    return bool(shares and task.ignore_result and task.app.conf.task_ignore_result)


def required_sharing_of(task: Task[Any, Any]) -> tuple[Installation, TaskPolicy]:
    """Return the same as :func:`sharing_of`.

    :raises TypeError: if *task* is not a task.
    :raises JobtasticError: if the plugin is not enabled, or the task has no options of ours.
    """
    if not isinstance(task, Task):
        raise TypeError(_no_task(task))
    found = sharing_of(task)
    if found is None:
        raise JobtasticError(
            f"task {task.name!r} shares nothing: it sets none of our options, or the plugin is not enabled "
            "on its app; set an option such as herd_avoidance_timeout=60, and call Jobtastic(app)"
        )
    return found


def call_of(
    target: Task[Any, Any] | Signature[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Task[Any, Any], tuple[Any, ...], dict[str, Any]]:
    """Return the task to be called and its arguments.

    :param target: a task, or a signature of one, whose arguments *args* and *kwargs* complete as in
        ``signature.delay(*args, **kwargs)``.
    :raises TypeError: if it is neither.
    """
    if not isinstance(target, Signature):
        if not isinstance(target, Task):
            raise TypeError(_no_task(target))
        return target, args, dict(kwargs)
    if target.task.startswith("celery."):  # Such as ``celery.chain``.
        raise TypeError(f"{target!r} is a canvas of several calls; give the signature of one of its tasks")
    call = target.clone(args, kwargs)
    return call.type, tuple(call.args), dict(call.kwargs)


def _no_task(value: object) -> str:
    if isinstance(value, str):
        return f"{value!r} is the name of a task; give the task itself, such as app.tasks[{value!r}]"
    if isinstance(value, Signature):
        return f"{value!r} is a signature; give its task"
    kind = type(value)
    return (
        f"{reprlib.repr(value)}, of type {kind.__module__}.{kind.__qualname__}, is not a task; give a task, "
        "which is a function decorated with @app.task, or a signature of it, such as task.s(1)"
    )


def register(app: Celery[Any], installation: Installation) -> None:
    """Let *installation* be found on *app*."""
    setattr(app, _ATTRIBUTE, installation)
    installed.add(app)
    switched_off.discard(app)


def unregister(app: Celery[Any]) -> Installation | None:
    """Let nothing be found on *app* any longer. Return what was found there."""
    installation = installation_on(app)
    if installation is not None:
        delattr(app, _ATTRIBUTE)
    installed.discard(app)
    switched_off.add(app)
    return installation
