"""What hooks are given: a :class:`Call` on the client, a :class:`Run` on the worker.

Both belong to one message, and hold all that is known of it; nothing of a call or a run lives anywhere
else. The worker learns from the client through the *stamp*, a dict in the message's headers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import Task

from .errors import UnkeyableError
from .keys.recipe import KeyRecipe

if TYPE_CHECKING:
    from celery.app.task import Context

    from .progress.reporter import Progress
    from .sharing.leases import Lease

__all__ = ["Call", "Run", "Served", "TaskPolicy", "current_run", "standing_in"]

logger = logging.getLogger(__name__)

#: The message header that carries the stamp, and so the attribute of the request.
HEADER = "jobtastic"

#: The task id under which an eager run in this context stands in for one in a worker.
standing_in: ContextVar[str | None] = ContextVar("jobtastic_standing_in", default=None)

# Not in ``Context.headers``, which Celery fills once, so it never travels with a retry.
_RUN = "_jobtastic_run"


@dataclass(frozen=True)
class TaskPolicy:
    """What a task's options ask for: their checked values, and how to make its keys."""

    options: Mapping[str, Any]
    keys: KeyRecipe
    _warned_of: set[str | None] = field(default_factory=set, compare=False)

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    @property
    def shares(self) -> bool:
        """Whether runs and results are shared at all; the options may be about something else."""
        return self["herd_avoidance_timeout"] is not None or bool(self["cache_duration"] >= 0)

    def key_of(
        self, task: Task, args: Any, kwargs: Any, *, is_required: Callable[[], bool] = lambda: False
    ) -> str | None:
        """The key of calling *task* with these arguments; ``None`` if they have none, so it goes unshared.

        :raises UnkeyableError: if an argument has no canonical form, where a key *is_required*; where it is
            not, a warning tells it once for each argument of the task.
        """
        try:
            return self.keys.key(task, args, kwargs)
        except UnkeyableError as error:
            if is_required():
                raise
            if error.argument not in self._warned_of:
                self._warned_of.add(error.argument)
                logger.warning("%s; such calls go unshared", error)
        except TypeError:
            pass  # Not what the task takes: Celery says so, or the body.
        return None


@dataclass
class Call:
    """One ``apply_async`` of a task with our options.

    :ivar plain: whether it may be answered by another task's result. A *dependent* call is not: its id
        is known elsewhere, or something follows it.
    :ivar key: what names all identical calls.
    :ivar claims_early: whether its key can be claimed before there is a message: it is due at once, and
        nothing but Celery's own ``apply_async`` has a say in its id.
    :ivar ignore_result: whether the caller wants no result.
    :ivar id: the task id; known when a claim is asked for, and at the latest when the message is made.
    :ivar made: whether there is a message.
    :ivar eta: ISO text of when the task is due, as the message says; ``None`` for at once.
    :ivar stale: owner of a claim that was found to have ended.
    :ivar claimed: whether the call's id has the claim on its key.
    :ivar stamp: what the message will tell the worker.
    """

    task: Task
    policy: TaskPolicy
    key: str
    plain: bool
    claims_early: bool = False
    ignore_result: bool = False
    id: str | None = None
    made: bool = False
    eta: str | None = None
    stale: str | None = None
    claimed: bool = False
    stamp: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """A verdict on a run: answer *value*, and leave the body alone."""

    value: Any


@dataclass
class Run:
    """One delivery of a task with our options to a worker, or one eager run.

    :ivar request: Celery's request; ``None`` where the run ended in another process.
    :ivar stamp: what the client told; empty for messages that our client side did not see.
    :ivar verdict: what becomes of it: the body runs (``None``), a value is served, or the exception,
        usually :exc:`celery.exceptions.Ignore`, is raised in place of the body.
    :ivar key: what names all identical calls; ``None`` if it could not be made.
    :ivar lease: of the claim that the run's id has on its key, while its body goes on and afterwards.
    :ivar waits: how often the id was sent again to wait, this delivery included; 0 if it does not wait.
    :ivar waiting_for: the owner whose result it waits for.
    :ivar resent_key: the key under which the run's id was published again while it ran, as by a retry.
    :ivar progress: what the run says of its progress, while its body goes on and afterwards.
    :ivar stands_in: whether it is an eager run whose result others can look up by its id.
    :ivar layers: the classes whose ``__call__`` of ours the run has passed.
    """

    task: Task
    policy: TaskPolicy
    id: str
    args: Any
    kwargs: Any
    request: Context | None = None
    stamp: Mapping[str, Any] = field(default_factory=dict)
    verdict: Served | Exception | None = None
    key: str | None = None
    lease: Lease | None = None
    waits: int = 0
    waiting_for: str | None = None
    resent_key: str | None = None
    progress: Progress | None = None
    stands_in: bool = False
    layers: set[type] = field(default_factory=set)

    @property
    def claimed(self) -> bool:
        """Whether the run's id has the claim on its key."""
        return self.lease is not None

    @property
    def is_eager(self) -> bool:
        """Whether its caller runs it, by ``apply()`` or with ``task_always_eager``."""
        return self.request is not None and bool(self.request.is_eager)


def attach_run(run: Run) -> None:
    """Put *run* on its request, where everything that concerns it can find it."""
    setattr(run.request, _RUN, run)


def run_of(request: Context) -> Run | None:
    """The run that goes on under *request*, if it is one of ours."""
    run: Run | None = getattr(request, _RUN, None)
    return run


def current_run(task: Task) -> Run | None:
    """The run in this thread of whatever task of *task*'s app is being executed."""
    worker_task = task.app.current_worker_task
    return run_of(worker_task.request) if worker_task is not None else None


def stamp_of(request: Context | None, task_id: str) -> Mapping[str, Any]:
    """The stamp on *request*, if it is this very message's.

    Headers get copied from one message to another, by retries and by users; a stamp names its task id so
    that none is believed for another call.
    """
    stamp = getattr(request, HEADER, None)
    return stamp if isinstance(stamp, Mapping) and stamp.get("id") == task_id else {}
