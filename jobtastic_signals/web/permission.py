"""The functions of a site that say who may do what, and what they return."""

from __future__ import annotations

import inspect
from typing import Any

from celery import Celery

__all__ = ["check_app", "check_hook", "decided"]


def check_app(celery_app: Any) -> None:
    """Accept a Celery app.

    :raises TypeError: for anything else.
    """
    if not isinstance(celery_app, Celery):
        raise TypeError(f"the first argument must be a Celery app, and {celery_app!r} is not")


def check_hook(name: str, hook: Any, of: str, *, asynchronous: bool) -> None:
    """Accept a function of a site.

    :param name: that of the argument.
    :param of: what the function is called with.
    :param asynchronous: whether it may be a coroutine function.
    :raises TypeError: for anything else.
    """
    if not callable(hook):
        raise TypeError(f"{name} must be a function of {of}, and {hook!r} is not")
    if not asynchronous and inspect.iscoroutinefunction(hook):
        raise TypeError(
            f"{name} must be a plain function here, and {hook!r} is a coroutine function; use "
            "jobtastic_signals.web.asgi for coroutine functions"
        )


def decided(name: str, allowed: Any) -> bool:
    """Return whether the function *name* of a site returned a true value.

    :raises TypeError: for an awaitable, which would count as true.
    """
    if inspect.isawaitable(allowed):
        if inspect.iscoroutine(allowed):
            allowed.close()
        raise TypeError(f"{name} returned an awaitable; here it must be a plain function")
    return bool(allowed)
