"""Watching tasks until they have ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery

from ...results.status import task_status
from ...support.safe_text import safe_str
from .base import Sight, View, clean, sight_of

__all__ = ["watch_tasks"]

#: The state of a task until the result backend has answered.
_UNSEEN = "UNSEEN"


def watch_tasks(
    app: Celery[Any], task_ids: Iterable[str], view: View, *, interval: float, timeout: float | None = None
) -> int:
    """Show the tasks on *view* until all have ended, or *timeout* seconds are over.

    A backend that does not answer is asked again, after one notice.

    :param interval: seconds between two readings.
    :returns: 0 if all succeeded, 1 if any failed, 2 if none failed but not all have ended.
    """
    start = time.monotonic()
    latest = {task_id: Sight(task_id, _UNSEEN) for task_id in task_ids}
    reader = _Reader(app, view)
    while waiting := [task_id for task_id, sight in latest.items() if not sight.final]:
        for task_id, sight in reader.read(waiting):
            latest[task_id] = sight
            view.show(sight)
        left = _until(start, timeout)
        if left <= 0 or all(sight.final for sight in latest.values()):
            break
        time.sleep(min(interval, left))
    return _conclude(list(latest.values()), view, time.monotonic() - start)


class _Reader:
    """Reads the result backend. It reports once when that stops answering, and once when it answers again."""

    def __init__(self, app: Celery[Any], view: View) -> None:
        self._app = app
        self._view = view
        self._is_failing = False

    def read(self, task_ids: Sequence[str]) -> list[tuple[str, Sight]]:
        seen: list[tuple[str, Sight]] = []
        failure: Exception | None = None
        for task_id in task_ids:
            try:
                seen.append((task_id, sight_of(task_status(self._app, task_id))))
            except Exception as error:
                failure = error
        self._report(failure)
        return seen

    def _report(self, failure: Exception | None) -> None:
        if failure is not None and not self._is_failing:
            reason = clean(f"{type(failure).__name__}: {safe_str(failure)}".rstrip("."))
            self._view.say(f"The result backend does not answer ({reason}). It is asked again until it does.")
        elif failure is None and self._is_failing:
            self._view.say("The result backend answers again.")
        self._is_failing = failure is not None


def _until(start: float, timeout: float | None) -> float:
    return float("inf") if timeout is None else start + timeout - time.monotonic()


def _conclude(sights: Sequence[Sight], view: View, seconds: float) -> int:
    unfinished = [sight for sight in sights if not sight.final]
    for sight in unfinished:
        view.give_up(sight, seconds)
    if any(sight.final and not sight.succeeded for sight in sights):
        return 1
    return 2 if unfinished else 0
