"""What the store and the result backend hold at one time, read once for all who look at the page."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import ImproperlyConfigured

from ...errors import JobtasticError
from ...installation import Installation
from ...results.status import task_status
from ...sharing.inventory import Row, rows
from ...sharing.stats import TaskStats, stats
from ...support.shown import shown

__all__ = ["Snapshot", "Snapshots"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds for which a snapshot is shown to all who ask.
FRESH_FOR = 1.0


@dataclass
class Snapshot:
    """The rows of the store, the newest first, and what was counted of each task.

    :ivar is_store_down: whether the store does not answer, so rows are missing.
    :ivar is_backend_down: whether the result backend does not answer, so progress is missing.
    :ivar taken: when it was read, by this process's clock.
    """

    installation: Installation
    rows: Sequence[Row]
    stats: Mapping[str, TaskStats]
    is_store_down: bool
    is_backend_down: bool = False
    taken: float = field(default_factory=time.monotonic, init=False)
    _progress: dict[str, dict[str, Any] | None] = field(default_factory=dict, init=False)

    @property
    def is_fresh(self) -> bool:
        """Whether it can be shown to others."""
        return time.monotonic() < self.taken + FRESH_FOR

    def progress_of(self, row: Row) -> dict[str, Any] | None:
        """Return the progress of a run; ``None`` if it has reported none, or if that cannot be read."""
        if row.state != "running" or self.is_backend_down:
            return None
        if row.owner not in self._progress:
            self._progress[row.owner] = self._read(row.owner)
        return self._progress[row.owner]

    def _read(self, task_id: str) -> dict[str, Any] | None:
        try:
            task = task_status(self.installation.app, task_id)["task"]
        except (JobtasticError, ImproperlyConfigured):
            return None  # There is no result backend, or it has what cannot be decoded here.
        except Exception as error:
            logger.warning("progress cannot be read from the result backend: %s", shown(error))
            self.is_backend_down = True
            return None
        return _progress_in(task["result"]) if task["status"] == "PROGRESS" else None


class Snapshots:
    """The latest snapshot of this process. Those who ask within a second share it."""

    def __init__(self) -> None:
        self._latest: Snapshot | None = None

    def take(self, installation: Installation) -> Snapshot:
        """Return a snapshot that is at most a second old."""
        latest = self._latest
        if latest is None or not latest.is_fresh:
            self._latest = latest = _take(installation)
        return latest

    def drop(self) -> None:
        """Read the store again for whoever asks next."""
        self._latest = None


def _take(installation: Installation) -> Snapshot:
    found = sorted(rows(installation), key=lambda row: (row.age, row.key))
    return Snapshot(installation, found, stats(installation.app), installation.store.is_down)


def _progress_in(result: Any) -> dict[str, Any] | None:
    """Return the numbers and the message in what a task wrote, which may be anything."""
    if not isinstance(result, Mapping):
        return None
    percent = _number(result.get("progress_percent"))
    left, message = _number(result.get("time_remaining")), result.get("message")
    return {
        "percent": None if percent is None else min(max(percent, 0.0), 100.0),
        "time_remaining": left if left is not None and left >= 0 else None,
        "message": None if message is None else str(message),
    }


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
