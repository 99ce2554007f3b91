"""Celery's inspect command ``jobtastic``: a worker answers how it shares."""

from __future__ import annotations

from typing import Any

from .errors import SettingError
from .installation import installation_on

__all__ = ["COMMAND", "add_command", "how_it_shares"]

#: The name of the command.
COMMAND = "jobtastic"


def add_command() -> None:
    """Add the command to the worker of this process. Calling this twice is harmless."""
    from celery.worker.control import inspect_command

    inspect_command(name=COMMAND)(how_it_shares)


def how_it_shares(state: Any, **_: Any) -> dict[str, Any]:
    """Return how this worker shares: whether the plugin is enabled, its store, and its tasks with our
    options.

    ``identity`` is ``None`` while the store does not answer. Called in the worker's main process.
    """
    installation = installation_on(state.app)
    if installation is None:
        return {"plugin": False}
    try:
        settings, store = installation.settings, installation.store
        identity = store.identity  # Known for a while after the store is gone.
        return {
            "plugin": True,
            "url": store.url,
            "identity": None if store.is_down else identity,
            "namespace": settings.namespace,
            "tasks": [name for name, task in state.app.tasks.items() if installation.knows(type(task))],
        }
    except SettingError as error:
        return {"plugin": True, "wrong": str(error)}
