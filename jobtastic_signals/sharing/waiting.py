"""Waiting: a delivery that has to wait for another run is sent again, and occupies no worker meanwhile."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

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

__all__ = ["LONGEST_WAIT", "Wait", "in_place", "seconds_left", "seconds_to_wait"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that a waiting delivery is away at most.
LONGEST_WAIT = 30

#: Seconds that a delivery stays at most where the run that it waits for is about to end, and asks again.
LONGEST_STAY = 0.5

#: Seconds between such questions: of the first two, and of any two at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.08


def seconds_to_wait(elapsed: float, left: float | None, overdue: float = 0.0) -> int:
    """Return for how many whole seconds a delivery goes away.

    A known time left is nearly used up, so that an estimate that is too long costs little. Near its end, the
    delivery comes back within half a second of the end; if it is early, it stays. Otherwise a delivery is
    away for about as long as the run has gone on, or is overdue. So the number of its deliveries grows with
    the logarithm of that.

    :param elapsed: seconds for which the run has gone on.
    :param left: seconds that it is expected to go on; ``None`` if nobody knows.
    :param overdue: seconds for which it has gone on after this delivery first expected its end.

    >>> seconds_to_wait(0.2, None), seconds_to_wait(8.0, None), seconds_to_wait(600.0, None)
    (1, 8, 30)
    >>> seconds_to_wait(2.0, 28.0), seconds_to_wait(29.0, 1.2), seconds_to_wait(29.0, 1.8)
    (25, 1, 2)
    >>> seconds_to_wait(29.0, 0.0), seconds_to_wait(600.0, 0.0, overdue=16.0)
    (1, 16)
    """
    if left is None:
        seconds = elapsed
    else:
        seconds = max(left * 0.9 if left > 5 else math.floor(left + 0.5), overdue)
    return min(max(int(seconds), 1), LONGEST_WAIT)


def in_place(ask: Callable[[], T], is_over: Callable[[T], bool]) -> T:
    """Ask again and again for a moment. Return the first answer that *is_over*, or the last one."""
    end, pause = time.monotonic() + LONGEST_STAY, FIRST_PAUSE
    while True:
        time.sleep(pause)
        answer = ask()
        if is_over(answer) or time.monotonic() >= end:
            return answer
        pause = min(2 * pause, LONGEST_PAUSE)


class Wait(NamedTuple):
    """The decision to send a delivery again instead of running its body.

    It is carried out where the body would run. By then every handler of ``task_prerun`` has loaded the
    context of the message, so what Celery, loggers and tracers add to the new message is this one's own.

    :ivar claim: the claim of the delivery that runs.
    :ivar is_for_result: whether the result of that run will answer this one. It does not answer a call that
        the run made itself.
    :ivar meta: what the result backend knows of the owner.
    :ivar left: seconds until that run is expected to end; ``None`` if nobody knows.
    :ivar expected: when an earlier delivery of this message expected that end, by the clock of the store;
        ``None`` if none did.
    """

    key: str
    claim: Claim
    is_for_result: bool
    meta: backend.Meta | None
    left: float | None = None
    expected: float | None = None

    @property
    def overdue(self) -> float:
        """Seconds for which the run has gone on after its expected end."""
        return 0.0 if self.expected is None else max(self.claim.at - self.expected, 0.0)

    @property
    def is_nearly_over(self) -> bool:
        """Whether the run is about to end. One that is long overdue only seems so."""
        return self.left is not None and max(self.left, self.overdue) <= LONGEST_STAY

    def carry_out(self, run: Run, body: Callable[[], Any]) -> Any:
        """Send the message again, and raise ``Ignore``. If that fails, run the body."""
        countdown = seconds_to_wait(_elapsed(self.claim), self.left, self.overdue)
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
            "expected": self._expectation(),
        }

    def _show_progress(self, run: Run) -> None:
        """Let the caller of a waiting run see the progress of the run that it waits for."""
        assert run.request is not None
        meta = self.meta
        if meta is None or meta["status"] != backend.PROGRESS or not isinstance(meta["result"], Mapping):
            return
        if self.is_for_result and backend.shows_progress(run.task, run.request):
            records.write_record(run.task.backend, run.request, meta["result"])

    def _expectation(self) -> float | None:
        """Return when that run is expected to end. An expectation that has passed stays."""
        if self.overdue or self.left is None:
            return self.expected
        return self.claim.at + self.left


def seconds_left(task_name: str, claim: Claim, meta: backend.Meta | None, history: History) -> float | None:
    """Return in how many seconds the run under *claim* is expected to end; ``None`` if nobody knows.

    :param meta: what the result backend knows of the run.
    """
    ended = backend.ended_at(meta)
    if ended is not None and ended > claim.since:
        return 0.0  # It has just ended, and is about to release its claim.
    left = _left_by_progress(meta)
    return left_by_history(_elapsed(claim), history.of(task_name).durations) if left is None else left


def _elapsed(claim: Claim) -> float:
    return max(claim.at - claim.since, 0.0)


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
