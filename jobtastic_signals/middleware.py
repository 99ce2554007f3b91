"""The hooks."""

from __future__ import annotations

from typing import Any, ClassVar

from celery.result import AsyncResult

from .calls import Call, Run
from .options import Option

__all__ = ["Middleware"]


class Middleware:
    """Base of one concern; every hook does nothing here.

    Hooks are called for tasks with our options only, and those that are given a call for tasks that share: in
    the order of the middleware on the way in, in the reverse order on the way out. What a hook raises is
    logged, and neither the task nor the other middleware see it. The exceptions are a soft time limit, which
    is the task's, and :meth:`answer`, which runs in the caller's own ``apply_async``.
    A middleware is shared by all threads: what it has to remember of a run goes on ``run.request``.
    """

    #: What this middleware reads from tasks.
    options: ClassVar[tuple[Option, ...]] = ()

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Answer a plain call with an existing task's result, and it is not published.

        The first middleware that gives one decides. Never called for dependent calls and eager runs.
        """
        return None

    def before_publish(self, call: Call) -> None:
        """The message is made, and about to leave; what is put in ``call.stamp`` goes with it.

        Called in the process that publishes: a client's, or a worker's for retries, waits and canvas.
        """

    def publish_failed(self, call: Call) -> None:
        """There is no message: it could not be sent, and the error is on its way to the caller.

        Or a middleware that comes after this one answers the call.
        """

    def before_run(self, run: Run) -> None:
        """A worker is about to run the body, or an eager caller; ``run.verdict`` can prevent that."""

    def before_body(self, run: Run) -> None:
        """The body is about to run, in this thread and context; not so for a run that is served or waits."""

    def after_body(self, run: Run) -> None:
        """The body has returned or raised, and the result backend does not know it yet.

        Called in the thread and context of :meth:`before_body`.
        """

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """The body has ended, or was not run, and the result backend knows it.

        :param state: Celery's name of the ending; ``None`` for one that Celery itself did not see
            through, as ``sys.exit()``.
        :param value: what the task returned, or the exception.
        """

    def run_lost(self, run: Run) -> None:
        """The run ended without :meth:`after_run`: killed, timed out, revoked, expired.

        Called in the worker's main process, where ``run`` is made anew. It can come after
        :meth:`after_run` as well, and more than once.
        """
