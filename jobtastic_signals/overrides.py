"""The methods that Celery leaves us: they obey what handlers and store know, and decide nothing.

Celery's signals have no veto. So ``apply_async`` returns an existing task's result instead of publishing, and
``__call__`` carries out a decision instead of running the body. Both are put on the class of a task with our
options, in front of what is there. For everything else they go on to that. ``apply`` only takes the options
of one call.

Functions that work with any task are put there too, for those who look for them on the task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.utils import uuid
from kombu.exceptions import OperationalError

from .calls import HEADER, Call, Run, current_call, run_of
from .fallback import FUNCTIONS
from .fallback.current import attempt_on, current_attempt
from .installation import Installation, installation_on, sharing_of
from .options import NOTHING_ASKED, take_call_options
from .sharing.kinds import call_of
from .sharing.origin import Origin, note_origin
from .support.rare_warnings import rare_warnings
from .support.shown import shown_error

if TYPE_CHECKING:
    from celery.result import AsyncResult, EagerResult

__all__ = ["add_overrides", "remove_overrides", "shadowing_overrides"]

logger: logging.Logger = logging.getLogger(__name__)

_ORIGINAL = "_jobtastic_original"

_METHODS = ("apply_async", "__call__", "apply")

ApplyAsync = Callable[..., "AsyncResult[Any]"]


class _Function:
    """A function of this package on a task class, imported when it is first used."""

    def __init__(self, module: str, name: str, *, takes_task: bool = True) -> None:
        self._module, self._name, self._takes_task = module, name, takes_task

    def __get__(self, task: Task[Any, Any] | None, cls: type[Task[Any, Any]]) -> Any:
        function = getattr(import_module(self._module, __package__), self._name)
        return function.__get__(task, cls) if self._takes_task else function


_FUNCTIONS: dict[str, Any] = {
    "update_progress": _Function(".progress.api", "update_progress", takes_task=False),
    **{name: _Function(".fallback.api", name) for name in FUNCTIONS},
}


def add_overrides(task: type[Task[Any, Any]]) -> None:
    """Put our methods on the class *task*; doing it twice is doing it once."""
    for name, method in zip(_METHODS, (_apply_async(task), _call(task), _apply(task)), strict=True):
        own = vars(task).get(name)
        if not hasattr(own, _ORIGINAL):
            setattr(method, _ORIGINAL, own)
            setattr(task, name, method)
    for name, function in _FUNCTIONS.items():
        if not any(name in vars(cls) for cls in task.__mro__):
            setattr(task, name, function)


def remove_overrides(task: type[Task[Any, Any]]) -> None:
    """Leave the class *task* as it was before :func:`add_overrides`."""
    for name in _METHODS:
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
        named = (
            ("task_id", task_id),
            ("producer", producer),
            ("link", link),
            ("link_error", link_error),
            ("shadow", shadow),
        )
        for name, value in named:
            if value is not None:
                options[name] = value
        return _publish(self, _next(cls, self, apply_async, "apply_async"), args, kwargs, options)

    apply_async.__doc__ = Task.apply_async.__doc__
    return apply_async


def _apply(cls: type[Task[Any, Any]]) -> Callable[..., EagerResult[Any]]:
    def apply(
        self: Task[Any, Any],
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> EagerResult[Any]:
        go_on = _next(cls, self, apply, "apply")
        asked = take_call_options(self.name, options)
        if asked.refresh or asked.bypass:
            task_id = task_id or uuid()
            stamp = {"id": task_id, "bypass" if asked.bypass else "fresh": True}
            options["headers"] = {**(options.get("headers") or {}), HEADER: stamp}
        named = {"link": link, "link_error": link_error, "task_id": task_id}
        given = {name: value for name, value in named.items() if value is not None}
        result: EagerResult[Any] = go_on(args, kwargs, **given, **options)
        return result

    apply.__doc__ = Task.apply.__doc__
    return apply


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
    asked = take_call_options(task.name, options) if options else NOTHING_ASKED
    found = sharing_of(task)
    call = call_of(task, *found, args, kwargs, options, asked) if found is not None else None
    if call is not None:
        call.claims_early = getattr(go_on, "__func__", None) is Task.apply_async
    attempt = attempt_on(task.name) if current_attempt.get() is not None else None
    if attempt is not None:
        go_on = partial(attempt.go_on, go_on, None if asked.bypass else call)
    if found is None or call is None:
        if task.app.conf.task_always_eager:
            options.update(asked.given)  # Celery passes them on to our ``apply``.
        result = go_on(args, kwargs, **options)
        if found is not None:
            note_origin(result, Origin("own", result.id, result.id))
        return result
    publish = partial(_send, call, go_on, args, kwargs)
    try:
        result = call.hooks.answer(call) if call.plain else None
        if result is None:
            return publish(options)
        if call.publishes_too and call.answered_by == "run":
            publish({**options, "add_to_parent": False})
    except BaseException:
        _note_failure(call)
        raise
    if call.publishes_too and call.answered_by == "result":
        if attempt is not None:
            attempt.at_hand = result
        _renew(found[0], call, partial(publish, {**options, "add_to_parent": False}))
    if call.answered_by != "dropped":
        _add_to_trail(task, result, options)
    result.ignored = call.ignore_result
    return result


def _send(
    call: Call, go_on: ApplyAsync, args: Any, kwargs: Any, options: Mapping[str, Any]
) -> AsyncResult[Any]:
    if call.id is not None and call.claims_early:
        # Also where the store did not answer: what it decides too late is about this id.
        options = {**options, "task_id": call.id}
    token = current_call.set(call)
    try:
        result = go_on(args, kwargs, **options)
    finally:
        current_call.reset(token)
    note_origin(result, Origin("own", result.id, result.id, call.key or None, claimed=call.claimed))
    return result


def _renew(installation: Installation, call: Call, publish: Callable[[], object]) -> None:
    """Publish a call whose run renews the stale result that its caller has got.

    If that fails, the next caller tries. While the broker is down, few callers do.
    """
    broker = installation.broker
    error: Exception | None = None
    try:
        if current_attempt.get() is None and not broker.lets_through():
            raise broker.error or OperationalError("the broker is down")
        publish()
    except OperationalError as refused:
        error = refused
        broker.failed(refused)
    except Exception as raised:
        error = raised
    else:
        broker.answered()
    if error is not None:
        _note_failure(call)
        rare_warnings.warn(
            logger,
            f"renewal: {call.task.name}",
            "%s: the run that is to renew a stale result could not be published (%s); callers get the stale "
            "result meanwhile",
            call.task.name,
            shown_error(error),
        )


def _note_failure(call: Call) -> None:
    if call.id is not None:
        call.hooks.walk_back("publish_failed", call)


def _add_to_trail(task: Task[Any, Any], result: AsyncResult[Any], options: dict[str, Any]) -> None:
    # As Celery does for a published one, so that ``children`` and ``collect()`` are right.
    parent = task.app.current_worker_task
    if parent is not None and options.get("add_to_parent", True):
        parent.add_trail(result)
