"""Celery's filesystem broker, safe for a reader that is fast."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Lets messages appear whole.

    Kombu's own creates the file of a message and writes it afterwards; a worker that looks in between
    takes an empty file and ends with a ``JSONDecodeError`` (https://github.com/celery/kombu/issues/1551).
    """

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}"
        hidden = os.path.join(self.data_folder_out, f"{name}.writing")
        with open(hidden, "w", encoding="utf-8") as file:
            file.write(dumps(payload))
        os.rename(hidden, os.path.join(self.data_folder_out, f"{name}.{queue}.msg"))


class Transport(filesystem.Transport):
    Channel = Channel
