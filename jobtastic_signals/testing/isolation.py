"""A store in memory for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from celery import Celery

from ..installation import installation_on, switched_off
from ..plugin import Jobtastic
from ..stores import open_store
from ..stores.guard import GuardedStore

__all__ = ["isolated_store", "jobtastic_in_memory"]


@contextmanager
def isolated_store(app: Celery[Any]) -> Iterator[None]:
    """Let *app* share through its own store in memory, which is empty at first, until the block ends.

    If the plugin is not enabled on *app*, it is for that time.

    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> @app.task(name="double", cache_duration=60)
    ... def double(n):
    ...     print("it runs")
    ...     return 2 * n
    >>> with isolated_store(app):
    ...     double.apply((21,)).get(), double.apply((21,)).get()
    it runs
    (42, 42)
    """
    jobtastic = Jobtastic()
    was_on = installation_on(app) is not None
    jobtastic.init_app(app)
    installation = installation_on(app)
    assert installation is not None
    url = "memory://"
    configured = installation.use_store(GuardedStore(partial(open_store, url), url))
    try:
        yield
    finally:
        own = installation.use_store(configured)
        if own is not None:
            own.close()
        if not was_on:
            jobtastic.uninstall(app)
            # If the configuration names the plugin, the next task that binds enables it again.
            switched_off.discard(app)


@pytest.fixture
def jobtastic_in_memory() -> Iterator[Callable[[Celery[Any]], None]]:
    """Return a function that gives an app an :func:`isolated_store` until the test ends.

    To use it, add ``pytest_plugins = ["jobtastic_signals.testing"]`` to your ``conftest.py``.
    """
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(isolated_store(app))
