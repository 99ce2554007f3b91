"""Waiting: a delivery that has to wait for another run is sent again, and occupies no worker meanwhile."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from celery.exceptions import Ignore

from .. import celery_internals, events
from ..calls import DELIVERY, Run
from ..progress import records
from ..progress.eta import left_by_history
from ..progress.history import History
from ..results import backend
from ..stores import Claim
from ..support.shown import shown
from ..support.time_limits import caught

__all__ = ["LONGEST_WAIT", "Wait", "seconds_to_wait"]

logger: logging.Logger = logging.getLogger(__name__)

#: Seconds that a waiting delivery is away at most.
LONGEST_WAIT = 30


def seconds_to_wait(elapsed: float, left: float | None) -> int:
    """Return for how many whole seconds a delivery goes away.

    A known time left is nearly used up, so that an estimate that is too long costs little. Near its end, the
    delivery comes back within a second after the run has ended. Otherwise a delivery is away for about as
    long as the run has gone on, so the number of its deliveries grows with the logarithm of that.

    :param elapsed: seconds for which the run has gone on.
    :param left: seconds that it is expected to go on; ``None`` if nobody knows.

    >>> seconds_to_wait(0.2, None), seconds_to_wait(8.0, None), seconds_to_wait(600.0, None)
    (1, 8, 30)
    >>> seconds_to_wait(2.0, 28.0), seconds_to_wait(29.0, 1.2), seconds_to_wait(29.0, 1.8)
    (25, 2, 2)
    """
    if left is None:
        seconds = elapsed
    else:
        seconds = left * 0.9 if left > 5 else math.ceil(left)
    return min(max(int(seconds), 1), LONGEST_WAIT)


@dataclass(frozen=True)
class Wait:
    """The decision to send a delivery again instead of running its body.

    It is carried out where the body would run. By then every handler of ``task_prerun`` has loaded the
    context of the message, so what Celery, loggers and tracers add to the new message is this one's own.

    :ivar claim: the claim of the delivery that runs.
    :ivar is_for_result: whether the result of that run will answer this one. It does not answer a call that
        the run made itself.
    """

    key: str
    claim: Claim
    is_for_result: bool
    history: History
    meta: backend.Meta | None

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Send the message again, and raise ``Ignore``. If that fails, run the body."""
        countdown = self._seconds(run)
        sent = False
        with caught(lambda error: _log_failure(run, error)):
            send_again(run, countdown)
            sent = True
            self._show_progress(run)
        if not sent:
            return body()
        events.emit(
            events.run_waited,
            run.task,
            key=self.key,
            task_id=run.id,
            owner=self.claim.owner,
            countdown=countdown,
        )
        name, holder = run.task.name, shown(self.claim.owner)
        logger.debug("%s[%s]: waits for %s, for %d s", name, shown(run.id), holder, countdown)
        raise Ignore(f"sent again, to wait for the identical {holder}")

    def stamp(self, run: Run) -> Mapping[str, Any]:
        """Return what the new message says beside what the old one said.

        A call whose message does not say when it was made counts as made when it first reached a worker.
        """
        return {
            "key": self.key,
            "waits": run.stamp.get("waits", 0) + 1,
            "waiting_for": self.claim.owner if self.is_for_result else None,
            "called": run.stamp.get("called", self.claim.at),
        }

    def _show_progress(self, run: Run) -> None:
        """Let the caller of a waiting run see the progress of the run that it waits for."""
        assert run.request is not None
        meta = self.meta
        if meta is None or meta["status"] != backend.PROGRESS or not isinstance(meta["result"], Mapping):
            return
        if self.is_for_result and backend.shows_progress(run.task, run.request):
            records.write_record(run.task.backend, run.request, meta["result"])

    def _seconds(self, run: Run) -> int:
        ended = backend.ended_at(self.meta)
        if ended is not None and ended > self.claim.since:
            return 1  # That run has just ended, and is about to release its claim.
        elapsed = max(self.claim.at - self.claim.since, 0.0)
        left = _left_by_progress(self.meta)
        if left is None:
            left = left_by_history(elapsed, self.history.of(run.task.name).durations)
        return seconds_to_wait(elapsed, left)


def send_again(run: Run, countdown: int) -> None:
    """Send the message of *run* again with everything in it, but for ``expires``: it has arrived in time.

    :raises Exception: what publishing raises.
    """
    request = run.request
    assert request is not None
    delivery = getattr(request, DELIVERY, None) or {}
    options = {
        "serializer": celery_internals.serializer_named_by(delivery.get("content_type")),
        "argsrepr": getattr(request, "argsrepr", None),
        "kwargsrepr": getattr(request, "kwargsrepr", None),
    }
    again = run.task.signature_from_request(
        request, run.args, run.kwargs, countdown=countdown, retries=request.retries, expires=None
    )
    given = {name: value for name, value in options.items() if value}
    again.apply_async(add_to_parent=False, expires=None, **given)


def _log_failure(run: Run, error: Exception) -> None:
    logger.error(
        "%s[%s] could not be sent again to wait; it runs now", run.task.name, shown(run.id), exc_info=error
    )


def _left_by_progress(meta: backend.Meta | None) -> float | None:
    """Return the seconds left that the run itself has estimated."""
    record = meta["result"] if meta is not None and meta["status"] == backend.PROGRESS else None
    left = record.get("time_remaining") if isinstance(record, Mapping) else None
    if isinstance(left, bool) or not isinstance(left, (int, float)) or not 0 <= left < math.inf:
        return None
    return float(left)
