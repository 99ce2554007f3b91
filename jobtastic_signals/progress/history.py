"""How long the runs of a task take, kept in the store."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ..stores import Result
from .reporter import Past

if TYPE_CHECKING:
    from ..stores.guard import GuardedStore

__all__ = ["History"]

logger = logging.getLogger(__name__)

#: How many runs are remembered, and for how many seconds after the last one.
RUNS, KEPT_FOR = 20, 90 * 24 * 3600.0

#: Of how many levels the weights are kept: phases can be named after what they work on.
LEVELS = 50


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
                durations = [float(each) for each in known["durations"]]
                weights = {str(path): float(weight) for path, weight in known["weights"].items()}
                return Past([each for each in durations if math.isfinite(each)], weights)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                logger.warning("what is stored of earlier runs of %s is not used: %r", task_name, error)
        return Past()

    def add(self, task_name: str, task_id: str, seconds: float, weights: Mapping[str, float]) -> None:
        """Remember a run. Of two that end at the same instant one may be forgotten, which harms nothing."""
        past = self.of(task_name)
        durations = [*past.durations, round(seconds, 3)][-RUNS:]
        told = {path: weight for path, weight in weights.items() if weight}
        kept = dict(islice(told.items(), LEVELS))
        payload = json.dumps({"durations": durations, "weights": kept}).encode()
        store = self._get_store()
        store.forget(_key(task_name))
        store.settle(_key(task_name), task_id, payload, KEPT_FOR)


def _key(task_name: str) -> str:
    # No key of a call starts like this.
    return f"history:{task_name}"
