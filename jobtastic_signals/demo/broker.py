"""Celery's filesystem broker with two fixes, for the demo and the tests."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

__all__ = ["Transport"]

#: Seconds after which a worker without messages checks whether it has to end.
CHECKED_EVERY = 0.2


class Channel(filesystem.Channel):
    """Writes each message in one step.

    Kombu's own channel creates the file of a message and writes it afterwards. A worker that reads it in
    between finds nothing and ends: "Unrecoverable error: JSONDecodeError"
    (https://github.com/celery/kombu/issues/1551). That happens to one message in some thousands, too often
    for a demo of reliability. So a message is written under a name that no worker looks for, and then
    renamed.
    """

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}"
        hidden = Path(self.data_folder_out, f"{name}.writing")
        hidden.write_text(dumps(payload))
        hidden.rename(Path(self.data_folder_out, f"{name}.{queue}.msg"))


class Transport(filesystem.Transport):
    """Lets a worker end soon: it checks only between two calls of ``drain_events``, each of 2 s."""

    Channel: type[Channel] = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        super().drain_events(connection, timeout=CHECKED_EVERY)  # type: ignore[no-untyped-call]
