"""Calls that are answered also when the broker is down.

Each does what ``delay`` or ``apply_async`` does, for as long as the broker is well. When it is not, the call
is answered within the setting ``jobtastic_broker_deadline``: by a failed result, or by running the task right
here. For a while after that further calls in this process are answered at once. A call that was answered so
never runs in a worker.

The errors of the broker are all that is answered: a wrong argument, a value that cannot be serialised, a
queue that was declared otherwise are raised, as ever. Neither a dead result backend nor a dead store keeps a
call from being published.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from celery.result import AsyncResult

from ..errors import BrokerUnavailableError, JobtasticError
from ..registry import installation_on
from .attempt import Attempt
from .unpublished import Fallback

if TYPE_CHECKING:
    from ..installation import Installation

__all__ = ["async_or_eager", "async_or_fail", "delay_or_eager", "delay_or_fail"]

logger = logging.getLogger(__name__)

#: By which part of the deadline the message has to have left. The rest is for telling those who wait.
PUBLISHED_BY = 0.6

#: Options of ``apply_async`` that say how to reach the broker.
_CONNECTIONS = ("producer", "publisher", "connection")


def delay_or_eager(task: Task, /, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """As ``task.delay(*args, **kwargs)``; while the broker is down the task runs here and now.

    For tasks that take a few seconds at most. The run shares as any other, and its result can be looked up by
    its id.

    :returns: the result of what was published, or a :class:`celery.result.EagerResult` of what was run.
    :raises JobtasticError: if the task's app has not the plugin.

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


def delay_or_fail(task: Task, /, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """As ``task.delay(*args, **kwargs)``; while the broker is down the result is a failure.

    For tasks that take long, or much memory. Those who look the result up by its id see the failure too, with
    the broker's error.

    :raises JobtasticError: if the task's app has not the plugin.

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


def async_or_eager(task: Task, /, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
    """As ``task.apply_async(args, kwargs, **options)``, and as :func:`delay_or_eager`.

    A run here does not wait for an ``eta`` or ``countdown``. What follows it, as a ``link``, is published.

    :raises TypeError: for ``producer`` and ``connection``; it publishes on connections of its own.
    """
    return _call(task, args, kwargs, options, eagerly=True)


def async_or_fail(task: Task, /, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
    """As ``task.apply_async(args, kwargs, **options)``, and as :func:`delay_or_fail`.

    :raises TypeError: for ``producer`` and ``connection``; it publishes on connections of its own.
    """
    return _call(task, args, kwargs, options, eagerly=False)


def _call(task: Task, args: Any, kwargs: Any, options: dict[str, Any], *, eagerly: bool) -> AsyncResult[Any]:
    # What ``@app.task`` gives is a proxy of the task.
    task = getattr(task, "_get_current_object", lambda: task)()
    installation = installation_on(task.app)
    if installation is None:
        raise JobtasticError(f"{task.app!r} has not the plugin: switch it on with Jobtastic(app)")
    for name in _CONNECTIONS:
        if options.get(name) is not None:
            raise TypeError(f"{name} is not accepted here: this publishes on connections of its own")
    if task.app.conf.task_always_eager:
        return task.apply_async(args, kwargs, **options)
    began = time.monotonic()
    attempt = _attempt(installation, task, args, kwargs, options)
    if attempt.result is not None:
        return attempt.result
    error = attempt.error
    assert error is not None
    if not attempt.is_of_broker:
        raise error
    fallback = Fallback(installation, attempt, error, began=began)
    return fallback.run(args, kwargs, options) if eagerly else fallback.fail()


def _attempt(
    installation: Installation, task: Task, args: Any, kwargs: Any, options: dict[str, Any]
) -> Attempt:
    """An attempt that is done, or abandoned with an error of its own."""
    deadline, breaker = installation.settings.broker_deadline, installation.broker
    refusal = None if breaker.lets_through() else breaker.error
    attempt = Attempt(task, args, kwargs, options, deadline=deadline, refusal=refusal)
    attempt.begin()
    try:
        if not attempt.is_done(PUBLISHED_BY * deadline):
            error = f"{_broker_of(task.app)} has not answered in {PUBLISHED_BY * deadline:.3g} s"
            attempt.give_up(BrokerUnavailableError(error))
    except BaseException:
        attempt.abandon()
        raise
    if refusal is None:
        _note(installation, attempt)
    return attempt


def _note(installation: Installation, attempt: Attempt) -> None:
    """Let the breaker know what the attempt tells of the broker."""
    breaker, app = installation.broker, installation.app
    if attempt.published:
        if breaker.is_open and breaker.answered():
            logger.info("the broker %s works again", _broker_of(app))
    elif not attempt.is_of_broker:
        breaker.retry()  # It has not been tried.
    elif breaker.failed(attempt.error):
        logger.warning(
            "the broker %s cannot be reached (%r); calls are answered without it",
            _broker_of(app),
            attempt.error,
        )


def _broker_of(app: Celery) -> str:
    """Its URL, without a password."""
    return str(app.connection_for_write().as_uri())
