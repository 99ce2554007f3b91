"""Which apps have the plugin: it is kept on the app itself, so it goes when the app goes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from celery import Celery, Task

from .errors import JobtasticError

if TYPE_CHECKING:
    from .calls import TaskPolicy
    from .installation import Installation

__all__ = ["installation_on", "required_sharing_of", "sharing_of"]

_ATTRIBUTE = "_jobtastic"

#: Apps with the plugin, and apps where it was switched off, whatever their configuration says.
installed: WeakSet[Celery] = WeakSet()
switched_off: WeakSet[Celery] = WeakSet()


def installation_on(app: Celery) -> Installation | None:
    """The plugin on *app*; ``None`` where it is not switched on."""
    return getattr(app, _ATTRIBUTE, None)


def sharing_of(task: Task) -> tuple[Installation, TaskPolicy] | None:
    """The plugin on *task*'s app and what the task's options ask for; ``None`` where one is missing."""
    installation = installation_on(task.app)
    # Not type(task): what ``@app.task`` gives is a proxy of the task.
    policy = installation.policy_of(task.__class__) if installation is not None else None
    return None if installation is None or policy is None else (installation, policy)


def required_sharing_of(task: Task) -> tuple[Installation, TaskPolicy]:
    """As :func:`sharing_of`.

    :raises JobtasticError: where one is missing.
    """
    found = sharing_of(task)
    if found is None:
        raise JobtasticError(
            f"task {task.name!r} shares nothing: it has none of our options, or its app has not the plugin"
        )
    return found


def register(app: Celery, installation: Installation) -> None:
    """Let *installation* be found on *app*."""
    setattr(app, _ATTRIBUTE, installation)
    installed.add(app)
    switched_off.discard(app)


def unregister(app: Celery) -> Installation | None:
    """Let nothing be found on *app* any more; what was."""
    installation = installation_on(app)
    if installation is not None:
        delattr(app, _ATTRIBUTE)
    installed.discard(app)
    switched_off.add(app)
    return installation
