"""The progress of several tasks together: groups, chains and chords."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from celery import states
from celery.backends.base import Backend, KeyValueStoreBackend
from celery.result import AsyncResult, ResultSet

from .. import celery_internals
from ..results import backend as backends
from ..results.backend import Meta
from .eta import ALMOST

__all__ = ["group_progress"]

#: How many tasks one read of the result backend asks for.
AT_ONCE = 1000


def group_progress(result: AsyncResult[Any] | ResultSet[Any]) -> dict[str, Any]:
    """Return the progress of the tasks behind *result* as one.

    *result* is what calling a group, a chain or a chord returned. For a chain or a chord that is the last
    result, and its parents are counted too. Every task counts the same, and a failed one as completed.
    Key-value backends such as Redis are asked for many tasks in one read.

    :returns: the same as for one run, where ``completed`` and ``total`` count tasks, and ``failed`` says how
        many of them failed. ``time_remaining`` is the longest of the running tasks, and ``-1`` if the time of
        a task that has not ended is unknown.
    :raises JobtasticError: if there is no result backend.
    :raises Exception: what the result backend raises when it cannot be read.

    >>> from celery import Celery, group
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> group_progress(app.GroupResult("empty", []))["progress_percent"]
    100
    >>> first, second = app.AsyncResult("ended"), app.AsyncResult("unknown")
    >>> first.backend.store_result("ended", 1, "SUCCESS")
    1
    >>> progress = group_progress(app.GroupResult("both", [first, second]))
    >>> progress["progress_percent"], progress["completed"], progress["total"], progress["time_remaining"]
    (50.0, 1, 2, -1)
    """
    tasks = {task.id: task for task in _tasks(result)}
    metas = _metas(tasks)
    ended = [meta for meta in metas.values() if meta["status"] in states.READY_STATES]
    running = [
        _percent_and_left(meta) for meta in metas.values() if meta["status"] not in states.READY_STATES
    ]
    percents = [100.0 for _ in ended] + [percent for percent, _ in running]
    times = [left for _, left in running]
    return {
        "progress_percent": min(round(sum(percents) / len(percents), 2), ALMOST) if running else 100,
        "time_remaining": -1 if -1 in times else max(times, default=0),
        "completed": len(ended),
        "total": len(tasks),
        "message": None,
        "failed": sum(meta["status"] != states.SUCCESS for meta in ended),
    }


def _tasks(result: Any) -> Iterator[AsyncResult[Any]]:
    """Yield the tasks behind *result* and its parents. A task in both a group and a chain comes twice."""
    while result is not None:
        if isinstance(result, ResultSet):
            for member in result.results:
                yield from _tasks(member)
        else:
            yield result
        result = result.parent if hasattr(result, "parent") else None


def _metas(tasks: Mapping[str, AsyncResult[Any]]) -> dict[str, Meta]:
    """Return the state of each task: from results that have been loaded, else with few reads."""
    loaded = {task_id: celery_internals.known_meta(task) for task_id, task in tasks.items()}
    known = {task_id: meta for task_id, meta in loaded.items() if meta}
    asked: dict[Backend, list[str]] = {}
    for task_id, task in tasks.items():
        if task_id not in known:
            asked.setdefault(task.backend, []).append(task_id)
    for backend, task_ids in asked.items():
        for start in range(0, len(task_ids), AT_ONCE):
            known.update(_read(backend, task_ids[start : start + AT_ONCE]))
    return known


def _read(backend: Backend, task_ids: list[str]) -> dict[str, Meta]:
    if isinstance(backend, KeyValueStoreBackend):
        try:
            found = backend.mget([backend.get_key_for_task(task_id) for task_id in task_ids])
        except NotImplementedError:
            pass
        else:
            values = found.values() if isinstance(found, Mapping) else found
            decoded = [backend.decode_result(value) for value in values if value]
            metas: dict[str, Meta] = {meta["task_id"]: meta for meta in decoded}
            return {task_id: metas.get(task_id, _PENDING) for task_id in task_ids}
    return {task_id: backends.read_meta(backend, task_id) for task_id in task_ids}


_PENDING: Meta = {"status": states.PENDING, "result": None}


def _percent_and_left(meta: Meta) -> tuple[float, float]:
    """Return the percentage and the seconds left of a task that has not ended."""
    record = meta["result"]
    if meta["status"] != backends.PROGRESS or not isinstance(record, Mapping):
        return 0.0, -1
    # Tasks that set this state themselves may store anything.
    percent, left = (record.get(name) for name in ("progress_percent", "time_remaining"))
    percent = min(max(float(percent), 0.0), 100.0) if _is_finite(percent) else 0.0
    return percent, left if _is_finite(left) and left >= 0 else -1


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)
