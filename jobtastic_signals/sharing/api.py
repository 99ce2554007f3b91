"""What users can do with shared results."""

from __future__ import annotations

from typing import Any

from celery import Signature, Task

from ..installation import call_of, required_sharing_of

__all__ = ["forget"]


def forget(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> bool:
    """Drop the stored result of calling *task* with these arguments; the next such call runs again.

    Return whether there was one. A run that goes on now is not affected: its result is stored.

    :param task: a task, or a signature such as ``double.s(21)``.
    :raises TypeError: if *task* is neither, or does not take such arguments.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.
    :raises UnkeyableError: for an argument that has no canonical form.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(cache_duration=60)
    ... def double(n):
    ...     return 2 * n
    >>> double.apply((21,)).get(), forget(double, 21), forget(double, 21)
    (42, True, False)
    >>> jobtastic.uninstall(app)
    """
    task, args, kwargs = call_of(task, args, kwargs)
    installation, policy = required_sharing_of(task)
    return installation.store.forget(policy.keys.key(task, args, kwargs))
