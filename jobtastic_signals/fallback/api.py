"""Calls that are answered even if the broker is down.

Each function does the same as ``delay`` or ``apply_async`` while the broker works. If the broker is down, the
call is answered within the setting ``jobtastic_broker_deadline``: by a failed result, or by running the task
in this process. For a few seconds after that, this process answers further calls at once. A call that was
answered like this never runs in a worker.

Only the broker's errors are answered. Wrong arguments, a value that cannot be serialized, or a queue that was
declared differently are raised as usual. A dead result backend or a dead store does not keep a call from
being published.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ParamSpec, TypeVar

from celery import Signature, Task
from celery.result import AsyncResult, EagerResult

from ..support.threads import in_thread
from .answering import call_or_answer, planned_call
from .caller import as_caller

__all__ = [
    "adelay_or_eager",
    "adelay_or_fail",
    "async_or_eager",
    "async_or_fail",
    "delay_or_eager",
    "delay_or_eager_on_commit",
    "delay_or_fail",
    "delay_or_fail_on_commit",
]

# The arguments of a task, and what it returns, for type checkers with celery-types.
P = ParamSpec("P")
R = TypeVar("R")


def delay_or_eager(task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Call ``task.delay(*args, **kwargs)``, or run the task in this process if the broker is down.

    Use it for tasks that take a few seconds at most. The run shares like any other, and its result can be
    read by its id.

    :returns: the result of the published call, or a :class:`celery.result.EagerResult` of the run.
    :param task: a task, or the signature of one, to whose arguments and options these are added.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    :raises TypeError: for a chain, a group or a chord, which are several messages.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="redis://127.0.0.1:1", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task
    ... def double(n):
    ...     return 2 * n
    >>> delay_or_eager(double, 21).get()
    42
    >>> jobtastic.uninstall(app)
    """
    return async_or_eager(task, args, kwargs)


def delay_or_fail(task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Call ``task.delay(*args, **kwargs)``, or return a failed result if the broker is down.

    Use it for tasks that take long or need much memory. Whoever reads the result by its id sees the failure
    as well, with the broker's error.

    :param task: a task, or the signature of one, to whose arguments and options these are added.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    :raises TypeError: for a chain, a group or a chord, which are several messages.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="redis://127.0.0.1:1", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task
    ... def double(n):
    ...     return 2 * n
    >>> result = delay_or_fail(double, 21)
    >>> result.state, type(result.result).__name__
    ('FAILURE', 'OperationalError')
    >>> jobtastic.uninstall(app)
    """
    return async_or_fail(task, args, kwargs)


def async_or_eager(
    task: Task[..., R] | Signature[R], /, args: Any = None, kwargs: Any = None, **options: Any
) -> AsyncResult[R]:
    """Call ``task.apply_async(args, kwargs, **options)``, or run the task like :func:`delay_or_eager`.

    A run in this process does not wait for an ``eta`` or ``countdown``. The tasks that follow it, such as a
    ``link``, are published.

    :raises TypeError: for ``producer`` and ``connection``, since it publishes on its own connection.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    """
    return call_or_answer(planned_call(task, args, kwargs, options), eagerly=True)


def async_or_fail(
    task: Task[..., R] | Signature[R], /, args: Any = None, kwargs: Any = None, **options: Any
) -> AsyncResult[R]:
    """Call ``task.apply_async(args, kwargs, **options)``, or fail like :func:`delay_or_fail`.

    :raises TypeError: for ``producer`` and ``connection``, since it publishes on its own connection.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    """
    return call_or_answer(planned_call(task, args, kwargs, options), eagerly=False)


def delay_or_eager_on_commit(
    task: Task[P, Any] | Signature[Any], /, *args: P.args, **kwargs: P.kwargs
) -> None:
    """Call :func:`delay_or_eager` once Django's current transaction is committed, like ``delay_on_commit``.

    Outside of a transaction, that is at once. After a rollback nothing is called.

    :raises ImportError: without Django.
    """
    _on_commit(task, args, kwargs, eagerly=True)


def delay_or_fail_on_commit(
    task: Task[P, Any] | Signature[Any], /, *args: P.args, **kwargs: P.kwargs
) -> None:
    """Call :func:`delay_or_fail` once Django's current transaction is committed, like ``delay_on_commit``.

    Outside of a transaction, that is at once. After a rollback nothing is called.

    :raises ImportError: without Django.
    """
    _on_commit(task, args, kwargs, eagerly=False)


async def adelay_or_eager(
    task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs
) -> AsyncResult[R]:
    """Do :func:`delay_or_eager` in another thread, for code in an event loop of :mod:`asyncio`.

    The task runs in that thread, too. To cancel the ``await`` does not withdraw the call.
    """
    return await _in_thread(task, args, kwargs, eagerly=True)


async def adelay_or_fail(
    task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs
) -> AsyncResult[R]:
    """Do :func:`delay_or_fail` in another thread, for code in an event loop of :mod:`asyncio`.

    To cancel the ``await`` does not withdraw the call.

    >>> import asyncio
    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="redis://127.0.0.1:1", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task
    ... def double(n):
    ...     return 2 * n
    >>> asyncio.run(adelay_or_fail(double, 21)).state
    'FAILURE'
    >>> jobtastic.uninstall(app)
    """
    return await _in_thread(task, args, kwargs, eagerly=False)


def _on_commit(task: Task[Any, Any] | Signature[Any], args: Any, kwargs: Any, *, eagerly: bool) -> None:
    from django.db import transaction

    # Nobody could handle a wrong task after the commit.
    planned = planned_call(task, args, kwargs, {})
    transaction.on_commit(partial(call_or_answer, planned, eagerly=eagerly))


async def _in_thread(
    task: Task[Any, Any] | Signature[Any], args: Any, kwargs: Any, *, eagerly: bool
) -> AsyncResult[Any]:
    from asyncio import wrap_future  # Most processes need no event loop.

    planned = planned_call(task, args, kwargs, {})
    called = planned[0]
    # Not in the threads of the loop, which may be few, and are for others.
    work = in_thread(as_caller(called.app, partial(call_or_answer, planned, eagerly=eagerly)))
    result = await wrap_future(work.outcome)
    if not isinstance(result, EagerResult):
        # As for a call in this thread.
        result.backend = called.backend
    return result
