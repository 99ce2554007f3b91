"""Looking at tasks until they have ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from celery import Celery

from ...results.status import task_status
from .base import Sight, View, clean, sight_of

__all__ = ["watch_tasks"]

#: The state of a task before the result backend has answered for it.
_UNSEEN = "UNSEEN"


def watch_tasks(
    app: Celery, task_ids: Iterable[str], view: View, *, interval: float, timeout: float | None = None
) -> int:
    """Show the tasks on *view* until all have ended, or *timeout* seconds are over.

    A backend that cannot be asked is asked again, after one notice.

    :param interval: seconds between two looks.
    :returns: 0 if all succeeded, 1 if any failed, 2 if none failed but not all have ended.
    """
    start = time.monotonic()
    latest = {task_id: Sight(task_id, _UNSEEN) for task_id in task_ids}
    eyes = _Eyes(app, view)
    while waiting := [task_id for task_id, sight in latest.items() if not sight.final]:
        for task_id, sight in eyes.look(waiting):
            latest[task_id] = sight
            view.show(sight)
        left = _until(start, timeout)
        if left <= 0 or all(sight.final for sight in latest.values()):
            break
        time.sleep(min(interval, left))
    return _conclude(list(latest.values()), view, time.monotonic() - start)


class _Eyes:
    """Asks the result backend, and tells once when it stops answering, and when it answers again."""

    def __init__(self, app: Celery, view: View) -> None:
        self._app = app
        self._view = view
        self._troubled = False

    def look(self, task_ids: Sequence[str]) -> list[tuple[str, Sight]]:
        seen: list[tuple[str, Sight]] = []
        trouble: Exception | None = None
        for task_id in task_ids:
            try:
                seen.append((task_id, sight_of(task_status(self._app, task_id))))
            except Exception as error:
                trouble = error
        self._tell(trouble)
        return seen

    def _tell(self, trouble: Exception | None) -> None:
        if trouble is not None and not self._troubled:
            reason = clean(f"{type(trouble).__name__}: {trouble}".rstrip("."))
            self._view.say(f"The result backend does not answer ({reason}). Trying again and again.")
        elif trouble is None and self._troubled:
            self._view.say("The result backend answers again.")
        self._troubled = trouble is not None


def _until(start: float, timeout: float | None) -> float:
    return float("inf") if timeout is None else start + timeout - time.monotonic()


def _conclude(sights: Sequence[Sight], view: View, seconds: float) -> int:
    unfinished = [sight for sight in sights if not sight.final]
    for sight in unfinished:
        view.give_up(sight, seconds)
    if any(sight.final and not sight.succeeded for sight in sights):
        return 1
    return 2 if unfinished else 0
