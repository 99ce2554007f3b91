"""The hooks of a middleware, and the stack that calls them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from kombu.utils.imports import symbol_by_name

from .calls import Call, Run, TaskPolicy
from .errors import JobtasticError
from .options import Option
from .support.safe_text import safe_repr

__all__ = ["CALLS", "RUNS", "Later", "Middleware", "MiddlewareStack"]

logger: logging.Logger = logging.getLogger(__name__)


class Middleware:
    """Base of one concern. Every hook does nothing here.

    Hooks are called for tasks with our options only. Those that receive a call are called for tasks that
    share, and not for a call that bypasses sharing. On the way in they are called in the order of the
    middleware, on the way out in reverse order. Events observe; middleware decides.

    What a hook raises is logged; neither the task nor other middleware see it. There are three exceptions: a
    soft time limit, which belongs to the task; :meth:`answer`, which runs in the caller's own
    ``apply_async``; and :meth:`check_options`, which is there to raise.

    All threads share a middleware. What it has to remember of a run goes into :meth:`.Run.keep`.
    """

    #: What this middleware reads from tasks.
    options: ClassVar[tuple[Option, ...]] = ()

    def check_options(self, task: type[Task[Any, Any]], policy: TaskPolicy) -> None:
        """Raise :exc:`~jobtastic_signals.OptionError` if options of *task* contradict each other.

        Called when the task is defined. Each option by itself is right.
        """

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Return the result of an existing task to answer a plain call; then it is not published.

        The first middleware that returns one decides. Never called for dependent calls, calls that are due
        later, and eager runs.
        """
        return None

    def after_answer(self, call: Call, result: AsyncResult[Any]) -> None:
        """See a call that was answered by *result*; nothing is published. ``call.answered_by`` says how."""

    def before_publish(self, call: Call) -> None:
        """See a call whose message is made and about to leave. What is put in ``call.stamp`` goes with it.

        Called in the process that publishes: a client's, or a worker's for retries, waiting runs and canvas.
        """

    def publish_failed(self, call: Call) -> None:
        """See a call without a message: it could not be sent, and its caller gets the error.

        Also called if a middleware that comes after this one answers the call.
        """

    def before_run(self, run: Run) -> None:
        """See a run that a worker, or an eager caller, is about to begin. ``run.decision`` can prevent the
        body.
        """

    def before_body(self, run: Run) -> None:
        """See a run whose body begins now, in this thread and context; not a run that is served or waits."""

    def after_body(self, run: Run) -> None:
        """See a run whose body has returned or raised, before the result backend knows it.

        Called in the thread and context of :meth:`before_body`.
        """

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """See a run that has ended, after the result backend knows it.

        :param state: Celery's name of the ending; ``None`` for one that Celery itself did not see to its end,
            such as ``sys.exit()``.
        :param value: what the task returned, or the exception.
        """

    def run_lost(self, run: Run) -> None:
        """See a run that ended without :meth:`after_run`: killed, timed out, revoked or expired.

        Called in the worker's main process, where ``run`` is made anew. It can come after :meth:`after_run`
        as well, and more than once. The body may still go on for a moment, in the process ``run.pid``.
        """


#: The hooks that a process needs which only calls tasks, and those for runs.
CALLS = frozenset({"check_options", "answer", "after_answer", "before_publish", "publish_failed"})
RUNS = frozenset({"before_run", "before_body", "after_body", "after_run", "run_lost"})


class Later:
    """A middleware that is imported and made when one of its hooks is first called.

    Most processes only call tasks. They do not import what meets runs.

    :ivar options: what it reads from tasks.
    :param name: its module in this package, and its class.
    :param subject: what the class is called with.
    :param hooks: the hooks that it overrides, or more of them.
    """

    def __init__(
        self, name: str, subject: Any, hooks: frozenset[str] = RUNS, *, options: tuple[Option, ...] = ()
    ) -> None:
        self.options = options
        self._name, self._subject, self._hooks = name, subject, hooks
        self._made: Middleware | None = None

    def meets(self, hook: str) -> bool:
        """Return whether the middleware may override *hook*."""
        return hook in self._hooks

    @property
    def made(self) -> Middleware:
        """The middleware itself."""
        if self._made is None:
            self._made = symbol_by_name(f".{self._name}", package=__package__)(self._subject)
        return self._made


class _Overriding(dict[str, list[Middleware]]):
    """The middleware that override a hook, found when it is first called."""

    def __init__(self, middleware: tuple[Middleware | Later, ...]) -> None:
        super().__init__()
        self._middleware = middleware

    def __missing__(self, hook: str) -> list[Middleware]:
        met = (each for each in self._middleware if not isinstance(each, Later) or each.meets(hook))
        made = [each.made if isinstance(each, Later) else each for each in met]
        found = [each for each in made if vars(Middleware)[hook] is not getattr(type(each), hook)]
        return self.setdefault(hook, found)


class MiddlewareStack:
    """The middleware of one app, in order. A hook that a middleware does not override costs nothing."""

    def __init__(self, middleware: Iterable[Middleware | Later] = ()) -> None:
        self._middleware = tuple(middleware)
        self._overriding = _Overriding(self._middleware)

    def __iter__(self) -> Iterator[Middleware]:
        """Yield all middleware, and make those that are not made yet."""
        return (each.made if isinstance(each, Later) else each for each in self._middleware)

    def __contains__(self, middleware: object) -> bool:
        return middleware in self._middleware

    @property
    def options(self) -> Iterator[Option]:
        """All options that the middleware read from tasks."""
        for middleware in self._middleware:
            yield from middleware.options

    def check_options(self, task: type[Task[Any, Any]], policy: TaskPolicy) -> None:
        """Let each middleware check the options of *task*.

        :raises OptionError: by the first that finds a contradiction.
        """
        for middleware in self._overriding["check_options"]:
            middleware.check_options(task, policy)

    def walk(self, hook: str, *subject: Any) -> None:
        """Call *hook* of each middleware, in order."""
        # Not by a function or a context manager, which would cost more than most hooks do.
        for middleware in self._overriding[hook]:
            try:
                getattr(middleware, hook)(*subject)
            except SoftTimeLimitExceeded:
                raise
            except Exception:
                _log_failure(hook, middleware)

    def walk_back(self, hook: str, *subject: Any) -> None:
        """Call *hook* of each middleware, in reverse order. A soft time limit is raised after the last."""
        struck: SoftTimeLimitExceeded | None = None
        for middleware in reversed(self._overriding[hook]):
            try:
                getattr(middleware, hook)(*subject)
            except SoftTimeLimitExceeded as limit:
                struck = limit
            except Exception:
                _log_failure(hook, middleware)
        if struck is not None:
            raise struck

    def answer(self, call: Call) -> AsyncResult[Any] | None:
        """Return what the first middleware that can do so answers *call* with.

        :raises JobtasticError: for what the user has to correct, such as a wrong setting.
        """
        for middleware in self._overriding["answer"]:
            try:
                result = middleware.answer(call)
            except (JobtasticError, SoftTimeLimitExceeded):
                raise
            except Exception:
                _log_failure("answer", middleware)
                continue
            if result is not None:
                if middleware is not self._middleware[0]:
                    self._take_back(call, middleware)
                self.walk_back("after_answer", call, result)
                return result
        return None

    def _take_back(self, call: Call, answering: Middleware) -> None:
        """Tell the middleware before *answering* that *call* will have no message."""
        earlier = self._middleware[: self._middleware.index(answering)]
        MiddlewareStack(each for each in earlier if isinstance(each, Middleware)).walk_back(
            "publish_failed", call
        )


def _log_failure(hook: str, middleware: Middleware) -> None:
    logger.exception("%s of %s failed", hook, safe_repr(middleware))
