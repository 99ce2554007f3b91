"""Celery's filesystem broker, mended in two places for the demo and the tests."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

__all__ = ["Transport"]

#: Seconds after which a worker without messages looks whether it is to end.
ATTENTION_SPAN = 0.2


class Channel(filesystem.Channel):
    """Lets messages appear whole.

    kombu's own creates a message's file and writes it afterwards. A worker that looks in between reads
    nothing and gives up: "Unrecoverable error: JSONDecodeError" (https://github.com/celery/kombu/issues/1551).
    That befalls one message in some thousands, too often for a demo of reliability. So a message is
    written under a name that nobody looks for, and then renamed.
    """

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}"
        hidden = Path(self.data_folder_out, f"{name}.writing")
        hidden.write_text(dumps(payload))
        hidden.rename(Path(self.data_folder_out, f"{name}.{queue}.msg"))


class Transport(filesystem.Transport):
    """Lets a worker end soon: it looks for that only between two calls of ``drain_events``, each 2 s."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        super().drain_events(connection, timeout=ATTENTION_SPAN)  # type: ignore[no-untyped-call]
