"""Answering a call that could not be published."""

from __future__ import annotations

import logging
import traceback as tracebacks
import uuid
from typing import TYPE_CHECKING, Any

from celery import states
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

from .. import events
from ..calls import standing_in
from ..results import backend as backends
from ..results import index
from ..support.shown import shown
from ..support.threads import call_within
from . import withdrawal
from .attempt import Attempt

if TYPE_CHECKING:
    from ..installation import Installation

__all__ = ["UnpublishedCall"]

logger: logging.Logger = logging.getLogger(__name__)

#: The part of the deadline within which the result backend has to store a failure. The rest is for the store.
FAILURE_STORED_BY = 0.8

#: The part of the deadline that the result backend has to store the outcome of a run in this process.
OUTCOME_STORED_WITHIN = 0.25


class UnpublishedCall:
    """The call of *attempt*, which could not be published because of *error*."""

    def __init__(self, installation: Installation, attempt: Attempt, error: Exception) -> None:
        self._installation, self._attempt, self._error = installation, attempt, error
        self._deadline = installation.settings.broker_deadline
        # Seconds that the result backend has.
        self._patience = max(FAILURE_STORED_BY * self._deadline - attempt.waited, 0.0)
        self._task = task = attempt.task
        backend = task.backend
        self._is_silent = (
            attempt.ignores_result or backends.is_silent(task, backend) or backends.is_private(backend)
        )
        self._id: str = attempt.id or str(uuid.uuid4())

    def fail(self) -> AsyncResult[Any]:
        """Return a failed result, or the result to come if a worker has the message after all."""
        if self._withdraw() == "received":
            return self._task.AsyncResult(self._id)
        return self._failed()

    def run(self, args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
        """Run the task in this process, unless a worker has or may have the message."""
        message = self._withdraw()
        if message == "received":
            return self._task.AsyncResult(self._id)
        if message == "unknown":
            # A worker may run it, and it must not run twice.
            return self._failed()
        self._announce("eager")
        is_readable = not self._is_silent and not backends.breaker_of(self._task.app).is_open
        if not is_readable:
            self._release()
        result = self._apply(args, kwargs, options, is_readable)
        self._patience = OUTCOME_STORED_WITHIN * self._deadline
        if result.state in (states.SUCCESS, states.FAILURE):
            self._store(result.state, result.result, result.traceback)
        return result

    def _apply(self, args: Any, kwargs: Any, options: dict[str, Any], is_readable: bool) -> AsyncResult[Any]:
        """Run the task. It may stand in for other calls if they can read its result."""
        options = {name: value for name, value in options.items() if name not in ("task_id", "throw")}
        token = standing_in.set(self._id if is_readable else None)
        try:
            return self._task.apply(args, kwargs, task_id=self._id, throw=False, **options)
        finally:
            standing_in.reset(token)

    def _failed(self) -> AsyncResult[Any]:
        self._announce("failed")
        self._release()
        traceback = "".join(tracebacks.format_exception(self._error))
        self._store(states.FAILURE, self._error, traceback)
        return backends.loaded(
            self._task,
            self._id,
            {"status": states.FAILURE, "result": self._error, "traceback": traceback, "task_id": self._id},
        )

    def _withdraw(self) -> str:
        """Withdraw the message, now or as soon as the store answers.

        Return ``"withdrawn"``, ``"received"`` (by a worker) or ``"unknown"``.
        """
        if not self._attempt.may_have_left:
            return "withdrawn"
        message = withdrawal.withdraw(self._installation.store, self._id)
        if message == "unknown":
            withdrawal.withdraw_later(self._installation.store, self._id)
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
        """Release the claim of the call. The attempt may be stuck where it cannot do that itself."""
        call = self._attempt.call
        if call is not None:
            self._installation.stack.walk_back("publish_failed", call)

    def _store(self, state: str, value: Any, traceback: Any) -> None:
        """Store the outcome in the result backend, or else in the store, for whoever reads it by its id."""
        if self._is_silent:
            return
        try:
            if not self._store_in_backend(state, value, traceback):
                index.keep(self._installation.store, self._task.app, self._id, state, value)
        except EncodeError as error:
            # A worker would store a failure as well.
            if state == states.SUCCESS:
                self._store(states.FAILURE, error, None)

    def _store_in_backend(self, state: str, value: Any, traceback: Any) -> bool:
        breaker = backends.breaker_of(self._task.app)
        if not breaker.lets_through():
            return False

        def store() -> None:
            # The backend is the one of the thread that runs this.
            self._task.backend.store_result(self._id, value, state, traceback=traceback)

        try:
            call_within(self._patience, store)
        except EncodeError:
            raise
        except Exception as error:
            if breaker.failed(error):
                logger.warning(
                    "the result backend cannot store the outcome of %s[%s] (%s); it is in the store for now",
                    self._task.name,
                    shown(self._id),
                    shown(error),
                )
            return False
        if breaker.is_open:
            breaker.answered()
        return True
