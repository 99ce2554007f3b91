"""Replaced tasks: ``self.replace`` hands the id of a run to other tasks, which may have none of our options.

The claim stays with that id while they run, and the result of the last one is stored under the key of the
replaced task. Each message of the replacement carries a *mark* in its headers that names the replaced call.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from celery import Task, states

from .. import celery_internals
from ..calls import Run, header_of, run_of
from ..installation import Installation, installation_on, sharing_of
from ..results import payload
from ..stores import REMEMBERED_FOR
from ..support.time_limits import caught
from .claims import Share
from .leases import Lease

__all__ = ["begin", "end", "pass_on"]

#: The message header that carries the marks.
MARKS = "jobtastic_replaces"

# On the request, for the run that goes on under it.
_PARTS = "_jobtastic_replacing"


@dataclass(eq=False)
class _Part:
    """One run of a replacement, for one replaced call."""

    installation: Installation
    task: Task
    owner: str
    key: str
    delivery: str
    lease: Lease


def pass_on(headers: MutableMapping[str, Any], fields: Mapping[str, Any], body: Any) -> None:
    """Mark a message that replaces the run of this thread, or goes on with such a replacement.

    :param headers: those of a message that is about to leave.
    :param fields: what Celery says of the message: its headers, or in protocol 1 its body.
    :param body: its body.
    """
    running = celery_internals.running_tasks()
    if not running:
        return
    request = running[-1].request
    following = _following(body)
    marks = [
        mark
        for mark in _marks_on(request)
        if fields.get("id") in (mark["id"], request.id) or mark["id"] in following
    ]
    run = run_of(request)
    if run is not None and _is_replacement(request, fields):
        marks += _mark_of(run)
    if marks:
        headers[MARKS] = marks
    else:
        headers.pop(MARKS, None)


def begin(task: Task, task_id: str, request: Any) -> None:
    """Keep the claims of the calls that this run replaces."""
    parts = [part for mark in _marks_on(request) if (part := _part_of(task, mark)) is not None]
    if parts:
        setattr(request, _PARTS, parts)
    for part in parts:
        store = part.installation.store
        store.renew(part.key, part.owner, part.delivery, part.lease.seconds)
        part.lease.begin()


def end(task: Task, request: Any, state: str | None, value: Any) -> None:
    """Store the result of the last task of a replacement, or leave the claim to its next message."""
    for part in getattr(request, _PARTS, ()):
        part.lease.end()
        store = part.installation.store
        is_last = request.id == part.owner
        if state == states.SUCCESS and is_last and _complete(part, value):
            continue
        if state in (states.RETRY, states.IGNORED) or (state == states.SUCCESS and not is_last):
            # The next message is on its way, or even runs.
            store.renew(part.key, part.owner, part.delivery, part.lease.seconds)
        else:
            store.release(part.key, part.owner, part.delivery)


def _is_replacement(request: Any, fields: Mapping[str, Any]) -> bool:
    nesting = fields.get("replaced_task_nesting") or 0
    return nesting > (getattr(request, "replaced_task_nesting", 0) or 0)


def _mark_of(run: Run) -> list[dict[str, str]]:
    """Hand the claim of a replaced run over to its replacement, and return what names it."""
    share, installation = run.part(Share), installation_on(run.task.app)
    if run.key is None or share is None or share.lease is None or installation is None:
        return []
    if not share.is_replaced:
        share.is_replaced = True
        share.lease.end()
        seconds = share.lease.seconds
        installation.store.release(run.key, run.id, run.delivery, requeue=seconds)
        installation.store.renew(run.key, run.id, _token(run.id), seconds)
    return [{"id": run.id, "key": run.key, "task": run.task.name}]


def _token(owner: str) -> str:
    """Return the token of the deliveries of a replacement. They are one: each begins before the last one
    ends.
    """
    return f"replacing/{owner}"


def _following(body: Any) -> set[Any]:
    """Return the ids of the tasks that follow a message: the rest of its chain, and the body of its chord."""
    embedded = body[2] if isinstance(body, (tuple, list)) and len(body) == 3 else body
    if not isinstance(embedded, Mapping):
        return set()
    signatures = [*(embedded.get("chain") or ()), embedded.get("chord")]
    return {
        each["options"].get("task_id")
        for each in signatures
        if isinstance(each, Mapping) and each.get("options")
    }


def _marks_on(request: Any) -> list[dict[str, str]]:
    marks = header_of(request, MARKS)
    if not isinstance(marks, list):
        return []
    return [mark for mark in marks if isinstance(mark, dict) and _is_text(mark, "id", "key", "task")]


def _is_text(mark: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(mark.get(name), str) for name in names)


def _part_of(task: Task, mark: Mapping[str, str]) -> _Part | None:
    replaced = task.app.tasks.get(mark["task"])
    found = sharing_of(replaced) if replaced is not None else None
    if replaced is None or found is None or not found[1].avoids_herds:
        return None
    installation, policy = found
    if not policy.keys.makes(replaced, mark["key"]):
        return None
    delivery = _token(mark["id"])
    lease = Lease(
        installation.store,
        mark["key"],
        mark["id"],
        delivery,
        seconds=installation.settings.lease,
        longest=policy.join_timeout,
    )
    return _Part(installation, replaced, mark["id"], mark["key"], delivery, lease)


def _complete(part: _Part, value: Any) -> bool:
    found = sharing_of(part.task)
    data = None
    with caught(lambda error: None):
        data = payload.dumps(part.task.app, value)
    if found is None or data is None:
        return False
    return part.installation.store.complete(
        part.key,
        part.owner,
        part.delivery,
        data,
        ttl=found[1].result_ttl,
        kept_for=REMEMBERED_FOR,
        ran_for=part.lease.ran_for,
    )
