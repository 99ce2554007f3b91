"""From Celery's signals to the hooks: module-level functions that walk the middleware, and no more.

Celery sends its signals for all apps and tasks of a process. Whatever is not a task with our options, on an
app where the plugin is enabled, passes.
"""

from __future__ import annotations

import itertools
import logging
import os
import uuid
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from celery import Task, current_task, signals
from celery.app.task import Context

from . import celery_internals
from .calls import (
    DELIVERY,
    HEADER,
    Run,
    attach_run,
    current_call,
    run_of,
    stamp_of,
    standing_in,
)
from .errors import JobtasticError
from .fallback.current import WITHDRAWABLE, attempt_on, current_attempt
from .installation import (
    Installation,
    ignores_results_by_default,
    installation_on,
    installed,
    sharing_of,
)
from .keys.stamps import checked_stamp, named_header
from .settings import settings_without_effect
from .sharing.answers import in_beat
from .support.counters import flush_all
from .support.shown import shown

__all__ = ["connect", "disconnect", "sweep"]

logger: logging.Logger = logging.getLogger(__name__)


def before_task_publish(sender: str, headers: MutableMapping[str, Any], body: Any = None, **_: Any) -> None:
    """Let the call of our ``apply_async`` that this message is for claim its key, and stamp the message.

    A message from elsewhere, such as ``send_task``, has no call: the signal does not say which app it is of.
    The worker makes its key.
    """
    # A retry and a waiting run pass on what the worker added for its own process.
    headers.pop(DELIVERY, None)
    # In protocol 1 all that protocol 2 has in the headers is in the body.
    fields = headers if "id" in headers else body if isinstance(body, Mapping) else {}
    task_id = fields.get("id")
    attempt = attempt_on(sender) if current_attempt.get() is not None else None
    if attempt is not None and task_id is not None:
        headers[HEADER] = attempt.message_made(task_id, headers)
    call = current_call.get()
    if call is None or call.task.name != sender or call.made or task_id is None:
        _find_options_of(sender)
        if current_task:
            _mark_replacement(headers, fields, body)
        return
    if call.id not in (None, task_id):
        # The task's own apply_async chose another one.
        call.hooks.walk_back("publish_failed", call)
        call.claimed = False
    call.made, call.id, call.eta = True, task_id, fields.get("eta")
    call.stamp.update(headers[HEADER] if attempt is not None else {"id": task_id})
    call.hooks.walk("before_publish", call)
    if call.policy.shares:
        headers[HEADER] = call.stamp
    if current_task:  # Outside of a task the proxy is false.
        _mark_replacement(headers, fields, body)


def _mark_replacement(*message: Any) -> None:
    from .sharing import replacing  # What runs need is not imported where there are none.

    replacing.pass_on(*message)


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
        from .sharing import redelivery

        celery_internals.refund_rate_limit(sender, request.task.name)
        redelivery.hold(request)
    if WITHDRAWABLE not in stamp:
        return
    from .fallback.withdrawal import is_wanted

    if not is_wanted(installation.store, request, stamp[WITHDRAWABLE]):
        logger.info(
            "%s[%s] was answered without a worker; it does not run", shown(request.name), shown(request.id)
        )
        request.acknowledge()
        celery_internals.mark_as_revoked(request)


def task_prerun(task: Task[Any, Any], task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
    """Let the middleware decide what happens to the run."""
    from .progress.current import begin_report
    from .sharing import replacing

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
    from .progress.current import end_report
    from .sharing import replacing

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


def worker_init(sender: Any, **_: Any) -> None:
    """Look at tasks that came after everything else, before the worker prepares to run them.

    From now on the worker answers how it shares. A worker that is configured wrongly ends here, with one
    error for the reader, instead of an error in every run.
    """
    installation = installation_on(sender.app)
    if installation is None:
        return
    from . import control
    from .sharing import pools, redelivery

    try:
        sweep(installation)
        pools.prepare(installation)
    except JobtasticError as error:
        # Celery logs any other exception of a handler, and continues.
        raise SystemExit(f"The worker cannot start: {error}") from error
    except Exception:
        # A store that connects when it is opened, and whose server is away. Its first use reports that.
        logger.debug("the store cannot be opened yet", exc_info=True)
    control.add_command()
    redelivery.watch(sender.app)


def worker_process_shutdown(**_: Any) -> None:
    """Hand over what a process of the pool has counted: it is about to end without further notice."""
    flush_all()


def worker_ready(sender: Any, **_: Any) -> None:
    """Warn about settings that do not do what was probably meant. By now the worker's log is set up."""
    app = sender.app
    if installation_on(app) is not None:
        for name, right in settings_without_effect(app):
            logger.warning("the setting %s has no effect; its name is %s", name, right)
        ignoring = sorted(task.name for task in app.tasks.values() if ignores_results_by_default(task))
        if ignoring:
            logger.warning(
                "task_ignore_result is set, so nobody can read the results or the progress of %s; set "
                "ignore_result=False on tasks whose callers need them",
                ", ".join(ignoring),
            )


def beat_init(**_: Any) -> None:
    """Remember that this thread is the scheduler's."""
    in_beat.set(True)


def sweep(installation: Installation) -> None:
    """Read the options of all tasks there are."""
    for task in list(celery_internals.tasks_without_finalizing(installation.app).values()):
        installation.policy_of(type(task))


def _find_options_of(name: str) -> None:
    """Find the options of a task that bound unseen; from the next call on it is shared here too."""
    for app in list(installed):
        task = celery_internals.tasks_without_finalizing(app).get(name)
        installation = installation_on(app)
        if task is not None and installation is not None:
            installation.policy_of(type(task))


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


_HANDLERS: tuple[tuple[Any, Callable[..., None]], ...] = (
    (signals.before_task_publish, before_task_publish),
    (signals.task_received, task_received),
    (signals.task_prerun, task_prerun),
    (signals.task_postrun, task_postrun),
    (signals.task_failure, task_failure),
    (signals.task_revoked, task_revoked),
    (signals.task_unknown, task_unknown),
    (signals.worker_init, worker_init),
    (signals.worker_ready, worker_ready),
    (signals.worker_process_shutdown, worker_process_shutdown),
    (signals.beat_init, beat_init),
)


def connect() -> None:
    """Connect all handlers; doing it twice is doing it once."""
    for signal, handler in _HANDLERS:
        signal.connect(handler, weak=False, dispatch_uid=_uid(handler))


def disconnect() -> None:
    """Disconnect all handlers."""
    for signal, handler in _HANDLERS:
        signal.disconnect(handler, dispatch_uid=_uid(handler))


def _uid(handler: Callable[..., None]) -> str:
    return f"{__name__}.{handler.__name__}"
