"""What a worker does once, before it forks the processes of its pool, which then share the memory of it."""

from __future__ import annotations

from ..installation import Installation
from ..keys.roundtrip import delivery_by

# The handlers import it where a run begins.
from . import replacing  # noqa: F401

__all__ = ["prepare"]


def prepare(installation: Installation) -> None:
    """Import, find out and open what runs need.

    :raises JobtasticError: if the store cannot be used as it is configured.
    :raises Exception: what a driver raises that connects at once, while its server is away.
    """
    tuple(installation.stack)
    delivery_by(installation.app.conf.task_serializer)
    installation.open_store().close()
