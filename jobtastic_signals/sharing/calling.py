"""Calls that ask for a run of their own: the verbs of ``delay`` for the options of ``apply_async``."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from celery import Signature, Task
from celery.result import AsyncResult

from ..installation import call_of, sharing_of

__all__ = ["bypass", "refresh"]

# The arguments of a task, and what it returns, for type checkers with celery-types.
P = ParamSpec("P")
R = TypeVar("R")


def refresh(task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Call ``task.delay(*args, **kwargs)`` for a run that begins after this call, and replaces the result.

    No stored result and no current run answers it. Others get the old result until the new one is stored, and
    keep it if the run fails. Identical calls that refresh at the same time share one run.

    The same as ``task.apply_async(args, kwargs, refresh=True)``. A task that shares nothing just runs.

    :param task: a task, or the signature of one, to whose arguments these are added.
    :raises TypeError: if *task* is neither, or is a canvas of several calls.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.update(jobtastic_store="memory://", task_always_eager=True)
    >>> jobtastic = Jobtastic(app)
    >>> answers = iter([1, 2])
    >>> @app.task(cache_duration=60)
    ... def answer():
    ...     return next(answers)
    >>> answer.delay().get(), answer.delay().get(), refresh(answer).get(), answer.delay().get()
    (1, 1, 2, 2)
    >>> jobtastic.uninstall(app)
    """
    return _call(task, args, kwargs, refresh=True, bypass=False)


def bypass(task: Task[P, R] | Signature[R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
    """Call ``task.delay(*args, **kwargs)`` for a run that neither reads nor writes what is shared.

    Nobody joins it, and its result is not stored for others. It runs beside identical runs.

    The same as ``task.apply_async(args, kwargs, bypass=True)``. A task that shares nothing just runs.

    :param task: a task, or the signature of one, to whose arguments these are added.
    :raises TypeError: if *task* is neither, or is a canvas of several calls.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.update(jobtastic_store="memory://", task_always_eager=True)
    >>> jobtastic = Jobtastic(app)
    >>> answers = iter([1, 2])
    >>> @app.task(cache_duration=60)
    ... def answer():
    ...     return next(answers)
    >>> answer.delay().get(), bypass(answer).get(), answer.delay().get()
    (1, 2, 1)
    >>> jobtastic.uninstall(app)
    """
    return _call(task, args, kwargs, refresh=False, bypass=True)


def _call(target: Task[Any, Any] | Signature[Any], args: Any, kwargs: Any, **asked: bool) -> AsyncResult[Any]:
    task, _, _ = call_of(target, args, kwargs)
    # Celery would put the options into the message of any other task.
    return target.apply_async(args, kwargs, **(asked if sharing_of(task) is not None else {}))
