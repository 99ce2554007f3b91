"""Deciding who has a message whose caller stopped waiting: a worker, or nobody.

Both ask the store for the same claim, under a key made of the task id. The first one gets it. So a call that
was answered without the broker never runs, although its message may have left.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

from celery import states

from ..results import backend
from ..stores import Claim
from ..stores.names import internal_name
from ..support.shown import shown
from ..support.timers import call_at

if TYPE_CHECKING:
    from ..stores.guard import GuardedStore

__all__ = ["is_wanted", "receive", "withdraw", "withdraw_later"]

logger: logging.Logger = logging.getLogger(__name__)

#: The owners of such a claim.
WORKER, CALLER = "worker", "caller"

#: Seconds for which the store remembers a withdrawal, and a receipt after its message can no longer be
#: withdrawn.
WITHDRAWN_FOR, RECEIVED_FOR = 7 * 24 * 3600.0, 60.0

#: Seconds between two tries on a store that does not answer, and the number of tries.
BETWEEN_TRIES, TRIES = 1.0, 600


def withdraw(store: GuardedStore, task_id: str) -> Literal["withdrawn", "received", "unknown"]:
    """Keep every worker from running *task_id*.

    Return ``"received"`` if a worker has it already, and ``"unknown"`` if the store does not answer.
    """
    entry = store.lookup_or_claim(_key(task_id), CALLER, WITHDRAWN_FOR)
    if not isinstance(entry, Claim):
        return "unknown"
    return "withdrawn" if entry.owner == CALLER else "received"


def withdraw_later(store: GuardedStore, task_id: str, tries: int = TRIES) -> None:
    """Do the same as :func:`withdraw` as soon as the store answers again."""

    def try_again() -> None:
        if withdraw(store, task_id) == "unknown":
            withdraw_later(store, task_id, tries - 1)

    if tries:
        call_at(time.monotonic() + BETWEEN_TRIES, try_again)
    else:
        logger.warning(
            "the message of %s could not be withdrawn, because the store did not answer for %.0f s; a worker "
            "may still run it, although its caller was answered without it",
            shown(task_id),
            BETWEEN_TRIES * TRIES,
        )


def is_wanted(store: GuardedStore, request: Any, withdrawable: float) -> bool:
    """Return whether a worker is to run the message that it has received with *request*.

    :param withdrawable: seconds for which its caller may withdraw the message.
    """
    wanted = receive(store, request.id, withdrawable)
    if wanted is not None:
        return wanted
    meta = backend.meta_of(request.task, request.id)
    return meta is None or meta["status"] not in states.READY_STATES


def receive(store: GuardedStore, task_id: str, withdrawable: float) -> bool | None:
    """Return whether a worker should run *task_id*, or ``None`` if the store does not answer.

    :param withdrawable: seconds after which the message can no longer be withdrawn.
    """
    entry = store.lookup_or_claim(_key(task_id), WORKER, withdrawable + RECEIVED_FOR)
    return entry.owner == WORKER if isinstance(entry, Claim) else None


def _key(task_id: str) -> str:
    return internal_name("message", task_id)
