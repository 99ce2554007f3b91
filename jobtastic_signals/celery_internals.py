"""Every use of private parts of Celery and kombu, each with the reason why no public way exists.

``tests/unit/test_celery_internals.py`` has a canary for each: it fails with a clear message when a release
changes it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Celery, Task, states
from celery._state import _on_app_finalizers, _task_stack, _tls, connect_on_app_finalize
from celery.result import AsyncResult
from kombu import serialization
from kombu.messaging import Producer
from kombu.utils.functional import maybe_evaluate
from vine import promise

__all__ = [
    "GatedProducer",
    "annotations_of",
    "app_of_thread",
    "close_backend_of_thread",
    "drop_annotations",
    "dump_pydantic_arguments",
    "for_each_app",
    "is_fanout",
    "is_importing_for_django",
    "known_meta",
    "know_meta",
    "mark_as_revoked",
    "merge_into_request",
    "real_task",
    "refund_rate_limit",
    "restore_unacknowledged",
    "restore_when_closing",
    "running_as",
    "running_tasks",
    "serializer_named_by",
    "set_annotations",
    "steps_of_finalizing",
    "tasks_without_finalizing",
    "thread_oid",
    "use_thread_oid",
]


def annotations_of(app: Celery[Any]) -> list[Any]:
    """Return the list that Celery looks through whenever a task class binds.

    ``Celery.annotations`` is not documented. The setting is, but Celery reads it once and stops at the first
    object that answers, so an object that adds to others' answers has to replace the list.
    """
    annotations: list[Any] = app.annotations
    return annotations


def set_annotations(app: Celery[Any], annotations: list[Any]) -> None:
    """Replace the list of :func:`annotations_of`."""
    app.annotations = annotations


def drop_annotations(app: Celery[Any]) -> None:
    """Let Celery read its setting again."""
    del app.annotations


def tasks_without_finalizing(app: Celery[Any]) -> Mapping[str, Task[Any, Any]]:
    """Return the tasks that are registered by now.

    ``app.tasks`` also finalizes the app, which would run the finalizers of shared tasks too early.
    """
    tasks: Mapping[str, Task[Any, Any]] = app._tasks
    return tasks


def steps_of_finalizing(app: Celery[Any]) -> Iterator[Callable[[], object]]:
    """Yield functions that finalize *app* together. Each may raise, and the next one continues.

    ``Celery.finalize`` stops at the first task that cannot bind, and does nothing when it is called again.
    """
    failed = False

    def finalize() -> None:
        nonlocal failed
        failed = True
        app.finalize()
        failed = False

    yield finalize
    for finalizer in list(_on_app_finalizers) if failed else ():
        yield partial(_finalize_quietly, finalizer, app)
    while app._pending:
        yield partial(maybe_evaluate, app._pending.popleft())


def _finalize_quietly(finalizer: Callable[[Celery[Any]], object], app: Celery[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It may make a task of Celery's once more, which changes nothing.
        finalizer(app)


def for_each_app(step: Callable[[Celery[Any]], object]) -> None:
    """Call *step* with each app that is finalized from now on.

    ``shared_task`` does so with a function. There is no public way for a class.
    """
    connect_on_app_finalize(step)


def app_of_thread() -> Celery[Any] | None:
    """Return the app that was made last in this thread, or ``None``.

    ``current_app`` makes a default app instead, which then stays the default.
    """
    app: Celery[Any] | None = _tls.current_app
    return app


def real_task(task: Task[Any, Any]) -> Task[Any, Any]:
    """Return the task behind the proxy that ``@app.task`` returns. There is no public way to ask for it."""
    found: Task[Any, Any] = getattr(task, "_get_current_object", lambda: task)()
    return found


def running_tasks() -> list[Task[Any, Any]]:
    """Return the tasks that run in this thread, the innermost last.

    ``current_task`` and ``app.current_worker_task`` return the innermost only.
    """
    stack: list[Task[Any, Any]] = _task_stack.stack
    return stack


@contextmanager
def running_as(task: Task[Any, Any] | None, request: Any) -> Iterator[None]:
    """Let this thread publish as part of the run of *task* under *request*.

    Celery finds the parent of a call through stacks of each thread. No public function carries them over.
    """
    if task is None:
        yield
        return
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _task_stack.pop()


def thread_oid(app: Celery[Any]) -> str:
    """Return the name of this thread's reply queue, which ``rpc://`` reads from. Undocumented."""
    oid: str = app.thread_oid
    return oid


def use_thread_oid(app: Celery[Any], oid: str) -> None:
    """Let replies to what this thread publishes go to the queue of another thread."""
    app._local.oid = oid


def close_backend_of_thread(app: Celery[Any]) -> None:
    """Close the connections of *app*'s result backend in this thread, which ends.

    Celery makes a backend for each thread, and leaves its connections to the garbage collector.
    """
    backend = vars(app._local).pop("backend", None)
    if backend is not None:
        pool = getattr(vars(backend).get("client"), "connection_pool", None)
        if pool is not None:
            pool.disconnect()


def known_meta(result: AsyncResult[Any]) -> Any:
    """Return what *result* has loaded by now, or ``None``. Each public way may ask the backend."""
    return result._cache


def know_meta(result: AsyncResult[Any], meta: dict[str, Any]) -> None:
    """Let a new *result* know what the backend said, if that is final. Otherwise its next use asks again.

    Celery's own way also tells the backend to wait no longer for that id. Nobody waits by a new result.
    """
    if meta["status"] in states.READY_STATES:
        result.on_ready = promise()
        result._set_cache(meta)
        result.on_ready(result)


def mark_as_revoked(request: Any) -> None:
    """Let a worker leave *request* alone, like one whose revocation has been dealt with.

    ``task_received`` cannot refuse a message, and ``revoke`` would store the state REVOKED.
    """
    request._already_revoked = True


def merge_into_request(request: Any, **values: Any) -> None:
    """Add attributes to the request that the process of the pool will see.

    Only this dict of a worker's request travels to that process. It has a public name, but is not documented.
    """
    request.request_dict.update(values)


def refund_rate_limit(consumer: Any, task_name: str) -> None:
    """Give back the token that a message of a rate-limited task is about to use up.

    A message that waits for an identical run has paid for its first delivery. Celery has no way to exempt a
    message.
    """
    bucket = consumer.task_buckets.get(task_name)
    if bucket is not None:
        bucket._tokens += 1


def restore_when_closing(channel: Any, wanted: bool) -> None:
    """Say whether a channel to Redis gives back its unacknowledged messages when it closes.

    It does so by default. When the connection has just broken that cannot work, and kombu 5.7 raises an error
    that ends the whole worker.
    """
    qos = getattr(channel, "qos", None)
    if hasattr(qos, "restore_by_tag"):
        setattr(qos, "restore_at_shutdown", wanted)  # noqa: B010 - of an object without types


def restore_unacknowledged(consumer: Any, delivery_tag: str) -> None:
    """Put a message that Redis believes to be delivered back into its queue, if it is still there.

    Kombu does so by itself only after ``visibility_timeout``. Other brokers need no such help.
    """
    channel = consumer.connection.default_channel
    restore = getattr(getattr(channel, "qos", None), "restore_by_tag", None)
    if restore is not None:
        restore(delivery_tag)


def is_fanout(app: Celery[Any], exchange: str | None) -> bool:
    """Return whether *exchange* gives each message to every worker.

    ``app.amqp.queues`` is public, but a message names only its exchange, and not the type.
    """
    if not exchange:
        return False
    return any(
        queue.exchange is not None and queue.exchange.name == exchange and queue.exchange.type == "fanout"
        for queue in app.amqp.queues.values()
    )


def serializer_named_by(content_type: str | None) -> str | None:
    """Return the name of the serializer that writes *content_type*, or ``None``.

    A message says its content type, and publishing takes a name. Kombu's registry has no public way back.
    """
    name: str | None = serialization.registry.type_to_name.get(content_type)
    return name


def dump_pydantic_arguments(task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments with pydantic models dumped, like Celery 5.7 and later do for a caller.

    Celery does it inside ``apply_async``, after our override.
    """
    dump = getattr(task, "_dump_pydantic_arguments", None)
    if dump is None:
        return args, kwargs
    dumped: tuple[Any, Any] = dump(args, kwargs)
    return dumped


def is_importing_for_django() -> bool:
    """Return whether this is called by Django's checks, which Celery runs when it imports a project's tasks.

    Celery's support for Django does that inside the signal ``import_modules``, and checks do not learn it.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "celery.fixups.django":
            return True
    return False


class GatedProducer(Producer):
    """A producer that calls :meth:`before_sending` right before a message leaves.

    Kombu connects, declares and sends in one method, and has no hook between them.
    """

    def before_sending(self) -> None:
        """Raise to keep the message from leaving."""

    def _publish(self, *arguments: Any, **options: Any) -> Any:
        self.before_sending()
        return super()._publish(*arguments, **options)  # type: ignore[no-untyped-call]
