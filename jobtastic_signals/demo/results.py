"""Celery's filesystem result backend, mended in one place for the demo."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from celery.backends import filesystem

__all__ = ["Backend"]


class Backend(filesystem.FilesystemBackend):  # type: ignore[misc]  # Celery has no types
    """Lets results appear whole.

    Celery's own empties a file and writes it afterwards. Who reads in between is told that nobody knows the
    task, and a progress bar would jump back to the start.
    """

    def set(self, key: bytes, value: Any) -> None:
        path = Path(os.fsdecode(self._filename(key)))
        hidden = path.with_name(f".{uuid.uuid4()}.writing")
        hidden.write_bytes(value if isinstance(value, bytes) else value.encode())
        hidden.replace(path)
