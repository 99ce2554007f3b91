"""Leaving: a caller wants a result no more, and the run ends when nobody wants it any more."""

from __future__ import annotations

from typing import Any

from celery import Celery, states
from celery.result import AsyncResult, EagerResult
from kombu.exceptions import OperationalError

from ..errors import BrokerUnavailableError, JobtasticError, StoreError
from ..fallback.broker import name_of, open_connection
from ..installation import Installation, installation_on
from ..results import backend
from .origin import Origin, origin_of

__all__ = ["leave", "sharing_of"]


def sharing_of(result: AsyncResult[Any]) -> Origin:
    """Return where *result* comes from: a run of its own call, the run of another call, or a stored result.

    Only the result of the call itself knows. The kind of one that was made from an id is ``"unknown"``, and
    so is that of a task without our options. What is returned can be pickled, for :func:`leave` in another
    process.

    :param result: what ``delay`` or ``apply_async`` has returned.
    :raises TypeError: for a result of several tasks, such as that of a group.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(herd_avoidance_timeout=60)
    ... def double(n):
    ...     return 2 * n
    >>> first, second = double.delay(21), double.delay(21)
    >>> sharing_of(first).kind, sharing_of(second).kind, sharing_of(second).owner == first.id
    ('own', 'joined', True)
    >>> jobtastic.uninstall(app)
    """
    if not isinstance(result, AsyncResult):
        raise TypeError(f"{result!r} is not the result of one task, as delay and apply_async return it")
    return origin_of(result) or Origin("unknown", result.id, result.id)


def leave(result: AsyncResult[Any], *, origin: Origin | None = None, terminate: bool = True) -> bool:
    """Say that this caller wants *result* no more. The run is revoked when all its callers have left.

    Callers count as interested until they leave, or the run ends. A caller that leaves twice counts once.
    Later calls do not join a run that everybody has left. A run is not revoked while another message waits
    for it.

    :param result: what ``delay`` or ``apply_async`` has returned, or a result made from its id and *origin*.
    :param origin: what :func:`sharing_of` returned for the result of the call, perhaps in another process.
    :param terminate: whether to stop a run that has begun. A pool of threads cannot do that, and lets the run
        go on to its end.
    :returns: whether the run was revoked. ``False`` also if it has ended, and for a cached result.
    :raises JobtasticError: if the kind of *result* is ``"unknown"``: it does not say which of its callers
        leaves. Call ``result.revoke()`` if its task has none of our options, so that nobody can have joined.
        Also if the plugin is not enabled.
    :raises StoreError: if the store does not answer, since only that knows the other callers.
    :raises BrokerUnavailableError: if the run cannot be revoked. Call this again later.
    :raises TypeError: for a result of several tasks, such as that of a group. Leave that of each task.

    >>> from celery import Celery
    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(herd_avoidance_timeout=60)
    ... def double(n):
    ...     return 2 * n
    >>> first, second = double.delay(21), double.delay(21)
    >>> leave(first), leave(first), leave(second)
    (False, False, True)
    >>> jobtastic.uninstall(app)
    """
    origin = origin or sharing_of(result)
    if isinstance(result, EagerResult) or origin.kind in ("cached", "dropped"):
        return False
    installation = _installation_on(result.app)
    if origin.kind == "unknown":
        raise JobtasticError(
            f"the result {result.id} does not say which of its callers leaves; leave the result of the call, "
            "give origin=sharing_of(that result), or call revoke() if its task has none of our options"
        )
    if _has_ended(result) or not _is_last(installation, origin):
        return False
    _revoke(installation, origin, terminate)
    return True


def _installation_on(app: Celery[Any]) -> Installation:
    installation = installation_on(app)
    if installation is None:
        raise JobtasticError(f"the plugin is not enabled on {app!r}; call Jobtastic(app)")
    return installation


def _has_ended(result: AsyncResult[Any]) -> bool:
    meta = backend.known_meta(result.app, result.backend, result.id)
    return meta is not None and meta["status"] in states.READY_STATES


def _is_last(installation: Installation, origin: Origin) -> bool:
    """Let the caller leave. Return whether nobody wants the run any more."""
    if origin.key is None:
        return True
    try:
        is_last = installation.store.leave(origin.key, origin.owner, origin.seat, required=True)
    except StoreError as error:
        raise StoreError(
            f"the store {installation.store.url} cannot be asked who else wants the result of "
            f"{origin.owner}, so its run goes on; try again later"
        ) from error
    # A claim that the store does not know any more may have had callers who joined. A message that never had
    # one, because it waits for another run, is of no use to anybody else.
    return not origin.claimed and origin.kind == "own" if is_last is None else is_last


def _revoke(installation: Installation, origin: Origin, terminate: bool) -> None:
    app = installation.app
    try:
        with open_connection(app, installation.settings.broker_deadline) as connection:
            app.control.revoke(origin.owner, terminate=terminate, connection=connection)
    except (OperationalError, OSError, *app.connection_for_write().connection_errors) as error:
        _keep_leavable(installation, origin)
        raise BrokerUnavailableError(
            f"the task {origin.owner}, which nobody wants any more, could not be revoked, since the broker "
            f"{name_of(app)} does not answer ({error}); leave its result again"
        ) from error


def _keep_leavable(installation: Installation, origin: Origin) -> None:
    """Put back a queued claim that was dropped, so that who leaves again revokes again."""
    lease = installation.settings.lease
    if origin.key is not None and origin.claimed:
        # Nobody joins a message that expires.
        installation.store.lookup_or_claim(origin.key, origin.owner, lease, expires=lease, joins=False)
