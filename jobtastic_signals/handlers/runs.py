"""Handlers of what happens to a message in a worker's main process, and to a run wherever it is."""

from __future__ import annotations

import itertools
import logging
import os
import uuid
import weakref
from collections.abc import Mapping
from typing import Any

from celery import Task
from celery.app.task import Context

from .. import celery_internals
from ..calls import DELIVERY, HEADER, Run, attach_run, run_of, stamp_of, standing_in
from ..fallback.current import WITHDRAWABLE
from ..fallback.withdrawal import is_wanted
from ..installation import installation_on, sharing_of
from ..keys.stamps import checked_stamp, named_header
from ..progress.current import begin_report, end_report
from ..sharing import redelivery, replacing
from ..support.shown import shown

__all__ = ["task_failure", "task_postrun", "task_prerun", "task_received", "task_revoked", "task_unknown"]

logger: logging.Logger = logging.getLogger(__name__)


def task_received(sender: Any, request: Any, **_: Any) -> None:
    """Name the delivery, and drop a message that its caller has withdrawn.

    Called in the worker's main process. Celery's own token for a delivery is the same when a broker delivers
    it again. There is no signal to refuse a message with, so a withdrawn one looks like one whose revocation
    has been dealt with.
    """
    installation = installation_on(request.task.app)
    if installation is None:
        return
    stamp = checked_stamp(named_header(request.request_dict, HEADER), request.id)
    policy = installation.policy_of(type(request.task))
    if stamp or (policy is not None and not policy.observes):
        _received[request.id] = request
        delivery = {
            "token": f"{_worker(request.hostname)}/{next(_deliveries)}",
            "content_type": getattr(request.message, "content_type", None),
        }
        celery_internals.merge_into_request(request, **{DELIVERY: delivery})
    if stamp.get("waits"):
        celery_internals.refund_rate_limit(sender, request.task.name)
        redelivery.hold(request)
    if WITHDRAWABLE in stamp and not is_wanted(installation.store, request, stamp[WITHDRAWABLE]):
        logger.info(
            "%s[%s] was answered without a worker; it does not run", shown(request.name), shown(request.id)
        )
        request.acknowledge()
        celery_internals.mark_as_revoked(request)


def task_prerun(task: Task[Any, Any], task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
    """Let the middleware decide what happens to the run."""
    request = task.request
    begin_report(request)
    replacing.begin(task, task_id, request)
    found = sharing_of(task)
    if found is None:
        return
    installation, policy = found
    stamp, token = stamp_of(request, task_id), _token_of(request) or f"/{uuid.uuid4().hex}"
    run = Run(
        task, policy, task_id, args, kwargs, request, stamp, request, token, is_eager=bool(request.is_eager)
    )
    run.stands_in = run.is_eager and standing_in.get() == task_id
    attach_run(run)
    installation.stack.walk("before_run", run)


def task_postrun(task: Task[Any, Any], retval: Any = None, state: str | None = None, **_: Any) -> None:
    """Let the middleware see how the run ended."""
    request = task.request
    run = run_of(request)
    if run is not None and (installation := installation_on(task.app)) is not None:
        installation.stack.walk_back("after_run", run, state, retval)
    replacing.end(task, request, state, retval)
    end_report(request)
    if run is not None:
        # They would keep each other and the arguments in memory, until the garbage collector comes.
        run.request = run.message = None


def task_failure(
    sender: Task[Any, Any], task_id: str, args: Any = None, kwargs: Any = None, **_: Any
) -> None:
    """See a failure. One in the body is followed by postrun, any other happened in the main process."""
    request = sender.request
    run = run_of(request)
    if run is None or run.id != task_id:
        received = _received.get(task_id)
        message = Context(received.request_dict) if received is not None else request
        pid = getattr(received, "worker_pid", None)
        _run_lost(sender, task_id, args, kwargs, message, f"{_worker()}/", pid)


def task_revoked(sender: Task[Any, Any], request: Any, **_: Any) -> None:
    """See a run that was revoked or has expired, queued or running."""
    # Without a token it never ran here: its claim is a queued one.
    token, pid = _token_of(request), getattr(request, "worker_pid", None)
    _run_lost(sender, request.id, request.args, request.kwargs, request, token, pid)


def task_unknown(sender: Any, id: str, message: Any, **_: Any) -> None:
    """Release the claim of a message whose task this worker does not know; it will never run."""
    installation = installation_on(sender.app)
    stamp = checked_stamp(named_header(message.headers, HEADER), id)
    if installation is not None and "key" in stamp:
        installation.store.release(stamp["key"], id, None)


def _run_lost(
    task: Task[Any, Any],
    task_id: str,
    args: Any,
    kwargs: Any,
    request: Any,
    delivery: str | None,
    pid: int | None,
) -> None:
    found = sharing_of(task)
    if found is not None:
        installation, policy = found
        stamp = stamp_of(request, task_id)
        run = Run(task, policy, task_id, args, kwargs, None, stamp, request, delivery, pid)
        installation.stack.walk_back("run_lost", run)


def _token_of(request: Any) -> str | None:
    """Return the token that :func:`task_received` gave the delivery."""
    delivery = getattr(request, DELIVERY, None)
    token = delivery.get("token") if isinstance(delivery, Mapping) else None
    return token if isinstance(token, str) else None


# The requests of this worker's main process, by their ids. Celery says little of those that end there.
_received: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()

_names: dict[int, str] = {}

# The numbers of the deliveries that this process has received.
_deliveries = itertools.count(1)


def _worker(hostname: str = "") -> str:
    """Return the name of this process as a worker: another one in each process, after Celery's for people."""
    name = _names.get(os.getpid())
    if name is None:
        own = f"{hostname.replace('/', '_')}~{uuid.uuid4().hex[:12]}"
        name = _names.setdefault(os.getpid(), own)
    return name
