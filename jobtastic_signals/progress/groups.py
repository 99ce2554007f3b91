"""The progress of several tasks together: groups, chains and chords."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from celery import Celery, states
from celery.backends.base import Backend, KeyValueStoreBackend
from celery.result import AsyncResult, GroupResult, ResultSet

from .. import celery_internals
from ..results import backend as backends
from ..results.backend import Meta
from .eta import ALMOST

__all__ = ["GROUP", "group_meta", "group_progress", "status_id"]

#: The state under the id of several tasks, whose ids are its result.
GROUP = "JOBTASTIC_GROUP"

#: The last task of a chain or a chord has its own state under its id, so all of them get another one.
_IDS = uuid.UUID("a5a1d1c2-5a3f-4d5c-9a52-0a3d5a3b9d10")

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
    tasks = {task.id: task for task in _leaves(_structure(result, set()))}
    return _progress_of(_metas(tasks).values())


def status_id(result: AsyncResult[Any] | ResultSet[Any]) -> str:
    """Return the id under which :func:`~jobtastic_signals.task_status` shows all tasks of *result* as one.

    *result* is what calling a group, a chain or a chord returned. Celery cannot find its tasks by an id, so
    their ids are written to the result backend, once for each call of this function. The result of a single
    task has its own id, and nothing is written.

    :raises JobtasticError: if there is no result backend.
    :raises Exception: what the result backend raises if it cannot be written.

    >>> from celery import Celery
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> status_id(app.AsyncResult("a-task"))
    'a-task'
    >>> status_id(app.GroupResult("a-group", [app.AsyncResult("one"), app.AsyncResult("other")]))
    'a-group'
    """
    structure = _structure(result, set())
    if isinstance(structure, AsyncResult):
        task_id: str = structure.id
        return task_id
    own_id = str(result.id if isinstance(result, GroupResult) else uuid.uuid5(_IDS, _name_of(result)))
    backends.checked(result.app.backend).store_result(own_id, _ids(structure), GROUP)
    return own_id


def group_meta(app: Celery[Any], structure: Any) -> Meta:
    """Return the state of the tasks whose ids :func:`status_id` has written, as if they were one task.

    :raises Exception: what the result backend raises when it cannot be read.
    """
    task_ids = list(dict.fromkeys(_leaves(structure)))
    metas = _read_all(app.backend, task_ids)
    if _has_ended(structure, metas):
        failed = (metas[task_id] for task_id in task_ids if _has_failed(task_id, metas))
        ends = [end for end in map(backends.ended_at, metas.values()) if end is not None]
        age = time.time() - max(ends) if ends else None
        value = {"status": states.SUCCESS, "result": _value_of(structure, metas)}
        return {**next(failed, value), "age": age}
    if all(meta["status"] == states.PENDING for meta in metas.values()):
        return _PENDING
    return {"status": backends.PROGRESS, "result": _progress_of(metas.values())}


def _structure(result: Any, seen: set[str]) -> Any:
    """Return the tasks behind *result* and its parents: a task, or a list of a word and what it is made of.

    The word is ``"group"``, or ``"chain"`` for what runs one after the other, such as a chord.

    :param seen: the names of the results that are listed already. Each member of a group has the parents of
        the group.
    """
    steps: list[Any] = []
    while result is not None and _name_of(result) not in seen:
        steps.append(result)
        result = getattr(result, "parent", None)
    chain: list[Any] = ["chain"]
    for step in reversed(steps):
        seen.add(_name_of(step))
        members = step.results if isinstance(step, ResultSet) else None
        chain.append(step if members is None else ["group", *(_structure(each, seen) for each in members)])
    return chain[1] if len(chain) == 2 else chain


def _name_of(result: Any) -> str:
    # A plain set of results has no id.
    return str(getattr(result, "id", None) or id(result))


def _leaves(structure: Any) -> Iterator[Any]:
    if isinstance(structure, list):
        for part in structure[1:]:
            yield from _leaves(part)
    else:
        yield structure


def _ids(structure: Any) -> Any:
    """Return *structure* with ids instead of tasks."""
    if isinstance(structure, list):
        return [structure[0], *map(_ids, structure[1:])]
    return structure.id


def _has_ended(structure: Any, metas: Mapping[str, Meta]) -> bool:
    if not isinstance(structure, list):
        return metas[structure]["status"] in states.READY_STATES
    ended = [part for part in structure[1:] if _has_ended(part, metas)]
    if structure[0] == "group":
        return len(ended) == len(structure) - 1
    # After a failure, nothing else of a chain runs.
    return structure[-1] in ended or any(_has_failed(part, metas) for part in ended)


def _has_failed(structure: Any, metas: Mapping[str, Meta]) -> bool:
    ends = (metas[task_id]["status"] for task_id in _leaves(structure))
    return any(state in states.READY_STATES and state != states.SUCCESS for state in ends)


def _value_of(structure: Any, metas: Mapping[str, Meta]) -> Any:
    """Return what the call of a canvas that succeeded returns."""
    if not isinstance(structure, list):
        return metas[structure]["result"]
    if structure[0] == "group":
        return [_value_of(part, metas) for part in structure[1:]]
    return _value_of(structure[-1], metas)


def _progress_of(metas: Collection[Meta]) -> dict[str, Any]:
    ended = [meta for meta in metas if meta["status"] in states.READY_STATES]
    running = [_percent_and_left(meta) for meta in metas if meta["status"] not in states.READY_STATES]
    percents = [100.0 for _ in ended] + [percent for percent, _ in running]
    times = [left for _, left in running]
    return {
        "progress_percent": min(round(sum(percents) / len(percents), 2), ALMOST) if running else 100,
        "time_remaining": -1 if -1 in times else max(times, default=0),
        "completed": len(ended),
        "total": len(metas),
        "message": None,
        "failed": sum(meta["status"] != states.SUCCESS for meta in ended),
    }


def _metas(tasks: Mapping[str, AsyncResult[Any]]) -> dict[str, Meta]:
    """Return the state of each task: from results that have been loaded, else with few reads."""
    loaded = {task_id: celery_internals.known_meta(task) for task_id, task in tasks.items()}
    known = {task_id: meta for task_id, meta in loaded.items() if meta}
    asked: dict[Backend, list[str]] = {}
    for task_id, task in tasks.items():
        if task_id not in known:
            asked.setdefault(task.backend, []).append(task_id)
    for backend, task_ids in asked.items():
        known.update(_read_all(backend, task_ids))
    return known


def _read_all(backend: Backend, task_ids: Sequence[str]) -> dict[str, Meta]:
    known: dict[str, Meta] = {}
    for start in range(0, len(task_ids), AT_ONCE):
        known.update(_read(backend, task_ids[start : start + AT_ONCE]))
    return known


def _read(backend: Backend, task_ids: Sequence[str]) -> dict[str, Meta]:
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
