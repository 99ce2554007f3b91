"""What users can drop: stored results, one by one or together, and claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery import Celery, Signature, Task, current_app

from ..calls import TaskPolicy
from ..errors import JobtasticError, StoreError
from ..installation import Installation, installation_on, required_sharing_of
from ..keys.tags import scope_of_prefix, scope_of_tag
from .asking import named_call
from .inventory import release_claim

__all__ = ["forget", "forget_all", "forget_tag", "release"]

#: Seconds that a run without ``herd_avoidance_timeout`` takes at most, so that what it computes stays
#: forgotten.
LONGEST_RUN = 24 * 3600.0


def forget(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> bool:
    """Drop the stored result of calling *task* with these arguments; the next such call runs again.

    Return whether there was one. A run that goes on is not stopped, and its result answers the calls that
    were made before now. Calls from now on neither join it nor get its result.

    :param task: a task, or a signature such as ``double.s(21)``.
    :raises TypeError: if *task* is neither, or does not take such arguments.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.
    :raises UnkeyableError: for an argument that has no canonical form, or from which no tag can be made.
    :raises StoreError: if the store does not answer. Then nothing is dropped.

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
    installation, call = named_call(task, args, kwargs)
    return installation.store.forget(call.key) or _checked(installation)


def forget_all(task_or_prefix: Task[Any, Any] | str, /, *, app: Celery[Any] | None = None) -> None:
    """Drop the stored results of all calls of a task, in constant time; see :func:`forget`.

    Tasks that share a ``cache_prefix`` have their results in common, and lose them together.

    :param task_or_prefix: a task, the name of one, or a ``cache_prefix``.
    :param app: whose tasks a text is about; the current app by default.
    :raises JobtasticError: if the task has no options of ours, if no task of *app* has that name or prefix,
        or if the plugin is not enabled.
    :raises StoreError: if the store does not answer. Then nothing is dropped.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic, cached
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(cache_duration=60)
    ... def triple(n):
    ...     return 3 * n
    >>> [triple.apply((n,)).get() for n in (1, 2)]
    [3, 6]
    >>> forget_all(triple)
    >>> cached(triple, 1), cached(triple, 2)
    (None, None)
    >>> jobtastic.uninstall(app)
    """
    if isinstance(task_or_prefix, str):
        installation = _installation_on(app)
        found = [
            (task, policy)
            for task, policy in _sharing_tasks(installation)
            if task_or_prefix in (task.name, policy.keys.prefix_of(task))
        ]
        if not found:
            raise JobtasticError(
                f"no task of {installation.app!r} that shares has the name or the cache_prefix "
                f"{task_or_prefix!r}; import the module of the task first, or give the task itself"
            )
        named = {policy.keys.prefix_of(task) for task, policy in found}
    else:
        installation, policy = required_sharing_of(task_or_prefix)
        named = {policy.keys.prefix_of(task_or_prefix)}
    for prefix in named:
        sharing = _sharing_tasks(installation)
        policies = [each for task, each in sharing if each.keys.prefix_of(task) == prefix]
        _forget_scope(installation, scope_of_prefix(prefix), policies)


def forget_tag(tag: str, /, *, app: Celery[Any] | None = None) -> None:
    """Drop the stored results of all calls with *tag*, in constant time; see :func:`forget`.

    :param tag: a text that the option ``cache_tags`` of a task has made, such as ``"customer:5"``.
    :param app: whose store it is; the current app by default.
    :raises JobtasticError: if no task of *app* has ``cache_tags``, or the plugin is not enabled.
    :raises StoreError: if the store does not answer. Then nothing is dropped.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic, cached
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(cache_duration=60, cache_tags=["customer:{customer}"])
    ... def report(customer, year=2026):
    ...     return f"{customer}, {year}: all is well"
    >>> for customer in (5, 6):
    ...     _ = report.apply((customer,))
    >>> forget_tag("customer:5", app=app)
    >>> cached(report, 5), cached(report, 6).value
    (None, '6, 2026: all is well')
    >>> jobtastic.uninstall(app)
    """
    if not isinstance(tag, str):
        raise TypeError(f"a tag is a text, and {tag!r} is not one")
    installation = _installation_on(app)
    policies = [policy for _, policy in _sharing_tasks(installation) if policy["cache_tags"] is not None]
    if not policies:
        raise JobtasticError(
            f"no task of {installation.app!r} has the option cache_tags; import the modules of its tasks "
            "first, or give another app"
        )
    _forget_scope(installation, scope_of_tag(tag), policies)


def release(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> bool:
    """Free the claim on calling *task* with these arguments, whoever has it. Return whether there was one.

    Claims free themselves: when a run ends, and within ``jobtastic_lease`` when a host is lost. This is for
    those who know that earlier. Nothing is stopped:

    * A run that goes on is not revoked. Its worker claims the key again within a third of
      ``jobtastic_lease``, unless another run has claimed it by then. Two runs can overlap.
    * If another run has the key, the result of this one is kept only if that one has stored none.
    * A queued message still arrives, and runs unless a stored result answers it.

    :raises Exception: as for :func:`forget`.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(herd_avoidance_timeout=60)
    ... def invoice(customer):
    ...     return f"{customer}: all is well"
    >>> lost = invoice.delay("acme")
    >>> release(invoice, "acme"), release(invoice, "acme")
    (True, False)
    >>> invoice.delay("acme").id == lost.id
    False
    >>> jobtastic.uninstall(app)
    """
    installation, call = named_call(task, args, kwargs)
    entry = installation.store.entry(call.key)
    owners = [claim.owner for claim in (entry.claim, entry.next) if claim is not None]
    freed = [release_claim(installation, call.key, owner, also_running=True) for owner in owners]
    return any(freed) or _checked(installation)


def _forget_scope(installation: Installation, scope: str, policies: Iterable[TaskPolicy]) -> None:
    if not installation.store.forget_scope(scope, ttl=_longest(policies)):
        _checked(installation)


def _longest(policies: Iterable[TaskPolicy]) -> float | None:
    """Return for how many seconds what these tasks computed until now can be stored; ``None`` for ever."""
    lasts, runs = 0.0, LONGEST_RUN
    for policy in policies:
        if policy.result_ttl is None:
            return None
        failures = [each or 0.0 for each in policy["cache_failures_for"].values()]
        lasts = max(lasts, policy.result_ttl + policy["cache_stale_for"], *failures)
        runs = max(runs, policy.join_timeout)
    return runs + lasts


def _sharing_tasks(installation: Installation) -> Iterator[tuple[Task[Any, Any], TaskPolicy]]:
    """Yield the app's tasks that share, and what their options ask for."""
    for task in installation.app.tasks.values():
        policy = installation.policy_of(type(task))
        if policy is not None and policy.shares:
            yield task, policy


def _installation_on(app: Celery[Any] | None) -> Installation:
    installation = installation_on(current_app if app is None else app)
    if installation is None:
        raise JobtasticError(
            f"the plugin is not enabled on {current_app if app is None else app!r}; call Jobtastic(app), or "
            "give the app where it is enabled"
        )
    return installation


def _checked(installation: Installation) -> bool:
    """Return ``False``.

    :raises StoreError: if the store does not answer, so nothing was dropped.
    """
    if installation.store.is_down:
        raise StoreError(f"the store {installation.store.url} does not answer, so nothing was dropped")
    return False
