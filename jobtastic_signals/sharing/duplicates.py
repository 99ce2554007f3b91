"""Duplicates: calls for which an identical one is in flight, and what ``on_duplicate`` makes of them.

A plain call is decided in its caller. A call whose message goes out anyway is decided by the worker, when it
meets the run of another call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from celery.exceptions import Ignore

from .. import events
from ..calls import Call, Decision, Raised, Run
from ..errors import DuplicateCallError
from ..options import ON_DUPLICATE, Option, on_duplicate
from ..results import index
from ..stores import Claim
from ..stores.guard import GuardedStore
from ..support.shown import shown

__all__ = [
    "ON_DUPLICATE_OPTION",
    "REFUSING",
    "duplicate_error",
    "is_duplicate",
    "refusal",
    "reruns",
]

logger: logging.Logger = logging.getLogger(__name__)

#: The values of ``on_duplicate`` for which a duplicate gets no result.
REFUSING = ("raise", "drop")

ON_DUPLICATE_OPTION = Option(
    "on_duplicate",
    default="join",
    accepts=f"{', '.join(map(repr, ON_DUPLICATE))}: what a call does while an identical one is in flight",
    parse=on_duplicate,
)


def duplicate_error(subject: Call | Run, claim: Claim, seconds_left: float | None) -> DuplicateCallError:
    """Return the error that refuses *subject* because of the call that has the claim."""
    lease_left = max(claim.expires - claim.at, 0.0)
    return DuplicateCallError(subject.task.name, claim.owner, claim.is_running, lease_left, seconds_left)


def reruns(run: Run, claim: Claim) -> bool:
    """Return whether *run* asks for a run that begins after the call, whatever answers it meanwhile."""
    return is_duplicate(run, claim) and _asked(run) == "rerun"


def refusal(run: Run, claim: Claim, store: GuardedStore, seconds_left: float | None) -> Decision | None:
    """Return the decision that refuses *run* because of the run under *claim*; ``None`` if it waits.

    :param seconds_left: seconds until that run is expected to end; ``None`` if nobody knows.
    """
    asked = _asked(run)
    if asked not in REFUSING or not is_duplicate(run, claim) or _is_retry(run):
        return None
    if asked == "raise":
        return Raised(duplicate_error(run, claim, seconds_left))
    # A chain or a chord would never go on.
    return None if _is_continued(run) else Dropped(claim.owner, store)


def is_duplicate(run: Run, claim: Claim) -> bool:
    """Return whether another call has the claim, which did not make this one itself."""
    return claim.owner not in (run.id, run.stamp.get("after"))


class Dropped(NamedTuple):
    """The decision to drop a call: it ends as ``IGNORED``, without a result.

    :ivar owner: the task id of the call in flight.
    """

    owner: str
    store: GuardedStore

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Raise ``Ignore``."""
        index.note_ignored(self.store, run.id)
        events.emit(events.call_dropped, run.task, key=run.key, task_id=run.id, owner=self.owner)
        name = run.task.name
        logger.debug("%s[%s]: dropped, since %s is in flight", name, shown(run.id), shown(self.owner))
        raise Ignore(f"dropped, since the identical {shown(self.owner)} is in flight")


def _asked(run: Run) -> str:
    asked: str = run.stamp.get("on_duplicate", run.policy["on_duplicate"])
    return asked


def _is_retry(run: Run) -> bool:
    return run.request is not None and bool(run.request.retries)


def _is_continued(run: Run) -> bool:
    """Return whether something goes on with the result of *run*."""
    request = run.request
    if request is None:
        return False
    return bool(
        request.callbacks or request.chain or request.chord or request.group or request.replaced_task_nesting
    )
