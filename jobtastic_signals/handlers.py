"""From Celery's signals to the hooks: module-level functions that walk the middleware, and no more.

Celery sends its signals for all apps and tasks of a process; whatever is not a task with our options, on
an app where the plugin is installed, is let pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery import Task, signals, states

from . import control as inspection
from . import registry
from .calls import HEADER, Run, attach_run, run_of, stamp_of, standing_in
from .fallback import withdrawal as withdrawals
from .fallback.attempt import WITHDRAWABLE, attempt_on
from .overrides import current_call
from .progress.api import end_report
from .registry import installation_on, sharing_of
from .results import backend as backends

__all__ = ["connect", "disconnect"]

logger = logging.getLogger(__name__)


def before_task_publish(sender: str, headers: dict[str, Any], **_: Any) -> None:
    """Let the call of our ``apply_async`` that this message is for claim its key, and stamp it.

    A message from elsewhere, as ``send_task``, has none: the signal does not tell which app it is of. The
    worker makes its key.
    """
    attempt = attempt_on(sender)
    if attempt is not None:
        headers[HEADER] = attempt.message_made(headers)
    call = current_call.get()
    if call is None or call.task.name != sender or call.made or headers.get("id") is None:
        _look_at(sender)
        return
    installation = installation_on(call.task.app)
    if installation is not None and call.id not in (None, headers["id"]):
        # The task's own apply_async chose another one.
        installation.walk_back("publish_failed", call)
        call.claimed = False
    call.made, call.id, call.eta = True, headers["id"], headers.get("eta")
    call.stamp.update(headers[HEADER] if attempt is not None else {"id": call.id})
    if installation is not None:
        installation.walk("before_publish", call)
        headers[HEADER] = call.stamp


def task_received(request: Any, **_: Any) -> None:
    """Drop a message that its caller has withdrawn, having been answered otherwise.

    Called in the worker's main process. There is no signal to refuse a message with; so it is left behind as
    one whose revocation has been dealt with already.
    """
    stamp = request.request_dict.get(HEADER)
    withdrawable = stamp.get(WITHDRAWABLE) if isinstance(stamp, Mapping) else None
    installation = installation_on(request.task.app)
    if withdrawable is None or installation is None or stamp["id"] != request.id:
        return
    wanted = withdrawals.receive(installation.store, request.id, withdrawable)
    if wanted is None:
        meta = backends.meta_of(request.task, request.id)
        wanted = meta is None or meta["status"] not in states.READY_STATES
    if not wanted:
        logger.info("%s[%s] was answered without a worker; it does not run", request.name, request.id)
        request.acknowledge()
        request._already_revoked = True


def task_prerun(task: Task, task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
    """Let the middleware decide what becomes of the run."""
    found = sharing_of(task)
    if found is None:
        return
    installation, policy = found
    request = task.request
    run = Run(task, policy, task_id, args, kwargs, request, stamp_of(request, task_id))
    run.stands_in = run.is_eager and standing_in.get() == task_id
    attach_run(run)
    installation.walk("before_run", run)


def task_postrun(task: Task, retval: Any = None, state: str | None = None, **_: Any) -> None:
    """Tell the middleware how the run ended."""
    request = task.request
    run = run_of(request)
    installation = installation_on(task.app)
    if run is not None and installation is not None:
        installation.walk_back("after_run", run, state, retval)
    end_report(request)


def task_failure(sender: Task, task_id: str, args: Any = None, kwargs: Any = None, **_: Any) -> None:
    """A failure in the body is followed by postrun; any other was seen by the worker's main process."""
    request = sender.request
    run = run_of(request)
    if run is None or run.id != task_id:
        _lost(sender, task_id, args, kwargs, request)


def task_revoked(sender: Task, request: Any, **_: Any) -> None:
    """Revoked or expired, queued or running."""
    _lost(sender, request.id, request.args, request.kwargs, request)


def worker_init(sender: Any, **_: Any) -> None:
    """Look at tasks that came after everything else, before the worker prepares to run them.

    From now on the worker can be asked how it shares.
    """
    installation = installation_on(sender.app)
    if installation is not None:
        installation.sweep()
        inspection.add_command()


def _look_at(name: str) -> None:
    """Find the options of a task that bound unseen; from the next call on it is shared here too."""
    for app in list(registry.installed):
        task = app._tasks.get(name)
        installation = installation_on(app)
        if task is not None and installation is not None:
            installation.policy_of(type(task))


def _lost(task: Task, task_id: str, args: Any, kwargs: Any, request: Any) -> None:
    found = sharing_of(task)
    if found is not None:
        installation, policy = found
        run = Run(task, policy, task_id, args, kwargs, stamp=stamp_of(request, task_id))
        installation.walk_back("run_lost", run)


_RECEIVERS: tuple[tuple[Any, Callable[..., None]], ...] = (
    (signals.before_task_publish, before_task_publish),
    (signals.task_received, task_received),
    (signals.task_prerun, task_prerun),
    (signals.task_postrun, task_postrun),
    (signals.task_failure, task_failure),
    (signals.task_revoked, task_revoked),
    (signals.worker_init, worker_init),
)


def connect() -> None:
    """Connect all receivers; doing it twice is doing it once."""
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, weak=False, dispatch_uid=_uid(receiver))


def disconnect() -> None:
    """Disconnect them."""
    for signal, receiver in _RECEIVERS:
        signal.disconnect(receiver, dispatch_uid=_uid(receiver))


def _uid(receiver: Callable[..., None]) -> str:
    return f"{__name__}.{receiver.__name__}"
