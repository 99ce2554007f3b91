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

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from celery import Celery, Task
from celery.result import AsyncResult

from .. import celery_internals
from ..errors import BrokerUnavailableError, JobtasticError
from ..installation import installation_on
from .attempt import Attempt, Phase
from .unpublished import UnpublishedCall

if TYPE_CHECKING:
    from ..installation import Installation

__all__ = ["async_or_eager", "async_or_fail", "delay_or_eager", "delay_or_fail"]

logger = logging.getLogger(__name__)

#: The part of the deadline within which the message has to leave. The rest is for storing the failure.
PUBLISHED_BY = 0.6

#: Options of ``apply_async`` that choose a connection to the broker.
_CONNECTIONS = ("producer", "publisher", "connection")


def delay_or_eager(task: Task, /, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    """Call ``task.delay(*args, **kwargs)``, or run the task in this process if the broker is down.

    Use it for tasks that take a few seconds at most. The run shares like any other, and its result can be
    read by its id.

    :returns: the result of the published call, or a :class:`celery.result.EagerResult` of the run.
    :raises JobtasticError: if the plugin is not enabled on the task's app.

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
    """Call ``task.delay(*args, **kwargs)``, or return a failed result if the broker is down.

    Use it for tasks that take long or need much memory. Whoever reads the result by its id sees the failure
    as well, with the broker's error.

    :raises JobtasticError: if the plugin is not enabled on the task's app.

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
    """Call ``task.apply_async(args, kwargs, **options)``, or run the task like :func:`delay_or_eager`.

    A run in this process does not wait for an ``eta`` or ``countdown``. The tasks that follow it, such as a
    ``link``, are published.

    :raises TypeError: for ``producer`` and ``connection``, since it publishes on its own connection.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    """
    return _call(task, args, kwargs, options, eagerly=True)


def async_or_fail(task: Task, /, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
    """Call ``task.apply_async(args, kwargs, **options)``, or fail like :func:`delay_or_fail`.

    :raises TypeError: for ``producer`` and ``connection``, since it publishes on its own connection.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    """
    return _call(task, args, kwargs, options, eagerly=False)


def _call(task: Task, args: Any, kwargs: Any, options: dict[str, Any], *, eagerly: bool) -> AsyncResult[Any]:
    task = celery_internals.real_task(task)
    installation = _checked(task, options)
    if task.app.conf.task_always_eager:
        return task.apply_async(args, kwargs, **options)
    began = time.monotonic()
    attempt = _attempt(installation, task, args, kwargs, options)
    error = attempt.error
    if error is None:
        result = cast("AsyncResult[Any]", attempt.result)
        # That of the thread which published would read the caller's replies of rpc://, too, and lose them.
        result.backend = task.backend
        return result
    if not attempt.is_broker_error:
        raise error
    unpublished = UnpublishedCall(installation, attempt, error, began=began)
    return unpublished.run(args, kwargs, options) if eagerly else unpublished.fail()


def _checked(task: Task, options: Mapping[str, Any]) -> Installation:
    installation = installation_on(task.app)
    if installation is None:
        raise JobtasticError(f"the plugin is not enabled on {task.app!r}; enable it with Jobtastic(app)")
    for name in _CONNECTIONS:
        if options.get(name) is not None:
            raise TypeError(
                f"{name} is not accepted here, since this function publishes on its own connection; "
                f"leave {name} out, or call apply_async"
            )
    return installation


def _attempt(
    installation: Installation, task: Task, args: Any, kwargs: Any, options: dict[str, Any]
) -> Attempt:
    """Return an attempt that has ended."""
    deadline, breaker = installation.settings.broker_deadline, installation.broker
    refusal = None if breaker.lets_through() else breaker.error
    attempt = Attempt(task, args, kwargs, options, deadline=deadline, refusal=refusal)
    attempt.begin()
    try:
        ended = attempt.wait(PUBLISHED_BY * deadline)
    except BaseException:
        attempt.give_up(BrokerUnavailableError("the caller was interrupted"))
        raise
    if not ended:
        waited = f"{PUBLISHED_BY * deadline:.3g} s"
        attempt.give_up(BrokerUnavailableError(f"{_broker_of(task.app)} did not answer within {waited}"))
    if refusal is None:
        _report_to_breaker(installation, attempt)
    return attempt


def _report_to_breaker(installation: Installation, attempt: Attempt) -> None:
    """Record in the circuit breaker whether the broker answered the attempt."""
    breaker, app = installation.broker, installation.app
    if attempt.phase is Phase.PUBLISHED:
        if breaker.is_open and breaker.answered():
            logger.info("the broker %s works again", _broker_of(app))
    elif not attempt.is_broker_error:
        breaker.retry()  # Nothing was sent to the broker.
    elif breaker.failed(attempt.error):
        logger.warning(
            "the broker %s cannot be reached (%r); delay_or_fail, delay_or_eager and their async variants "
            "answer calls without it until it works again",
            _broker_of(app),
            attempt.error,
        )


def _broker_of(app: Celery) -> str:
    """Return the broker's URL without its password."""
    return str(app.connection_for_write().as_uri())
