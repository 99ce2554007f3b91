"""Results: what is stored of a run that has ended."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, states

from .. import events
from ..calls import Run, TaskPolicy
from ..installation import Installation
from ..results import backend, index, payload
from ..results.presentation import traceback_of
from ..stores import REMEMBERED_FOR
from ..support.shown import shown
from ..support.time_limits import caught, logged
from .claims import Claims, Share

__all__ = ["Results", "is_too_large", "ttl_of", "written"]

logger: logging.Logger = logging.getLogger(__name__)


def ttl_of(policy: TaskPolicy, name: str, state: str | None, value: Any) -> float | None:
    """Return for how many seconds an outcome answers new callers: ``None`` for ever, 0 not at all.

    :param name: the name of the task, for the log.
    :param value: what the task returned, or the exception.
    """
    if state == states.FAILURE:
        return policy.failure_ttl(value)
    if state != states.SUCCESS or not policy.caches:
        return 0.0
    accepts = policy["cache_when"]
    is_accepted = accepts is None
    if accepts is not None:
        with logged(logger, "the cache_when of %s failed, so this result is not cached", name):
            is_accepted = bool(accepts(value))
    return policy.result_ttl if is_accepted else 0.0


def written(app: Celery[Any], state: str, value: Any, request: Any = None) -> bytes:
    """Return an outcome as the result backend would write it.

    :raises Exception: what the result serializer raises for a value that it cannot write.
    """
    if state == states.FAILURE:
        error = app.backend.prepare_exception(value)
        return payload.dumps(app, error, request, traceback=traceback_of(value))
    return payload.dumps(app, value, request)


def is_too_large(policy: TaskPolicy, state: str, data: bytes) -> bool:
    """Return whether *data* is a value that is too large to answer new callers."""
    largest: int | None = policy["cache_max_bytes"]
    return state == states.SUCCESS and largest is not None and len(data) > largest


class Results:
    """Stores the results of one app's runs."""

    def __init__(self, installation: Installation, claims: Claims) -> None:
        self._installation, self._claims = installation, claims

    def store(self, run: Run, key: str, share: Share, state: str | None, value: Any) -> bool:
        """Store how *run* ended, or release its claim. Return ``False`` for an end that nobody is to get.

        A value that does not answer new callers still answers those who called before the run began.
        """
        if state is None or state not in (states.SUCCESS, states.FAILURE):
            return False
        ttl = ttl_of(run.policy, run.task.name, state, value)
        if state == states.FAILURE and not ttl:
            return False
        if ttl == 0.0 and not self._is_awaited(run, key, share):
            return True
        data = None
        with caught(lambda error: _warn_of_unwritable(run, error)):
            data = written(run.task.app, state, value, run.request)
        if data is not None and ttl != 0.0 and is_too_large(run.policy, state, data):
            logger.debug("%s[%s]: %d bytes are not cached", run.task.name, shown(run.id), len(data))
            ttl = 0.0
            if not self._is_awaited(run, key, share):
                return True
        if data is None or not self._complete(run, key, share, state, data, ttl):
            self._claims.release(run.task, key, run.id, run.delivery)
        return True

    def _is_awaited(self, run: Run, key: str, share: Share) -> bool:
        """Return whether earlier calls rely on this run. Release its claim if none does."""
        if share.lease is None:
            return False
        return not self._installation.store.release(key, run.id, run.delivery, unless_awaited=True)

    def _complete(self, run: Run, key: str, share: Share, state: str, data: bytes, ttl: float | None) -> bool:
        stale_for = run.policy["cache_stale_for"] if ttl and state == states.SUCCESS else 0.0
        stored = self._installation.store.complete(
            key,
            run.id,
            run.delivery if share.lease is not None else None,
            data,
            ttl=ttl,
            state=state,
            kept_for=REMEMBERED_FOR,
            ran_for=share.lease.ran_for if share.lease is not None else 0.0,
            stale_for=stale_for,
            scopes=run.scopes,
            index=index.key_for(run.id) if ttl != 0.0 and _is_wanted(run) else None,
            index_ttl=index.ttl(None if ttl is None else ttl + stale_for),
        )
        if stored:
            events.emit(events.result_stored, run.task, key=key, task_id=run.id, size=len(data))
        return stored


def _warn_of_unwritable(run: Run, error: Exception) -> None:
    logger.warning("%s[%s]: its result cannot be shared: %s", run.task.name, shown(run.id), shown(error))


def _is_wanted(run: Run) -> bool:
    return run.request is not None and not backend.ignores_result(run.task, run.request)
