"""What a worker tells of how it shares: Celery's inspect command ``jobtastic``, on its control bus."""

from __future__ import annotations

from typing import Any

from .errors import SettingError
from .registry import installation_on

__all__ = ["COMMAND", "add_command", "how_it_shares"]

#: The name of the command.
COMMAND = "jobtastic"


def add_command() -> None:
    """Let the worker of this process be asked; doing it twice is doing it once."""
    from celery.worker.control import inspect_command

    inspect_command(name=COMMAND)(how_it_shares)


def how_it_shares(state: Any, **_: Any) -> dict[str, Any]:
    """How this worker shares: whether its app has the plugin, its store, and its tasks with options of ours.

    ``identity`` is ``None`` while the store does not answer. Called in the worker's main process.
    """
    installation = installation_on(state.app)
    if installation is None:
        return {"plugin": False}
    try:
        settings, store = installation.settings, installation.store
        identity = store.identity  # Remembered for a while, also when the store is gone.
        return {
            "plugin": True,
            "url": store.url,
            "identity": None if store.is_down else identity,
            "namespace": settings.namespace,
            "tasks": [name for name, task in state.app.tasks.items() if installation.knows(type(task))],
        }
    except SettingError as error:
        return {"plugin": True, "wrong": str(error)}
