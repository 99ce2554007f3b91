"""The attempt to publish a call that goes on in this context. Nearly no call has one."""

from __future__ import annotations

import contextvars
import enum
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from celery import Task

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from ..calls import Call

__all__ = ["WITHDRAWABLE", "Phase", "Publishing", "attempt_on", "current_attempt"]

#: The field of a stamp that says for how many seconds the caller may withdraw the message.
WITHDRAWABLE = "withdrawable"


class Phase(enum.IntEnum):
    """How far an attempt has come."""

    #: It looks for an existing task that answers the call.
    ASKING = enum.auto()
    #: No existing task answers the call, or the task does not share.
    PUBLISHING = enum.auto()
    #: There is a message.
    MADE = enum.auto()
    #: The message has passed the gate, so it may be at the broker.
    SENT = enum.auto()
    #: The broker has the message.
    PUBLISHED = enum.auto()


class Publishing(Protocol):
    """What an :class:`.Attempt` is for ``apply_async`` and for the handler of its message."""

    task: Task[Any, Any]
    phase: Phase
    at_hand: AsyncResult[Any] | None

    def message_made(self, task_id: str, headers: MutableMapping[str, Any]) -> dict[str, Any]:
        """See that there is a message, and return its stamp."""

    def go_on(
        self, apply_async: Callable[..., AsyncResult[Any]], call: Call | None, *arguments: Any, **options: Any
    ) -> AsyncResult[Any]:
        """Publish by *apply_async*."""


#: The attempt in this context. Looked at before :func:`attempt_on` is called, since nearly no call has one.
current_attempt: contextvars.ContextVar[Publishing | None] = contextvars.ContextVar(
    "jobtastic_current_attempt", default=None
)


def attempt_on(task_name: str) -> Publishing | None:
    """Return the attempt that is about to publish a call of the task in this context, or ``None``."""
    attempt = current_attempt.get()
    if attempt is None or attempt.task.name != task_name or attempt.phase >= Phase.MADE:
        return None
    return attempt
