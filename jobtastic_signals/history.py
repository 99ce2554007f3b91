"""How long the runs of a task take, kept in the store."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .reporting import Past
from .stores import Result

if TYPE_CHECKING:
    from .stores.guard import GuardedStore

__all__ = ["History"]

logger = logging.getLogger(__name__)

#: How many runs are remembered, and for how many seconds after the last one.
RUNS, KEPT_FOR = 20, 90 * 24 * 3600.0


class History:
    """The latest runs of each task, in the store that *get_store* gives."""

    def __init__(self, get_store: Callable[[], GuardedStore]) -> None:
        self._get_store = get_store

    def of(self, task_name: str) -> Past:
        """What is known of the task."""
        entry = self._get_store().lookup(_key(task_name))
        if isinstance(entry, Result):
            try:
                known = json.loads(entry.payload)
                return Past([float(each) for each in known["durations"]], dict(known["weights"]))
            except (ValueError, TypeError, KeyError) as error:
                logger.warning("what is stored of earlier runs of %s is not used: %r", task_name, error)
        return Past()

    def add(self, task_name: str, task_id: str, seconds: float, weights: Mapping[str, float]) -> None:
        """Remember a run. Of two that end at the same instant one may be forgotten, which harms nothing."""
        past = self.of(task_name)
        durations = [*past.durations, round(seconds, 3)][-RUNS:]
        payload = json.dumps({"durations": durations, "weights": {**past.weights, **weights}}).encode()
        store = self._get_store()
        store.forget(_key(task_name))
        store.settle(_key(task_name), task_id, payload, KEPT_FOR)


def _key(task_name: str) -> str:
    # No key of a call starts like this.
    return f"history:{task_name}"
