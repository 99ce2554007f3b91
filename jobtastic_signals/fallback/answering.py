"""Publishing a call within the deadline, or answering it without the broker."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from celery import Signature, Task
from celery.result import AsyncResult

from .. import celery_internals
from ..errors import BrokerUnavailableError, JobtasticError
from ..installation import installation_on
from ..support.shown import shown
from ..support.threads import Work, in_thread
from .attempt import Attempt
from .broker import PUBLISHED_BY, answers, import_clients, is_reply, name_of
from .current import Phase
from .unpublished import UnpublishedCall

if TYPE_CHECKING:
    from ..installation import Installation

__all__ = ["PlannedCall", "call_or_answer", "planned_call"]

logger: logging.Logger = logging.getLogger(__name__)

#: The part of the deadline after which a second connection checks whether the broker answers at all.
CHECKED_AFTER = 0.3

#: The part of the deadline for which the check is waited for at least. Its thread may have got no processor.
CHECKED_WITHIN = 0.1

#: Options of ``apply_async`` that choose a connection to the broker.
_CONNECTIONS = ("producer", "publisher", "connection")

#: The kinds of signatures of several tasks, by the task that they name.
_CANVASES = {f"celery.{kind}": kind for kind in ("chain", "group", "chord", "chunks")}

#: A task, and the arguments of its ``apply_async``.
PlannedCall: TypeAlias = "tuple[Task[Any, Any], Any, Any, dict[str, Any]]"


def planned_call(
    called: Task[Any, Any] | Signature[Any], args: Any, kwargs: Any, options: Mapping[str, Any]
) -> PlannedCall:
    """Return what to call. Arguments and options add to those of a signature, as in its ``apply_async``.

    :raises TypeError: if *called* is neither a task nor the signature of one, and for a connection.
    :raises JobtasticError: if the plugin is not enabled on the task's app.
    """
    if isinstance(called, Signature):
        called, args, kwargs, options = _parts_of(called, args, kwargs, options)
    task = celery_internals.real_task(called)
    if not isinstance(task, Task):
        raise TypeError(f"a task or the signature of a task is accepted here, not {task!r}")
    if installation_on(task.app) is None:
        raise JobtasticError(f"the plugin is not enabled on {task.app!r}; enable it with Jobtastic(app)")
    for name in _CONNECTIONS:
        if options.get(name) is not None:
            raise TypeError(
                f"{name} is not accepted here, since this function publishes on its own connection; "
                f"leave {name} out, or call apply_async"
            )
    return task, args, kwargs, dict(options)


def _parts_of(signature: Signature, args: Any, kwargs: Any, options: Mapping[str, Any]) -> PlannedCall:
    if signature.task in _CANVASES:
        raise TypeError(
            f"a {_CANVASES[signature.task]} is not accepted here, since some of its tasks may run already "
            "when the broker fails; call a task that starts it by self.replace(...), or call its apply_async"
        )
    merged = signature.clone(args, kwargs, **options)
    try:
        task = merged.type
    except KeyError as error:
        raise TypeError(
            f"the signature names the task {merged.task!r}, which is not registered in this process; import "
            "its module, or call app.send_task"
        ) from error
    return task, merged.args, merged.kwargs, dict(merged.options)


def call_or_answer(planned: PlannedCall, *, eagerly: bool) -> AsyncResult[Any]:
    """Publish a call. If the broker is down, run the task here or return a failed result."""
    task, args, kwargs, options = planned
    installation = cast("Installation", installation_on(task.app))
    if task.app.conf.task_always_eager:
        return task.apply_async(args, kwargs, **options)
    attempt = _attempt(installation, planned)
    error = attempt.error
    if error is None:
        result = cast("AsyncResult[Any]", attempt.result)
        # That of the thread which published would read the caller's replies of rpc://, too, and lose them.
        result.backend = task.backend
        return result
    if not attempt.is_broker_error:
        raise error
    unpublished = UnpublishedCall(installation, attempt, error)
    return unpublished.run(args, kwargs, options) if eagerly else unpublished.fail()


def _attempt(installation: Installation, planned: PlannedCall) -> Attempt:
    """Return an attempt that has ended."""
    app, deadline, breaker = installation.app, installation.settings.broker_deadline, installation.broker
    # Before the clock starts.
    import_clients(app)
    refusal = None if breaker.lets_through() else breaker.error
    attempt = Attempt(*planned, deadline=deadline, refusal=refusal)
    attempt.begin()
    try:
        if not attempt.wait(CHECKED_AFTER * deadline) and not breaker.is_open:
            attempt.check = _check(installation)
        ended = attempt.wait((PUBLISHED_BY - CHECKED_AFTER) * deadline)
    except BaseException:
        attempt.give_up(BrokerUnavailableError("the caller was interrupted"))
        raise
    if not ended:
        asked = "the store" if attempt.phase is Phase.ASKING else name_of(app)
        waited = f"{PUBLISHED_BY * deadline:.3g} s"
        attempt.give_up(BrokerUnavailableError(f"{asked} did not answer within {waited}"))
    if refusal is None:
        _report_to_breaker(installation, attempt)
    return attempt


def _check(installation: Installation) -> Work[bool]:
    """Ask the broker on a new connection, in another thread, whether it answers."""
    return in_thread(partial(answers, installation.app, installation.settings.broker_deadline))


def _report_to_breaker(installation: Installation, attempt: Attempt) -> None:
    """Record in the circuit breaker whether the broker answered the attempt."""
    breaker, app = installation.broker, installation.app
    if attempt.phase is Phase.PUBLISHED:
        if breaker.answered():
            logger.info("the broker %s works again", name_of(app))
    elif not attempt.is_broker_error or attempt.phase is Phase.ASKING:
        breaker.retry()  # Nothing was sent to the broker.
    elif not breaker.is_open and _answers(installation, attempt):
        pass  # Nothing but this call failed.
    elif breaker.failed(attempt.error):
        logger.warning(
            "the broker %s cannot be reached (%s); delay_or_fail, delay_or_eager and their variants answer "
            "calls without it until it works again",
            name_of(app),
            shown(attempt.error),
        )


def _answers(installation: Installation, attempt: Attempt) -> bool:
    """Return whether the broker answers a second connection, although *attempt* failed.

    Not if the call before failed like this, too: RabbitMQ answers everybody, but takes no message while its
    memory or disk is full.
    """
    deadline = installation.settings.broker_deadline
    left = max(PUBLISHED_BY * deadline - attempt.waited, CHECKED_WITHIN * deadline)
    attempt.check = attempt.check or _check(installation)
    answered = attempt.check.wait(left) and attempt.check.outcome.result()
    was_unconfirmed = attempt.may_have_left and not is_reply(installation.app, attempt.error)
    return answered and not (was_unconfirmed and installation.broker.suspect(attempt.began))
