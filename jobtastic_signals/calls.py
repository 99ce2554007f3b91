"""What hooks receive: a :class:`Call` on the client, a :class:`Run` on the worker.

Both belong to one message and hold all that is known of it. The worker learns from the client through the
*stamp*, a dict in the headers of the message.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from celery import Task, current_task

from .keys.context import context_of
from .keys.policy import TaskPolicy
from .keys.recipe import HERE
from .keys.stamps import HEADER, header_of, is_sound_id, stamp_of
from .support.rare_warnings import rare_warnings
from .support.shown import shown

if TYPE_CHECKING:
    from celery.app.task import Context
    from celery.result import AsyncResult

__all__ = [
    "DELIVERY",
    "HEADER",
    "Call",
    "Decision",
    "Hooks",
    "Raised",
    "Run",
    "Served",
    "TaskPolicy",
    "attach_run",
    "calling_run",
    "current_call",
    "header_of",
    "key_of",
    "run_of",
    "stamp_of",
    "standing_in",
]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

#: What the worker's main process adds to a request for the process that runs it: see
#: :func:`.handlers.runs.task_received`.
DELIVERY = "jobtastic_delivery"

#: The call whose ``apply_async`` goes on in this context, for the handler of ``before_task_publish``.
current_call: ContextVar[Call | None] = ContextVar("jobtastic_current_call", default=None)

#: The task id under which an eager run in this context stands in for one in a worker.
standing_in: ContextVar[str | None] = ContextVar("jobtastic_standing_in", default=None)

# Not in ``Context.headers``, which Celery fills once, so it never travels with a retry.
_RUN = "_jobtastic_run"


class Hooks(Protocol):
    """Whatever can call a hook of all middleware: a :class:`.MiddlewareStack`."""

    def walk(self, hook: str, *subject: Any) -> None:
        """Call *hook* of each middleware, in order."""

    def walk_back(self, hook: str, *subject: Any) -> None:
        """Call *hook* of each middleware, in reverse order."""

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Return what the first middleware that can do so answers *call* with."""


@dataclass(eq=False, repr=False)
class Call:
    """One ``apply_async`` of a task with our options.

    :ivar backend: the result backend of the task, in this thread; ``None`` for a call that nothing answers.
    :ivar plain: whether another task's result may answer it. A *dependent* call is not plain: its id is known
        elsewhere, or something follows it. Neither is a call that is due later.
    :ivar hooks: the middleware of the task's app.
    :ivar key: the name of all identical calls.
    :ivar scopes: what the key belongs to, to be forgotten with it.
    :ivar due_later: whether it has a ``countdown`` or an ``eta``. It shares when it is due.
    :ivar fresh: whether only a run that begins after the call answers it.
    :ivar on_duplicate: what happens if an identical call is in flight.
    :ivar expires: seconds until its message expires; ``None`` for never.
    :ivar claims_early: whether its key can be claimed before there is a message, because nothing but Celery's
        own ``apply_async`` chooses its id.
    :ivar ignore_result: whether the caller wants no result.
    :ivar id: the task id; known when a claim is requested, at the latest when the message is made.
    :ivar made: whether there is a message.
    :ivar eta: ISO text of when the message is due; ``None`` for at once.
    :ivar claimed: whether the call's id has the claim on its key.
    :ivar answered_by: ``"result"`` or ``"run"`` if a stored result or another call's run answered it,
        ``"dropped"`` if nothing does; ``None`` if it is published.
    :ivar publishes_too: whether it is published although it is answered: its run is for those who come later.
    :ivar stamp: what the message will say to the worker.
    """

    task: Task[Any, Any]
    policy: TaskPolicy
    key: str
    hooks: Hooks
    plain: bool
    backend: Any = None  # Celery takes long to find it.
    scopes: tuple[str, ...] = ()
    due_later: bool = False
    fresh: bool = False
    on_duplicate: str = "join"
    expires: float | None = None
    claims_early: bool = False
    ignore_result: bool = False
    id: str | None = None
    made: bool = False
    eta: str | None = None
    claimed: bool = False
    answered_by: str | None = None
    publishes_too: bool = False
    stamp: dict[str, Any] = field(default_factory=dict)


class Decision(Protocol):
    """What happens to a run instead of its body."""

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Return the value of the run, or raise.

        :param body: runs the body after all.
        """


class Served(NamedTuple):
    """The decision to end as the run of a stored result did, without running the body.

    :ivar error: what that run raised; ``None`` if it returned *value*.
    """

    value: Any = None
    error: Exception | None = None

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Raised(NamedTuple):
    """The decision to raise *error* without running the body."""

    error: Exception

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Raise the error."""
        raise self.error


@dataclass(eq=False, repr=False)
class Run:
    """One delivery of a task with our options to a worker, or one eager run.

    :ivar policy: what the task's options ask for.
    :ivar request: Celery's request; ``None`` where the run ended in another process, and once all middleware
        have seen its end.
    :ivar message: Celery's request also in the first case, for the headers of the message; ``None`` if
        unknown.
    :ivar stamp: what the client said; empty for messages that our client side did not see.
    :ivar delivery: a token for this delivery. It starts with the name of the worker, up to a ``/``. ``None``
        for a message that never began to run.
    :ivar pid: the process that may still run a lost run; ``None`` if none does.
    :ivar is_eager: whether its caller runs it, by ``apply()`` or with ``task_always_eager``.
    :ivar decision: what happens instead of the body; ``None`` to run it.
    :ivar key: the name of all identical calls; ``None`` if it could not be made, or nothing is shared.
    :ivar scopes: what the key belongs to, to be forgotten with it.
    :ivar stands_in: whether it is an eager run whose result others can look up by its id.
    :ivar layers: the classes whose ``__call__`` of ours the run has passed.
    """

    task: Task[Any, Any]
    policy: TaskPolicy
    id: str
    args: Any
    kwargs: Any
    request: Context | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)
    message: Context | None = None
    delivery: str | None = field(default_factory=lambda: f"/{uuid.uuid4().hex}")
    pid: int | None = None
    is_eager: bool = False
    decision: Decision | None = None
    key: str | None = None
    scopes: tuple[str, ...] = ()
    stands_in: bool = False
    layers: set[type] = field(default_factory=set)
    _parts: dict[type, Any] = field(default_factory=dict)

    def keep(self, part: object) -> None:
        """Keep what a middleware has to remember of this run, for :meth:`part`."""
        self._parts[type(part)] = part

    def part(self, kind: type[T]) -> T | None:
        """Return what was kept of this type, or ``None``."""
        part: T | None = self._parts.get(kind)
        return part

    def drop(self, kind: type[T]) -> T | None:
        """Return what was kept of this type, and keep it no longer."""
        part: T | None = self._parts.pop(kind, None)
        return part


def attach_run(run: Run) -> None:
    """Put *run* on its request, where everything that concerns it can find it."""
    setattr(run.request, _RUN, run)


def run_of(request: Context) -> Run | None:
    """Return the run that goes on under *request*, if it is one of ours."""
    run: Run | None = getattr(request, _RUN, None)
    return run


def calling_run(task: Task[Any, Any]) -> Run | None:
    """Return the run in this thread of whatever task of *task*'s app is being executed."""
    if not current_task:  # Outside of a task the proxy is false, which costs less than asking the app.
        return None
    worker_task = task.app.current_worker_task
    return run_of(worker_task.request) if worker_task is not None else None


def key_of(run: Run, *, observed: bool = False) -> str | None:
    """Return the key of *run*, which its worker makes from the message; ``None`` if it shares nothing.

    The stamp does not count: with it, whoever can publish could name the key of any other call.
    """
    policy = run.policy
    is_meant = policy.observes if observed else policy.shares
    if not is_meant or run.stamp.get("bypass") or not is_sound_id(run.id):
        return None
    context = HERE if policy.keys.context is None else context_of(run.message)
    if context is None:
        rare_warnings.warn(
            logger,
            "headers",
            "the message of task %s has headers that contradict each other, so it runs unshared",
            shown(run.id),
        )
        return None
    return policy.key_of(run.task, run.args, run.kwargs, context=context)
