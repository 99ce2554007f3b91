"""Apps for the unit tests: broker, result backend and store in memory, and no worker.

A test module takes the fixture by ``new_app = unit_apps.new_app``.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery, Task, _state
from celery.app.trace import build_tracer
from kombu import Message

from jobtastic_signals import Jobtastic, Middleware
from jobtastic_signals.registry import installation_on
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore

NewApp = Callable[..., Celery]


@contextmanager
def nothing_shared() -> Iterator[None]:
    """What ``@app.task`` and ``@shared_task`` leave for every app to come is gone in the end."""
    shared = set(_state._on_app_finalizers)
    try:
        yield
    finally:
        _state._on_app_finalizers.clear()
        _state._on_app_finalizers.update(shared)


@pytest.fixture
def new_app() -> Iterator[NewApp]:
    """Makes an app, switched on unless ``plugin=False``; further keywords are its configuration.

    In the end all are switched off, and nothing of them is left.
    """
    apps: list[Celery] = []

    def make(*, plugin: bool = True, middleware: tuple[Middleware, ...] = (), **conf: Any) -> Celery:
        # As arguments, which configure nothing before somebody looks.
        defaults = {
            "broker_url": "memory://",
            "result_backend": "cache+memory://",
            "jobtastic_store": "memory://",
            "task_default_queue": uuid.uuid4().hex,
        }
        app = Celery("proj", set_as_current=False, **{**defaults, **conf})
        apps.append(app)
        if plugin:
            Jobtastic(app, middleware=middleware)
        return app

    with nothing_shared():
        yield make
    for app in apps:
        Jobtastic().uninstall(app)
        app.close()


def real(task: Task) -> Task:
    """The task behind the proxy that ``@app.task`` gives."""
    return task.app.tasks[task.name]


class Late(MemoryStore):
    """Decides who has the claim, and is too late to say so."""

    def admit(self, *args: Any, **kwargs: Any) -> Any:
        super().admit(*args, **kwargs)
        raise TimeoutError


def use_late_store(app: Celery, *, always_tried: bool = False) -> Late:
    """A store of that kind for *app*; it is left alone after a failure unless it is *always_tried*."""
    store, minutes = Late("memory://"), itertools.count(0.0, 60.0)
    clock = (lambda: next(minutes)) if always_tried else time.monotonic
    installation_on(app).use_store(GuardedStore(lambda: store, "memory://", clock=clock))
    return store


def store_of(app: Celery) -> Any:
    """The app's store, as the package talks to it."""
    return installation_on(app).store


def key_of(task: Task, *args: Any, **kwargs: Any) -> str:
    """The key of calling *task* with these arguments."""
    task = real(task)
    return installation_on(task.app).policy_of(type(task)).keys.key(task, args, kwargs)


def entry_of(task: Task, *args: Any, **kwargs: Any) -> Any:
    """What the store has under that key."""
    return store_of(task.app).lookup(key_of(task, *args, **kwargs))


def is_changed(task: Task) -> bool:
    """Whether methods of ours are on the task's class or above it."""
    names = ("apply_async", "__call__")
    found = [vars(cls).get(name) for cls in type(real(task)).__mro__ for name in names]
    return any(getattr(method, "__module__", "").startswith("jobtastic_signals") for method in found)


def published(app: Celery) -> list[Message]:
    """The messages in the app's queue, ready to be read as by its worker; the queue is empty afterwards."""
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[app.conf.task_default_queue](connection)
        queue.declare()
        return list(iter(lambda: queue.get(no_ack=True, accept=app.conf.accept_content), None))


def deliver(app: Celery, message: Message, **request: Any) -> Any:
    """Run the task of *message* as a worker would, but here; what Celery's tracer answers."""
    args, kwargs, embed = message.decode()
    task = app.tasks[message.headers["task"]]
    headers = {
        **message.headers,
        "callbacks": embed["callbacks"],
        "errbacks": embed["errbacks"],
        "chain": embed["chain"],
        "chord": embed["chord"],
        "delivery_info": {"exchange": "", "routing_key": app.conf.task_default_queue},
        **request,
    }
    return build_tracer(task.name, task, app=app)(message.headers["id"], args, kwargs, headers)


def work_off(app: Celery) -> list[str]:
    """Deliver what is in the queue, and what that publishes; the ids in order."""
    done = []
    while messages := published(app):
        for message in messages:
            deliver(app, message)
            done.append(message.headers["id"])
    return done
