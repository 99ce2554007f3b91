"""Handlers of what happens in a process that calls tasks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from celery import current_task

from .. import celery_internals
from ..calls import DELIVERY, HEADER, current_call
from ..fallback.current import attempt_on, current_attempt
from ..installation import installation_on, installed
from ..sharing.answers import in_beat

__all__ = ["beat_init", "before_task_publish"]


def before_task_publish(sender: str, headers: MutableMapping[str, Any], body: Any = None, **_: Any) -> None:
    """Let the call of our ``apply_async`` that this message is for claim its key, and stamp the message.

    A message from elsewhere, such as ``send_task``, has no call: the signal does not say which app it is of.
    The worker makes its key.
    """
    # A retry and a waiting run pass on what the worker added for its own process.
    headers.pop(DELIVERY, None)
    # In protocol 1 all that protocol 2 has in the headers is in the body.
    fields = headers if "id" in headers else body if isinstance(body, Mapping) else {}
    task_id = fields.get("id")
    attempt = attempt_on(sender) if current_attempt.get() is not None else None
    if attempt is not None and task_id is not None:
        headers[HEADER] = attempt.message_made(task_id, headers)
    call = current_call.get()
    if call is None or call.task.name != sender or call.made or task_id is None:
        _find_options_of(sender)
        if current_task:
            _mark_replacement(headers, fields, body)
        return
    if call.id not in (None, task_id):
        # The task's own apply_async chose another one.
        call.hooks.walk_back("publish_failed", call)
        call.claimed = False
    call.made, call.id, call.eta = True, task_id, fields.get("eta")
    call.stamp.update(headers[HEADER] if attempt is not None else {"id": task_id})
    call.hooks.walk("before_publish", call)
    if call.policy.shares:
        headers[HEADER] = call.stamp
    if current_task:  # Outside of a task the proxy is false.
        _mark_replacement(headers, fields, body)


def _mark_replacement(*message: Any) -> None:
    from ..sharing import replacing  # Only runs are replaced, so there is one in this process.

    replacing.pass_on(*message)


def beat_init(**_: Any) -> None:
    """Remember that this thread is the scheduler's."""
    in_beat.set(True)


def _find_options_of(name: str) -> None:
    """Find the options of a task that bound unseen; from the next call on it is shared here too."""
    for app in list(installed):
        task = celery_internals.tasks_without_finalizing(app).get(name)
        installation = installation_on(app)
        if task is not None and installation is not None:
            installation.policy_of(type(task))
