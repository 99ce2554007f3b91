"""Replaced tasks: ``self.replace`` hands the id of a run to other tasks, which may have none of our options.

The claim stays with that id while they run, and the result of the last one is stored under the key of the
replaced task. Each message of the replacement carries a *mark* in its headers that names the replaced call.

Anyone who can publish can write a mark. So its key is not in the mark but in the store, under a random text,
the *proof*, which only the messages of the replacement have.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple

from celery import Task, states

from .. import celery_internals
from ..calls import Run, header_of, run_of
from ..installation import Installation, installation_on, sharing_of
from ..keys.stamps import is_sound_id
from ..stores import REMEMBERED_FOR, Result
from ..stores.names import internal_name
from ..support.time_limits import caught
from .claims import Share
from .leases import Lease
from .results import is_too_large, ttl_of, written

__all__ = ["begin", "end", "pass_on"]

#: The message header that carries the marks.
MARKS = "jobtastic_replaces"

#: Marks that count in one message: a replacement can be replaced again, and again.
MOST_MARKS = 16

_PROOF = re.compile(r"[0-9a-f]{32}")

# On the request, for the run that goes on under it.
_PARTS = "_jobtastic_replacing"


class _Part(NamedTuple):
    """One run of a replacement, for one replaced call."""

    installation: Installation
    task: Task[Any, Any]
    owner: str
    key: str
    delivery: str
    lease: Lease
    proof: str
    scopes: tuple[str, ...]


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


def begin(task: Task[Any, Any], task_id: str, request: Any) -> None:
    """Keep the claims of the calls that this run replaces."""
    marks = _marks_on(request)
    if not marks:
        return
    parts = [part for mark in marks if (part := _part_of(task, mark)) is not None]
    setattr(request, _PARTS, parts)
    for part in parts:
        store = part.installation.store
        store.renew(part.key, part.owner, part.delivery, part.lease.seconds)
        part.lease.begin()


def end(task: Task[Any, Any], request: Any, state: str | None, value: Any) -> None:
    """Store the result of the last task of a replacement, or leave the claim to its next message."""
    for part in getattr(request, _PARTS, ()):
        part.lease.end()
        store = part.installation.store
        is_last = request.id == part.owner
        if is_last and _complete(part, state, value):
            store.forget(_entry_of(part.proof))
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
        share.proof = uuid.uuid4().hex
        replaced = json.dumps({"key": run.key, "scopes": run.scopes, "task": run.task.name}).encode()
        kept_for = run.policy.join_timeout + REMEMBERED_FOR
        installation.store.complete(_entry_of(share.proof), run.id, None, replaced, ttl=kept_for)
    return [{"id": run.id, "proof": share.proof}]


def _entry_of(proof: str) -> str:
    return internal_name("replaced", proof)


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
    return [mark for mark in marks[:MOST_MARKS] if isinstance(mark, dict) and _is_sound(mark)]


def _is_sound(mark: Mapping[str, Any]) -> bool:
    proof = mark.get("proof")
    return is_sound_id(mark.get("id")) and isinstance(proof, str) and _PROOF.fullmatch(proof) is not None


def _part_of(task: Task[Any, Any], mark: Mapping[str, str]) -> _Part | None:
    name, key, scopes = _replaced_by(task, mark)
    replaced = task.app.tasks.get(name)
    found = sharing_of(replaced) if replaced is not None else None
    if replaced is None or found is None or not found[1].avoids_herds:
        return None
    installation, policy = found
    if not policy.keys.makes(replaced, key):
        return None
    delivery = _token(mark["id"])
    lease = Lease(
        installation.store,
        key,
        mark["id"],
        delivery,
        seconds=installation.settings.lease,
        longest=policy.join_timeout,
    )
    return _Part(installation, replaced, mark["id"], key, delivery, lease, mark["proof"], scopes)


def _replaced_by(task: Task[Any, Any], mark: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]]:
    """Return the name of the task that a mark says was replaced, the key and its scopes; empty without the
    proof.
    """
    installation = installation_on(task.app)
    entry = installation.store.lookup(_entry_of(mark["proof"])) if installation is not None else None
    if not isinstance(entry, Result) or entry.owner != mark["id"]:
        return "", "", ()
    with suppress(ValueError, TypeError, LookupError):
        replaced = json.loads(entry.payload)
        return str(replaced["task"]), str(replaced["key"]), tuple(map(str, replaced["scopes"]))
    return "", "", ()


def _complete(part: _Part, state: str | None, value: Any) -> bool:
    """Store how a replacement ended, if others are to get it."""
    found = sharing_of(part.task)
    if found is None or state is None or state not in (states.SUCCESS, states.FAILURE):
        return False
    data, policy = None, found[1]
    ttl = ttl_of(policy, part.task.name, state, value)
    if state == states.SUCCESS or ttl:
        with caught(lambda error: None):
            data = written(part.task.app, state, value)
    if data is None:
        return False
    return part.installation.store.complete(
        part.key,
        part.owner,
        part.delivery,
        data,
        ttl=0.0 if is_too_large(policy, state, data) else ttl,
        state=state,
        stale_for=policy["cache_stale_for"] if state == states.SUCCESS else 0.0,
        scopes=part.scopes,
        kept_for=REMEMBERED_FOR,
        ran_for=part.lease.ran_for,
    )
