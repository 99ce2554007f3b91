"""Handlers of a worker's own life."""

from __future__ import annotations

import logging
from typing import Any

from .. import control
from ..errors import JobtasticError
from ..installation import Installation, ignores_results_by_default, installation_on
from ..keys.roundtrip import delivery_by
from ..settings import settings_without_effect
from ..sharing import redelivery
from ..support.counters import flush_all
from . import runs  # noqa: F401  # The processes of the pool share the memory of it.

__all__ = ["worker_init", "worker_process_shutdown", "worker_ready"]

logger: logging.Logger = logging.getLogger(__name__)


def worker_init(sender: Any, **_: Any) -> None:
    """Look at tasks that came after everything else, before the worker prepares to run them.

    From now on the worker answers how it shares. A worker that is configured wrongly ends here, with one
    error for the reader, instead of an error in every run.
    """
    installation = installation_on(sender.app)
    if installation is None:
        return
    try:
        installation.sweep()
        _prepare(installation)
    except JobtasticError as error:
        # Celery logs any other exception of a handler, and continues.
        raise SystemExit(f"The worker cannot start: {error}") from error
    except Exception:
        # A store that connects when it is opened, and whose server is away. Its first use reports that.
        logger.debug("the store cannot be opened yet", exc_info=True)
    control.add_command()
    redelivery.watch(sender.app)


def _prepare(installation: Installation) -> None:
    """Import, find out and open what runs need, before the processes of the pool are forked.

    They share the memory of it.
    """
    tuple(installation.stack)
    delivery_by(installation.app.conf.task_serializer)
    installation.open_store().close()


def worker_process_shutdown(**_: Any) -> None:
    """Hand over what a process of the pool has counted: it is about to end without further notice."""
    flush_all()


def worker_ready(sender: Any, **_: Any) -> None:
    """Warn about settings that do not do what was probably meant. By now the worker's log is set up."""
    app = sender.app
    if installation_on(app) is not None:
        for name, right in settings_without_effect(app):
            logger.warning("the setting %s has no effect; its name is %s", name, right)
        ignoring = sorted(task.name for task in app.tasks.values() if ignores_results_by_default(task))
        if ignoring:
            logger.warning(
                "task_ignore_result is set, so nobody can read the results or the progress of %s; set "
                "ignore_result=False on tasks whose callers need them",
                ", ".join(ignoring),
            )
