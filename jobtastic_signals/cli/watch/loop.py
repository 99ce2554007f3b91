"""Watching tasks until they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from celery import Celery

from ...results.status import task_status
from ...support.safe_text import safe_str
from ..common import CommandError
from .base import Sight, View, clean, sight_of

__all__ = ["Found", "watch_tasks"]

#: Returns the names of tasks by the ids of their runs, and raises :exc:`.CommandError` if the store fails.
Found = Callable[[], Mapping[str, str]]

#: Seconds. A search goes through all keys of the store.
_LEAST_BETWEEN_SEARCHES = 0.5

#: The state of a task until the result backend has answered.
_UNSEEN = "UNSEEN"


def watch_tasks(
    app: Celery[Any],
    task_ids: Iterable[str],
    view: View,
    *,
    interval: float,
    timeout: float | None = None,
    found: Found | None = None,
) -> int:
    """Show the tasks on *view* until all have ended, or *timeout* seconds are over.

    A backend that does not answer is asked again, after one notice.

    :param interval: seconds between two readings.
    :param found: returns the names of tasks by the ids of the runs that are to be shown as well, now and
        later. With it, only the timeout ends the watching.
    :returns: 0 if all succeeded, 1 if any failed, 2 if none failed but not all have ended. A run that was
        found need not have ended.
    """
    start = time.monotonic()
    watched = _Watched(view)
    for task_id in task_ids:
        watched.add(Sight(task_id, _UNSEEN))
    reader, finder = _Reader(app, view), _Finder(view, found)
    while found is not None or watched.unfinished:
        running = finder.find()
        watched.forget_ended(running)
        for task_id, task in running.items():
            watched.add(Sight(task_id, _UNSEEN, task=task))
        # A run that is not found now has ended before its status is read.
        for sight in reader.read(watched.unfinished):
            watched.see(sight, goes_on=not sight.task or sight.task_id in running)
        left = _until(start, timeout)
        if left <= 0 or (found is None and not watched.unfinished):
            break
        time.sleep(min(max(interval, 0 if found is None else _LEAST_BETWEEN_SEARCHES), left))
    return watched.conclude(time.monotonic() - start)


class _Watched:
    """The latest sight of each task, on a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._latest: dict[str, Sight] = {}
        self._any_failed = False

    @property
    def unfinished(self) -> list[Sight]:
        """The sights of tasks that have not ended."""
        return [sight for sight in self._latest.values() if not sight.final]

    def add(self, sight: Sight) -> None:
        """Watch one more task, unless it is watched."""
        if sight.task_id not in self._latest:
            self._latest[sight.task_id] = sight
            self._view.add(sight)

    def forget_ended(self, running: Mapping[str, str]) -> None:
        """Forget the runs that were found, have ended and are not *running* again."""
        for task_id, sight in list(self._latest.items()):
            if sight.final and sight.task and task_id not in running:
                del self._latest[task_id]

    def see(self, sight: Sight, *, goes_on: bool) -> None:
        """Show *sight*. A run that does not go on is not watched any more."""
        self._latest[sight.task_id] = sight
        self._any_failed |= sight.final and not sight.succeeded
        if goes_on or sight.final:
            self._view.show(sight)
        else:
            # It may be tried again later, and is added again then.
            self._view.drop(sight)
            del self._latest[sight.task_id]

    def conclude(self, seconds: float) -> int:
        """Give up what has not ended. Return the exit status."""
        left = [sight for sight in self.unfinished if not sight.task]
        for sight in left:
            self._view.give_up(sight, seconds)
        if self._any_failed:
            return 1
        return 2 if left else 0


class _Finder:
    """Asks which runs go on. Without an answer, these are the ones that were known before."""

    def __init__(self, view: View, found: Found | None) -> None:
        self._view = view
        self._found = found
        self._known: Mapping[str, str] = {}
        self._is_failing = False

    def find(self) -> Mapping[str, str]:
        try:
            self._known = {} if self._found is None else self._found()
        except CommandError as error:
            if not self._is_failing:
                self._view.say(clean(str(error)))
            self._is_failing = True
        else:
            if self._is_failing:
                self._view.say("The store answers again.")
            self._is_failing = False
        return self._known


class _Reader:
    """Reads the result backend. It reports once when that stops answering, and once when it answers again."""

    def __init__(self, app: Celery[Any], view: View) -> None:
        self._app = app
        self._view = view
        self._is_failing = False

    def read(self, sights: Iterable[Sight]) -> list[Sight]:
        seen: list[Sight] = []
        failure: Exception | None = None
        for sight in sights:
            try:
                seen.append(replace(sight_of(task_status(self._app, sight.task_id)), task=sight.task))
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
