"""How long the runs of a task take, kept in the store."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from itertools import islice

from ..installation import Installation
from ..stores import Result
from ..support.shown import shown
from .report import Past

__all__ = ["History"]

logger: logging.Logger = logging.getLogger(__name__)

#: How many runs are remembered, and for how many seconds after the last one.
RUNS, KEPT_FOR = 20, 90 * 24 * 3600.0

#: Of how many levels the weights are kept: phases can be named after what they work on.
LEVELS = 50


class History:
    """The latest runs of each task, in the store of *installation*."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def of(self, task_name: str) -> Past:
        """Return what is known of the task's earlier runs."""
        entry = self._installation.store.lookup(_key(task_name))
        if isinstance(entry, Result):
            try:
                known = json.loads(entry.payload)
                durations = [float(each) for each in known["durations"]]
                weights = {str(path): float(weight) for path, weight in known["weights"].items()}
                return Past([each for each in durations if math.isfinite(each)], weights)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                logger.warning("the stored history of %s cannot be read: %s", task_name, shown(error))
        return Past()

    def add(self, task_name: str, task_id: str, seconds: float, weights: Mapping[str, float]) -> None:
        """Remember a run. If two end at the same instant, one may be forgotten; that does no harm."""
        past = self.of(task_name)
        durations = [*past.durations, round(seconds, 3)][-RUNS:]
        known = {path: weight for path, weight in weights.items() if weight}
        kept = dict(islice(known.items(), LEVELS))
        payload = json.dumps({"durations": durations, "weights": kept}).encode()
        store = self._installation.store
        store.forget(_key(task_name))
        store.complete(_key(task_name), task_id, None, payload, ttl=KEPT_FOR)


def _key(task_name: str) -> str:
    # No key of a call starts like this.
    return f"history:{task_name}"
