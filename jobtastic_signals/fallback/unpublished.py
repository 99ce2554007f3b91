"""What becomes of a call that could not be published."""

from __future__ import annotations

import logging
import time
import traceback as tracebacks
import uuid
from typing import TYPE_CHECKING, Any

from celery import states
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

from .. import events
from ..calls import standing_in
from ..results import backend as backends
from ..results import index as outcomes
from ..support.threads import call_within
from . import withdrawal as withdrawals
from .attempt import Attempt

if TYPE_CHECKING:
    from ..installation import Installation

__all__ = ["Fallback"]

logger = logging.getLogger(__name__)

#: By which part of the deadline the result backend has to be told of a failure, and for which part it is
#: waited after a run here. The rest is for the store.
TOLD_BY, TELLING = 0.8, 0.25


class Fallback:
    """An answer to the call of *attempt*, which *error* kept from being published.

    :param began: when it was made, in the time of ``time.monotonic()``.
    """

    def __init__(
        self, installation: Installation, attempt: Attempt, error: Exception, *, began: float
    ) -> None:
        self._installation, self._attempt, self._error = installation, attempt, error
        self._deadline = installation.settings.broker_deadline
        self._until = began + TOLD_BY * self._deadline
        self._task = task = attempt.task
        self._is_silent = attempt.ignores_result or backends.is_silent(task) or backends.is_private(task)
        self._id: str = attempt.id or str(uuid.uuid4())

    def fail(self) -> AsyncResult[Any]:
        """A failed result."""
        message = self._message()
        return self._task.AsyncResult(self._id) if message == "received" else self._failed()

    def run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
        """The result of running the task here."""
        message = self._message()
        if message == "received":
            return self._task.AsyncResult(self._id)
        if message == "unknown":
            # It may run in a worker, and is not to run twice.
            return self._failed()
        self._announce("eager")
        options = {name: value for name, value in options.items() if name not in ("task_id", "throw")}
        is_read = not self._is_silent and not self._installation.result_backend.is_open
        if not is_read:
            self._release()
        token = standing_in.set(self._id if is_read else None)
        try:
            result = self._task.apply(args, kwargs, task_id=self._id, throw=False, **options)
        finally:
            standing_in.reset(token)
        self._until = time.monotonic() + TELLING * self._deadline
        if result.state in (states.SUCCESS, states.FAILURE):
            self._tell(result.state, result.result, result.traceback)
        return result

    def _failed(self) -> AsyncResult[Any]:
        self._announce("failed")
        self._release()
        traceback = "".join(tracebacks.format_exception(self._error))
        self._tell(states.FAILURE, self._error, traceback)
        return backends.loaded(
            self._task,
            self._id,
            {"status": states.FAILURE, "result": self._error, "traceback": traceback, "task_id": self._id},
        )

    def _message(self) -> str:
        """Whether the message is withdrawn, received by a worker, or unknown."""
        if not self._attempt.may_have_left:
            return "withdrawn"
        message = withdrawals.withdraw(self._installation.store, self._id)
        if message == "unknown":
            withdrawals.withdraw_later(self._installation.store, self._id)
        return message

    def _announce(self, answer: str) -> None:
        call = self._attempt.call
        events.emit(
            events.broker_unavailable,
            self._task,
            key=None if call is None else call.key,
            task_id=self._id,
            error=self._error,
            answer=answer,
        )

    def _release(self) -> None:
        """The attempt may hang where it cannot do that itself."""
        call = self._attempt.call
        if call is not None:
            self._installation.walk_back("publish_failed", call)

    def _tell(self, state: str, value: Any, traceback: Any) -> None:
        """Let those see it who have the id: in the result backend, or else in the store."""
        if self._is_silent:
            return
        try:
            if not self._tell_backend(state, value, traceback):
                outcomes.keep(self._installation.store, self._task.app, self._id, state, value)
        except EncodeError as error:
            # As in a worker, that is a failure.
            if state == states.SUCCESS:
                self._tell(states.FAILURE, error, None)

    def _tell_backend(self, state: str, value: Any, traceback: Any) -> bool:
        breaker = self._installation.result_backend
        if not breaker.lets_through():
            return False

        def store() -> None:
            # The thread that does it has a result backend of its own.
            self._task.backend.store_result(self._id, value, state, traceback=traceback)

        try:
            call_within(max(self._until - time.monotonic(), 0.0), store)
        except EncodeError:
            raise
        except Exception as error:
            if breaker.failed(error):
                logger.warning("the result backend cannot be told of %s: %r", self._id, error)
            return False
        if breaker.is_open:
            breaker.answered()
        return True
