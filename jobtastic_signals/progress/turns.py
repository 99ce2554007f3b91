"""The turns of one run: it does one thing after the other in the background, and waits for a moment only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from celery.exceptions import SoftTimeLimitExceeded

from ..support.time_limits import caught

__all__ = ["PATIENCE", "HandOver", "Turns"]

#: Seconds that a body waits for one record at most, if the interval between two records is not shorter.
PATIENCE = 0.1

#: Lets another thread do something.
HandOver = Callable[[Callable[[], None]], None]


class Turns:
    """Does one job after the other, in another thread.

    A body waits for a job, so that others see at once what it reports, but not longer than :data:`PATIENCE`.
    After a job that took longer it does not wait at all, until one is fast again.

    :ivar is_taken: whether a job is being done, or is about to be. No lock protects it: a soft time limit
        that strikes between two steps would leave that locked. Two threads that report at the same time may
        both take a turn, one after the other.
    :param after: called after each turn.
    :param failed: called with what a job raises.
    :param longest_wait: seconds that a body waits for one job at most; 0 for :data:`PATIENCE`.
    :param hand_over: lets another thread do a job; ``None`` to do it in the thread that takes a turn.
    """

    def __init__(
        self,
        after: Callable[[], None],
        failed: Callable[[Exception], None],
        *,
        longest_wait: float,
        hand_over: HandOver | None,
    ) -> None:
        self.is_taken: bool = False
        self._after, self._failed = after, failed
        self._longest_wait, self._hand_over = longest_wait, hand_over
        self._is_slow = False
        # Code that runs while a record is written can report: a receiver of our event, or a tracked loop that
        # is garbage-collected just then.
        self._lock = threading.RLock()

    @property
    def are_ours(self) -> bool:
        """Whether jobs are done in a thread of this package."""
        return self._hand_over is not None

    def take(self, job: Callable[[], None], *, waits: bool) -> None:
        """Do *job*.

        :param waits: whether to wait until it is done, for a moment at most.
        """
        self.is_taken = True
        if self._hand_over is None:
            self._do(job)
            return
        done = threading.Event()
        with caught(self._fail):
            self._hand_over(lambda: self._do(job, done))
            if waits and not self._is_slow:
                self._is_slow = not done.wait(min(self._longest_wait, PATIENCE) or PATIENCE)

    def wait(self) -> None:
        """Wait for the job that is being done now. A soft time limit is raised after that."""
        try:
            with self._lock:
                return
        except SoftTimeLimitExceeded:
            # The end is stored when this is over, and is to come after what is being written.
            with self._lock:
                raise

    def move_to_this_process(self) -> None:
        """Forget the turn of the parent process, whose lock may stay locked here for ever."""
        self._lock = threading.RLock()
        self.is_taken = self._is_slow = False

    def _do(self, job: Callable[[], None], done: threading.Event | None = None) -> None:
        start = time.monotonic()
        try:
            with self._lock, caught(self._failed):
                job()
        finally:
            self.is_taken = False
            if done is not None:
                self._is_slow = self._is_slow and time.monotonic() - start > PATIENCE
                done.set()
        self._after()

    def _fail(self, error: Exception) -> None:
        self.is_taken = False
        self._failed(error)
