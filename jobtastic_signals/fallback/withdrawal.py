"""Who has a message whose caller stopped waiting: a worker, or nobody any more.

Both ask the store for the same claim, under the name of the task id, and the first one has it. So a call that
was answered otherwise never runs, though its message may have slipped out.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Literal

from ..stores import Claim
from ..support.timers import call_at

if TYPE_CHECKING:
    from ..stores.guard import GuardedStore

__all__ = ["receive", "withdraw", "withdraw_later"]

logger = logging.getLogger(__name__)

#: The owners of such a claim.
WORKER, CALLER = "worker", "caller"

#: Seconds for which a withdrawal is remembered, and after its time a receipt.
WITHDRAWN_FOR, RECEIVED_FOR = 7 * 24 * 3600.0, 60.0

#: Seconds between two tries to tell a store that does not answer, and how often it is tried.
BETWEEN_TRIES, TRIES = 1.0, 600


def withdraw(store: GuardedStore, task_id: str) -> Literal["withdrawn", "received", "unknown"]:
    """Let no worker run *task_id* any more.

    *received*, if one has it already; *unknown*, if the store does not answer.
    """
    entry = store.admit(_name(task_id), CALLER, WITHDRAWN_FOR)
    if not isinstance(entry, Claim):
        return "unknown"
    return "withdrawn" if entry.owner == CALLER else "received"


def withdraw_later(store: GuardedStore, task_id: str, tries: int = TRIES) -> None:
    """As :func:`withdraw`, when the store answers again."""

    def again() -> None:
        if withdraw(store, task_id) == "unknown":
            withdraw_later(store, task_id, tries - 1)

    if tries:
        call_at(time.monotonic() + BETWEEN_TRIES, again)
    else:
        logger.warning("%s may run, though its caller was told otherwise: no store could be told", task_id)


def receive(store: GuardedStore, task_id: str, withdrawable: float) -> bool | None:
    """Whether a worker is to run *task_id*; ``None`` if the store does not answer.

    :param withdrawable: for how many seconds after it was made the message can be withdrawn.
    """
    entry = store.admit(_name(task_id), WORKER, withdrawable + RECEIVED_FOR)
    return entry.owner == WORKER if isinstance(entry, Claim) else None


def _name(task_id: str) -> str:
    # No key of a call starts like this.
    return f"message:{task_id}"
