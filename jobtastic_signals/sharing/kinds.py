"""The kinds of calls: plain, dependent, due later, one that bypasses sharing, or none of ours."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from celery import Task
from celery.utils.time import maybe_iso8601

from ..calls import Call, TaskPolicy, calling_run, current_call
from ..errors import OptionError
from ..installation import NO_KEY, OTHERS, Installation
from ..keys.context import KeyContext
from ..keys.recipe import HERE
from ..keys.stamps import is_sound_id
from ..middleware import MiddlewareStack
from ..options import CallOptions
from ..results.backend import is_private

__all__ = ["call_of"]


def call_of(
    task: Task[Any, Any],
    installation: Installation,
    policy: TaskPolicy,
    args: Any,
    kwargs: Any,
    options: Mapping[str, Any],
    asked: CallOptions,
) -> Call | None:
    """Return the call, or ``None`` if it is none of ours."""
    outer = current_call.get()
    passed_already = outer is not None and outer.task is task and not outer.made
    has_bad_id = options.get("task_id") is not None and not is_sound_id(options["task_id"])
    if passed_already or has_bad_id or not (policy.shares or policy.observes):
        return None
    on_duplicate = _on_duplicate(task, policy, asked)
    is_eager = bool(task.app.conf.task_always_eager)
    if _bypasses(task, options, asked):
        return None if is_eager else _bypassing(task, policy)
    identity = _identity_of(task, installation, policy, args, kwargs, options)
    if identity is None or is_eager:
        return None
    key, scopes = identity
    due_later = bool(options.get("eta") or options.get("countdown"))
    backend = task.backend
    is_dependent = (bool(options) and _is_dependent(task, options)) or is_private(backend)
    ignore_result, expires = options.get("ignore_result"), options.get("expires", task.expires)
    return Call(
        task,
        policy,
        key,
        installation.observers if policy.observes else installation.stack,
        plain=not (due_later or is_dependent),
        backend=backend,
        scopes=scopes,
        due_later=due_later,
        fresh=asked.refresh,
        on_duplicate=on_duplicate,
        expires=None if expires is None else _seconds_until(expires),
        ignore_result=bool(task.ignore_result if ignore_result is None else ignore_result),
    )


def _identity_of(
    task: Task[Any, Any],
    installation: Installation,
    policy: TaskPolicy,
    args: Any,
    kwargs: Any,
    options: Mapping[str, Any],
) -> tuple[str, tuple[str, ...]] | None:
    """Return the key and the scopes of a call."""
    settings = installation.settings

    def is_required() -> bool:
        return settings.key_required and policy.shares and not _is_of_a_canvas_in_a_worker(task, options)

    def refused(argument: str | None) -> None:
        installation.counters.add(task.name, **{NO_KEY + (argument or OTHERS): 1})

    headers = options.get("headers")
    context = KeyContext(headers) if headers else HERE
    return policy.identify(task, args, kwargs, context, is_required=is_required, refused=refused)


def _on_duplicate(task: Task[Any, Any], policy: TaskPolicy, asked: CallOptions) -> str:
    """Return what happens if an identical call is in flight."""
    on_duplicate = asked.on_duplicate or policy.on_duplicate
    if on_duplicate != "join" and not policy.avoids_herds:
        raise OptionError(
            f"a call of {task.name!r}: on_duplicate={on_duplicate!r} needs herd_avoidance_timeout on the "
            "task, since nothing else shows that an identical call is in flight; set that, or leave this out"
        )
    return on_duplicate


def _bypassing(task: Task[Any, Any], policy: TaskPolicy) -> Call:
    """Return a call that no middleware meets, and no store."""
    return Call(task, policy, "", MiddlewareStack(), plain=False, stamp={"bypass": True})


def _bypasses(task: Task[Any, Any], options: Mapping[str, Any], asked: CallOptions) -> bool:
    """Return whether a call neither reads nor writes what is shared. The retry of such a call is another."""
    if asked.bypass or options.get("task_id") is None:
        return asked.bypass
    run = calling_run(task)
    return run is not None and run.id == options["task_id"] and bool(run.stamp.get("bypass"))


#: What Celery or a user gives a call that cannot be answered by another task's result.
_TIES = {"task_id", "link", "link_error", "chain", "chord", "group_id", "retries"}


def _is_dependent(task: Task[Any, Any], options: Mapping[str, Any]) -> bool:
    """Return whether what a call is given ties its id to something else."""
    if _has_ties(options):
        return True
    # Celery's default for one call can differ from the task's: then others wait for what this one does
    # not store, or the other way round.
    return options.get("ignore_result") not in (None, bool(task.ignore_result))


def _has_ties(options: Mapping[str, Any]) -> bool:
    return any(options[name] for name in _TIES & options.keys())


def _is_of_a_canvas_in_a_worker(task: Task[Any, Any], options: Mapping[str, Any]) -> bool:
    """Return whether Celery itself makes this call, to retry or to go on after a run: nobody could correct
    it.

    A run whose retry or callback raises is lost, or a failure though its body succeeded.
    """
    in_run = task.app.current_worker_task is not None and _has_ties(options)
    return in_run or options.get("parent_id") is not None


def _seconds_until(moment: Any) -> float | None:
    """Return how far *moment* lies ahead: seconds, a datetime or ISO text, as for ``expires`` in Celery."""
    if isinstance(moment, (int, float)):
        return moment
    try:
        when = maybe_iso8601(moment)
        left: datetime.timedelta = when - datetime.datetime.now(when.tzinfo)
    except (TypeError, ValueError, AttributeError):
        return None  # Celery will say what it is.
    return left.total_seconds()
