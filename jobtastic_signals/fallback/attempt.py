"""Publishing a call within a time limit, whatever Celery's own retry settings are.

Nothing can interrupt Celery and its libraries, and they may block for ever if the broker's host drops
packets. So a thread of ours publishes, on its own connection. Its caller waits for as long as it likes, and
then gives up. That closes a gate right before the message leaves. The broker has just answered when a message
passes the gate, so it is known whether the message left, except for one instant.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from ..errors import BrokerUnavailableError
from ..installation import sharing_of
from ..results import backend as backends
from ..support.threads import Work, call_within, in_thread
from .broker import drop_producer, producer_for
from .caller import as_caller
from .current import WITHDRAWABLE, Phase, current_attempt

if TYPE_CHECKING:
    from ..calls import Call

__all__ = ["Attempt"]

#: The part of the deadline within which the result backend has to say whether an existing task answers a
#: call.
ASKED_BY = 0.3


class Attempt:
    """One try to publish a call of *task*; :meth:`begin` starts it.

    :ivar phase: how far it has come.
    :ivar id: the task id; ``None`` until it is chosen.
    :ivar call: the call as the middleware know it; ``None`` for a task that shares nothing.
    :ivar result: what ``apply_async`` returned, at the end.
    :ivar error: what ``apply_async`` raised, or why the caller gave up; ``None`` if all went well.
    :ivar at_hand: what the caller gets although it cannot be published; ``None`` for an error.
    :ivar ignores_result: whether the caller wants no result.
    :ivar check: asks the broker on another connection whether it answers at all; ``None`` until it is needed.
    :ivar began: when it began, by ``time.monotonic()``.
    :param deadline: seconds for which its caller waits in all.
    :param refusal: the error to raise instead of publishing, if the broker is known to be down.
    """

    def __init__(
        self,
        task: Task[Any, Any],
        args: Any,
        kwargs: Any,
        options: Mapping[str, Any],
        *,
        deadline: float,
        refusal: Exception | None = None,
    ) -> None:
        self.task = task
        self.id: str | None = options.get("task_id")
        self.call: Call | None = None
        self.result: AsyncResult[Any] | None = None
        self.error: Exception | None = None
        self.at_hand: AsyncResult[Any] | None = None
        self._shares = sharing_of(task) is not None
        self.phase: Phase = Phase.ASKING if self._shares else Phase.PUBLISHING
        self._arguments, self._options = (args, kwargs), dict(options)
        self.ignores_result: bool | None = options.get("ignore_result")
        if self.ignores_result is None:
            self.ignores_result = bool(task.ignore_result)
        self.began: float = time.monotonic()
        self.deadline: float = deadline
        self._refusal = refusal
        self._ended = False
        # Held while it is decided whether the message leaves or the caller gives up.
        self._gate = threading.Lock()
        self._work: Work[None] | None = None
        self.check: Work[bool] | None = None

    def begin(self) -> None:
        """Start it. It belongs to this context, and to the run that goes on in this thread."""
        if self._refusal is not None and self.phase is Phase.PUBLISHING:
            self.give_up(self._refusal)
            return
        self._work = in_thread(as_caller(self.task.app, self._publish))

    def wait(self, seconds: float) -> bool:
        """Wait until it ends, for so many more seconds. Return whether it has ended."""
        if not self._ended and self._work is not None:
            self._work.wait(seconds)
        return self._ended

    @property
    def waited(self) -> float:
        """Seconds for which its caller has waited, without time that this process lost."""
        return sum(work.waited for work in (self._work, self.check) if work is not None)

    def give_up(self, error: Exception) -> None:
        """End it with *error*, so that no message leaves from now on. Without effect if it has just ended."""
        self._end(None, error)

    @property
    def may_have_left(self) -> bool:
        """Whether a message may be at the broker."""
        return self.phase >= Phase.SENT

    @property
    def is_broker_error(self) -> bool:
        """Whether :attr:`error` says that the broker cannot be reached."""
        # While it asks, an OperationalError comes from the store or the result backend.
        return isinstance(self.error, BrokerUnavailableError) or (
            isinstance(self.error, OperationalError) and self.phase is not Phase.ASKING
        )

    def go_on(
        self, apply_async: Callable[..., AsyncResult[Any]], call: Call | None, *arguments: Any, **options: Any
    ) -> AsyncResult[Any]:
        """Publish, since no existing task answers the call."""
        with self._gate:
            self._refuse_if_ended()
            if self.phase is Phase.ASKING:
                self.call, self.phase = call, Phase.PUBLISHING
                if call is not None and call.id is not None:
                    self.id = call.id
        if self._refusal is not None:
            raise self._refusal
        result = apply_async(*arguments, **self._without_subscribing(options))
        result.ignored = self.ignores_result
        self.phase = Phase.PUBLISHED
        return result

    def message_made(self, task_id: str, headers: MutableMapping[str, Any]) -> dict[str, Any]:
        """Note the id of the message and correct its headers, before others see them. Return its stamp."""
        self.phase, self.id = Phase.MADE, task_id
        if not backends.is_private(self.task.backend):
            headers["ignore_result"] = self.ignores_result
        return {"id": task_id, WITHDRAWABLE: self.deadline}

    def pass_gate(self) -> None:
        """Note that the message is about to leave.

        :raises BrokerUnavailableError: if the caller has given up.
        """
        with self._gate:
            self._refuse_if_ended()
            self.phase = Phase.SENT

    def _publish(self) -> None:
        current_attempt.set(self)
        backends.reading.set(partial(call_within, ASKED_BY * self.deadline))
        app = self.task.app
        try:
            producer = producer_for(app, self.deadline, self.pass_gate)
            options = {**self._options, "producer": producer, "retry": False}
            if self._shares:
                result = self.task.apply_async(*self._arguments, **options)
            else:
                result = self.go_on(self.task.apply_async, None, *self._arguments, **options)
        except Exception as error:
            if self._refusal is None:
                drop_producer(app)
            self._end(None, error)
        else:
            self._end(result, None)

    def _end(self, result: AsyncResult[Any] | None, error: Exception | None) -> None:
        if error is not None and self.at_hand is not None:
            result, error = self.at_hand, None
        with self._gate:
            if not self._ended:
                self._ended, self.result, self.error = True, result, error

    def _without_subscribing(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return *options* such that Celery does not subscribe to the result first.

        With Redis that takes 19 seconds if no server listens. It is of no use in this thread, and whoever
        waits for the result subscribes then. :meth:`message_made` puts the real value into the message.
        """
        return dict(options) if backends.is_private(self.task.backend) else {**options, "ignore_result": True}

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise BrokerUnavailableError("the caller has stopped waiting for this message to be published")
