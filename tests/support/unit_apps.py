"""Apps for the unit tests: broker, result backend and store in memory, and no worker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from celery import Celery, Task, _state, signals
from celery.app.trace import build_tracer
from celery.worker.request import Request
from celery.worker.strategy import proto1_to_proto2
from kombu import Message

from jobtastic_signals.installation import Installation, installation_on
from jobtastic_signals.stores import Store
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore

NewApp = Callable[..., Celery]

T = TypeVar("T")
AnyStore = TypeVar("AnyStore", bound=Store)


@contextmanager
def nothing_shared() -> Iterator[None]:
    """What ``@app.task`` and ``@shared_task`` leave for every app to come is gone in the end."""
    shared = set(_state._on_app_finalizers)
    try:
        yield
    finally:
        _state._on_app_finalizers.clear()
        _state._on_app_finalizers.update(shared)


def real(task: Task) -> Task:
    """The task behind the proxy that ``@app.task`` gives."""
    return task.app.tasks[task.name]


class Late(MemoryStore):
    """Decides who has the claim, and is too late to say so."""

    def lookup_or_claim(self, *args: Any, **kwargs: Any) -> Any:
        super().lookup_or_claim(*args, **kwargs)
        raise TimeoutError

    def claim(self, *args: Any, **kwargs: Any) -> Any:
        super().claim(*args, **kwargs)
        raise TimeoutError


def use_late_store(app: Celery, *, always_tried: bool = False) -> Late:
    """Return a store of that kind for *app*; it is left alone after a failure unless it is *always_tried*."""
    return use_store(app, Late("memory://"), always_tried=always_tried)


def use_store(app: Celery, store: AnyStore, *, always_tried: bool = False) -> AnyStore:
    """Let *app* share through *store*; it is left alone after a failure unless it is *always_tried*."""
    minutes = itertools.count(0.0, 60.0)
    clock = (lambda: next(minutes)) if always_tried else time.monotonic
    installation_on(app).use_store(GuardedStore(lambda: store, "memory://", clock=clock))
    return store


def installed_on(app: Celery) -> Installation:
    """The plugin on *app*, which has it."""
    installation = installation_on(app)
    assert installation is not None
    return installation


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


class Consumer:
    """The main process of a worker, as far as signals show it."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.task_buckets: dict[str, Any] = {}


def receive(app: Celery, message: Message, consumer: Consumer | None = None) -> Request:
    """Return the request of *message*, as the main process of a worker makes and announces it."""
    if "id" in message.headers:
        request = Request(message, app=app)
    else:
        body, headers, decoded, utc = proto1_to_proto2(message, message.payload)
        request = Request(message, app=app, body=body, headers=headers, decoded=decoded, utc=utc)
    signals.task_received.send(sender=consumer or Consumer(app), request=request)
    return request


def execute(request: Request) -> Any:
    """Run *request* as a process of the pool would, but here; what Celery's tracer answers."""
    args, kwargs, embed = request._payload
    tracer = build_tracer(request.task.name, request.task, app=request.app)
    return tracer(request.id, args, kwargs, {**request.request_dict, **embed})


def elsewhere(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what *function* returns in another thread: not inside of the run that goes on in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()
