"""The two methods that Celery leaves us: they obey what handlers and store know, and decide nothing.

Celery's signals have no veto. So ``apply_async`` returns an existing task's result instead of publishing, and
``__call__`` carries out a decision instead of running the body. Both are put on the class of a task with our
options, in front of what is there. For everything else they go on to that.

Functions that work with any task are put there too, for those who look for them on the task.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.utils.time import maybe_iso8601

from .calls import Call, Run, TaskPolicy, current_call, run_of
from .fallback.api import FUNCTIONS
from .fallback.attempt import attempt_on, current_attempt
from .installation import Installation, installation_on, sharing_of
from .keys.context import KeyContext
from .keys.stamps import is_sound_id
from .progress.api import update_progress
from .results import backend

if TYPE_CHECKING:
    from celery.result import AsyncResult

__all__ = ["add_overrides", "remove_overrides", "shadowing_overrides"]

_ORIGINAL = "_jobtastic_original"

ApplyAsync = Callable[..., "AsyncResult[Any]"]

_FUNCTIONS: dict[str, Any] = {
    "update_progress": staticmethod(update_progress),
    **{each.__name__: each for each in FUNCTIONS},
}


def add_overrides(task: type[Task[Any, Any]]) -> None:
    """Put both methods on the class *task*; doing it twice is doing it once."""
    for name, method in (("apply_async", _apply_async(task)), ("__call__", _call(task))):
        own = vars(task).get(name)
        if not hasattr(own, _ORIGINAL):
            setattr(method, _ORIGINAL, own)
            setattr(task, name, method)
    for name, function in _FUNCTIONS.items():
        if not hasattr(task, name):
            setattr(task, name, function)


def remove_overrides(task: type[Task[Any, Any]]) -> None:
    """Leave the class *task* as it was before :func:`add_overrides`."""
    for name in ("apply_async", "__call__"):
        own = vars(task).get(name)
        if hasattr(own, _ORIGINAL):
            original = getattr(own, _ORIGINAL)
            if original is None:
                delattr(task, name)
            else:
                setattr(task, name, original)
    for name, function in _FUNCTIONS.items():
        if vars(task).get(name) is function:
            delattr(task, name)


def shadowing_overrides(task: Task[Any, Any]) -> dict[str, Any]:
    """Return the methods that shadow our overrides, by name.

    They came after us. What :func:`functools.wraps` ours counts as ours.
    """
    met = {
        "apply_async": vars(task).get("apply_async") or getattr_static(type(task), "apply_async"),
        "__call__": getattr_static(type(task), "__call__"),
    }
    return {name: method for name, method in met.items() if not hasattr(method, _ORIGINAL)}


def _apply_async(cls: type[Task[Any, Any]]) -> ApplyAsync:
    def apply_async(
        self: Task[Any, Any],
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        named = {
            "task_id": task_id,
            "producer": producer,
            "link": link,
            "link_error": link_error,
            "shadow": shadow,
        }
        go_on = _next(cls, self, apply_async, "apply_async")
        given = {name: value for name, value in named.items() if value is not None}
        return _publish(self, go_on, args, kwargs, {**given, **options})

    apply_async.__doc__ = Task.apply_async.__doc__
    return apply_async


def _call(cls: type[Task[Any, Any]]) -> Callable[..., Any]:
    def __call__(self: Task[Any, Any], *args: Any, **kwargs: Any) -> Any:
        go_on = _next(cls, self, __call__, "__call__")
        run = run_of(self.request)
        if run is None or cls in run.layers:
            # A plain function call, from outside of any run or from inside of this one.
            return go_on(*args, **kwargs)
        is_outermost = not run.layers
        run.layers.add(cls)
        if getattr(go_on, "__func__", None) is Task.__call__:
            # Celery's own would push a second request, where it has not been optimised away by a worker.
            go_on = self.run
        if not is_outermost:
            return go_on(*args, **kwargs)
        body = partial(_run_body, run, go_on, args, kwargs)
        return body() if run.decision is None else run.decision.carry_out(run, body)

    return __call__


def _run_body(run: Run, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    installation = installation_on(run.task.app)
    if installation is None:
        return body(*args, **kwargs)
    try:
        installation.stack.walk("before_body", run)
        return body(*args, **kwargs)
    finally:
        installation.stack.walk_back("after_body", run)


def _next(cls: type[Task[Any, Any]], task: Task[Any, Any], method: Any, name: str) -> Any:
    """Return what *method* stands in front of: the class's own from before, else the next class's."""
    original = getattr(method, _ORIGINAL)
    return original.__get__(task) if original is not None else getattr(super(cls, task), name)


def _publish(
    task: Task[Any, Any], go_on: ApplyAsync, args: Any, kwargs: Any, options: dict[str, Any]
) -> AsyncResult[Any]:
    found = sharing_of(task)
    call = _call_of(task, *found, args, kwargs, options) if found is not None else None
    if call is not None:
        call.claims_early = getattr(go_on, "__func__", None) is Task.apply_async
    attempt = attempt_on(task.name) if current_attempt.get() is not None else None
    if attempt is not None:
        go_on = partial(attempt.go_on, go_on, call)
    if found is None or call is None:
        return go_on(args, kwargs, **options)
    stack = found[0].stack
    try:
        result = stack.answer(call) if call.plain else None
        if result is not None:
            _add_to_trail(task, result, options)
            result.ignored = call.ignore_result
            return result
        if call.id is not None:
            # Also where the store did not answer: what it decides too late is about this id.
            options = {**options, "task_id": call.id}
        token = current_call.set(call)
        try:
            return go_on(args, kwargs, **options)
        finally:
            current_call.reset(token)
    except BaseException:
        if call.id is not None:
            stack.walk_back("publish_failed", call)
        raise


def _call_of(
    task: Task[Any, Any],
    installation: Installation,
    policy: TaskPolicy,
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
) -> Call | None:
    """Return the call, or ``None`` if it is none of ours."""
    outer = current_call.get()
    passed_already = outer is not None and outer.task is task and not outer.made
    has_bad_id = options.get("task_id") is not None and not is_sound_id(options["task_id"])
    if passed_already or has_bad_id or not policy.shares:
        return None
    settings = installation.settings

    def is_required() -> bool:
        return settings.key_required and not _is_of_a_canvas_in_a_worker(task, options)

    context = KeyContext(options.get("headers") or {})
    key = policy.key_of(task, args, kwargs, context=context, is_required=is_required)
    if key is None or task.app.conf.task_always_eager:
        return None
    due_later = bool(options.get("eta") or options.get("countdown"))
    ignore_result = options.get("ignore_result")
    expires = _seconds_until(options.get("expires", task.expires))
    return Call(
        task,
        policy,
        key,
        installation.stack,
        plain=not (due_later or _is_dependent(task, options)),
        due_later=due_later,
        expires=expires,
        ignore_result=bool(task.ignore_result if ignore_result is None else ignore_result),
    )


#: What Celery or a user gives a call that cannot be answered by another task's result.
_TIES = {"task_id", "link", "link_error", "chain", "chord", "group_id", "retries"}


def _is_dependent(task: Task[Any, Any], options: dict[str, Any]) -> bool:
    if _has_ties(options) or backend.is_private(task):
        return True
    # Celery's default for one call can differ from the task's: then others wait for what this one does
    # not store, or the other way round.
    return options.get("ignore_result") not in (None, bool(task.ignore_result))


def _has_ties(options: Mapping[str, Any]) -> bool:
    return any(options[name] for name in _TIES & options.keys())


def _is_of_a_canvas_in_a_worker(task: Task[Any, Any], options: dict[str, Any]) -> bool:
    """Return whether Celery itself makes this call, to retry or to go on after a run: nobody could correct
    it.

    A run whose retry or callback raises is lost, or a failure though its body succeeded.
    """
    in_run = task.app.current_worker_task is not None and _has_ties(options)
    return in_run or options.get("parent_id") is not None


def _seconds_until(moment: Any) -> float | None:
    """Return how far *moment* lies ahead: seconds, a datetime or ISO text, as for ``expires`` in Celery."""
    if moment is None or isinstance(moment, (int, float)):
        return moment
    try:
        when = maybe_iso8601(moment)
        left: datetime.timedelta = when - datetime.datetime.now(when.tzinfo)
    except (TypeError, ValueError, AttributeError):
        return None  # Celery will say what it is.
    return left.total_seconds()


def _add_to_trail(task: Task[Any, Any], result: AsyncResult[Any], options: dict[str, Any]) -> None:
    # As Celery does for a published one, so that ``children`` and ``collect()`` are right.
    parent = task.app.current_worker_task
    if parent is not None and options.get("add_to_parent", True):
        parent.add_trail(result)
