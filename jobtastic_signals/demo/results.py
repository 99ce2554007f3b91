"""Celery's filesystem result backend with one fix, for the demo."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from celery.backends import filesystem

__all__ = ["Backend"]


class Backend(filesystem.FilesystemBackend):  # type: ignore[misc]  # Celery has no types
    """Writes each result in one step.

    Celery's own backend empties a file and writes it afterwards. A reader in between gets the answer that the
    task is unknown, and a progress bar would jump back to the start.
    """

    def set(self, key: bytes, value: Any) -> None:
        path = Path(os.fsdecode(self._filename(key)))
        hidden = path.with_name(f".{uuid.uuid4()}.writing")
        hidden.write_bytes(value if isinstance(value, bytes) else value.encode())
        hidden.replace(path)
