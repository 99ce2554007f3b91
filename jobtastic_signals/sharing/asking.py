"""Asking what is stored, and what goes on, for one call. Nothing changes, and nothing is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Signature, Task, states

from ..calls import Call
from ..installation import Installation, call_of, required_sharing_of
from ..stores import Claim
from .answers import read_result
from .inventory import worker_of

__all__ = ["Cached", "InFlight", "cached", "in_flight", "named_call"]


@dataclass(frozen=True)
class Cached:
    """The stored result of a call.

    :ivar value: what the task returned; ``None`` if it failed.
    :ivar exception: the failure, for a task with ``cache_failures_for``; ``None`` for a success.
    :ivar age: seconds since the run ended.
    :ivar owner: the task id of that run.
    :ivar is_stale: whether it has expired, and is handed out while one run renews it.
    :ivar expires_in: seconds until it expires: 0 for a stale one, ``None`` for never.
    """

    value: Any
    exception: Exception | None
    age: float
    owner: str
    is_stale: bool
    expires_in: float | None


@dataclass(frozen=True)
class InFlight:
    """A message that is on its way, or a run that goes on.

    :ivar owner: its task id.
    :ivar is_running: whether it runs; otherwise it is queued.
    :ivar since: seconds since the run began, or since the message was published.
    :ivar worker: the name of the worker that runs it; ``None`` if it is queued or runs eagerly.
    :ivar lease_left: seconds until others take it for lost, unless its worker renews the lease.
    :ivar joined: how many calls have joined it, beside the owner's own.
    :ivar next: the queued message that is to run after this run; ``None`` without one.
    """

    owner: str
    is_running: bool
    since: float
    worker: str | None
    lease_left: float
    joined: int
    next: InFlight | None = None


def cached(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> Cached | None:
    """Return the stored result of calling *task* with these arguments; ``None`` if there is none.

    A store that does not answer counts as one that has none.

    :param task: a task, or a signature such as ``double.s(21)``.
    :raises TypeError: if *task* is neither, or does not take such arguments.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.
    :raises UnkeyableError: for an argument that has no canonical form, or from which no tag can be made.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(cache_duration=60)
    ... def double(n):
    ...     return 2 * n
    >>> cached(double, 21) is None, double.apply((21,)).get()
    (True, 42)
    >>> found = cached(double, 21)
    >>> found.value, round(found.expires_in), found.is_stale
    (42, 60, False)
    >>> jobtastic.uninstall(app)
    """
    installation, call = named_call(task, args, kwargs)
    result = installation.store.entry(call.key, scopes=call.scopes).result
    if result is None:
        return None
    value, readable = read_result(installation, call, result)
    if not readable:
        return None
    has_failed = result.state in states.EXCEPTION_STATES
    return Cached(
        value=None if has_failed else value,
        exception=value if has_failed else None,
        age=max(result.at - result.ended, 0.0),
        owner=result.owner,
        is_stale=result.is_stale(result.at),
        expires_in=None if result.expires is None else max(result.expires - result.at, 0.0),
    )


def in_flight(task: Task[Any, Any] | Signature[Any], /, *args: Any, **kwargs: Any) -> InFlight | None:
    """Return the message or the run that calling *task* with these arguments would join, or wait for.

    ``None`` if there is none, or if the store does not answer. Only tasks with ``herd_avoidance_timeout`` can
    have one.

    :raises Exception: as for :func:`cached`.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(herd_avoidance_timeout=60)
    ... def report(customer):
    ...     return f"{customer}: all is well"
    >>> first, second = report.delay("acme"), report.delay("acme")
    >>> found = in_flight(report, "acme")
    >>> found.owner == first.id, found.is_running, found.joined
    (True, False, 1)
    >>> in_flight(report, "globex") is None
    True
    >>> jobtastic.uninstall(app)
    """
    installation, call = named_call(task, args, kwargs)
    entry = installation.store.entry(call.key, scopes=call.scopes)
    if entry.claim is None:
        return None
    return _in_flight(entry.claim, entry.claim.at, entry.next)


def named_call(
    target: Task[Any, Any] | Signature[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Installation, Call]:
    """Return the plugin on the task's app, and a call that is never made, with its key and its scopes.

    :raises Exception: as for :func:`cached`.
    """
    task, args, kwargs = call_of(target, args, kwargs)
    installation, policy = required_sharing_of(task)
    key, scopes = policy.keys.key(task, args, kwargs), policy.tags.scopes(task, args, kwargs)
    return installation, Call(task, policy, key, installation.stack, plain=True, scopes=scopes)


def _in_flight(claim: Claim, now: float, following: Claim | None) -> InFlight:
    return InFlight(
        owner=claim.owner,
        is_running=claim.is_running,
        since=max(now - claim.since, 0.0),
        worker=worker_of(claim.delivery) or None,
        lease_left=max(claim.expires - now, 0.0),
        joined=claim.joined,
        next=None if following is None else _in_flight(following, now, None),
    )
