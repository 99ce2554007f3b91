"""Publishing a call within a time, whatever Celery's own retry settings are.

What Celery and its libraries do cannot be interrupted, and may take for ever with a broker that swallows
packets. So it is done in a thread of ours, on a connection of its own, and its caller waits for as long as it
likes. Then the attempt is abandoned: a gate right before the message leaves is closed. Behind that gate the
broker has just answered, so whether a message has left is known but for an instant.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from celery import Celery, Task
from celery._state import _task_stack
from celery.result import AsyncResult
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from ..errors import BrokerUnavailableError
from ..registry import sharing_of
from ..results import backend as backends
from ..support.threads import call_within, in_thread
from .broker import connect, impatient_connection, ping

if TYPE_CHECKING:
    from ..calls import Call

__all__ = ["WITHDRAWABLE", "Attempt", "attempt_on"]

T = TypeVar("T")

#: For which part of the deadline the result backend may be asked whether an existing task answers a call.
ASKED_BY = 0.3

#: In the stamp of a message that its caller may withdraw: for how many seconds after it was made.
WITHDRAWABLE = "withdrawable"

current_attempt: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar(
    "jobtastic_current_attempt", default=None
)


def attempt_on(task_name: str) -> Attempt | None:
    """The attempt that is about to publish a call of the task in this context."""
    attempt = current_attempt.get()
    return attempt if attempt is not None and attempt.task.name == task_name and not attempt.made else None


class Attempt:
    """One try to publish a call of *task*; :meth:`begin` starts it.

    First it *asks*, whether an existing task answers the call; and then it publishes.

    :ivar id: the task id; ``None`` until it is chosen.
    :ivar call: what the middleware know of it; ``None`` for a task that shares nothing.
    :ivar result: what ``apply_async`` returned, once it is done.
    :ivar error: what it raised, or that it was given up.
    :ivar ignores_result: whether the caller wants no result.
    :ivar made: whether there is a message.
    :ivar published: whether a message was published, once it is done.
    :param deadline: seconds that its caller waits for everything.
    :param refusal: the error to raise in place of publishing, where it is known that the broker is down.
    """

    def __init__(
        self,
        task: Task,
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
        self.made = self.published = False
        self._arguments, self._options = (args, kwargs), dict(options)
        self.ignores_result = options.get("ignore_result")
        if self.ignores_result is None:
            self.ignores_result = bool(task.ignore_result)
        self.deadline, self._refusal = deadline, refusal
        self._asking = True
        self._sent = self._abandoned = self._done = False
        self._changed = threading.Condition()

    def begin(self) -> None:
        """Start it, as part of what goes on in this context, and of the run of this thread."""
        if self._refusal is not None and sharing_of(self.task) is None:
            self.give_up(self._refusal)  # There is nothing to ask.
            return
        context, oid = contextvars.copy_context(), self.task.app.thread_oid
        parent = self.task.app.current_worker_task
        request = None if parent is None else parent.request

        def work() -> None:
            # With rpc:// the thread that calls is the one that reads.
            self.task.app._local.oid = oid
            with _running(parent, request):
                context.run(self._publish)

        in_thread(work)

    def is_done(self, within: float) -> bool:
        """Wait until it is done; whether it is, in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done, max(within, 0.0))

    def abandon(self) -> None:
        """Nothing leaves from now on."""
        with self._changed:
            self._abandoned = True

    def give_up(self, error: Exception) -> None:
        """Abandon it with *error*, unless it has just been done."""
        with self._changed:
            if not self._done:
                self._abandoned = self._done = True
                self._asking = False
                self.error = error

    @property
    def may_have_left(self) -> bool:
        """Whether a message may be at the broker."""
        return self._sent

    @property
    def is_of_broker(self) -> bool:
        """Whether :attr:`error` says that the broker cannot be reached."""
        # Celery asks the result backend nothing on this way, so it is none of its errors.
        return isinstance(self.error, OperationalError) and not self._asking

    def go_on(
        self, apply_async: Callable[..., AsyncResult[Any]], call: Call | None, *arguments: Any, **options: Any
    ) -> AsyncResult[Any]:
        """It has asked, and nothing answered it: publish."""
        with self._changed:
            if self._asking:
                self.call, self._asking = call, False
                if call is not None and call.id is not None:
                    self.id = call.id
            self._refuse_if_abandoned()
        if self._refusal is not None:
            raise self._refusal
        result = apply_async(*arguments, **self._quietly(options))
        result.ignored = self.ignores_result
        self.published = True
        return result

    def message_made(self, headers: MutableMapping[str, Any]) -> dict[str, Any]:
        """Called with the headers of the message, before anybody else looks at them; its stamp."""
        self.made, self.id = True, headers["id"]
        if not backends.is_private(self.task):
            headers["ignore_result"] = self.ignores_result
        return {"id": self.id, WITHDRAWABLE: self.deadline}

    def pass_gate(self) -> None:
        """Called when the message is about to leave."""
        with self._changed:
            self._refuse_if_abandoned()
            self._sent = True

    def _publish(self) -> None:
        current_attempt.set(self)
        backends.reading.set(partial(call_within, ASKED_BY * self.deadline))
        result, failure = None, None
        try:
            options = {**self._options, "producer": _producer_for(self), "retry": False}
            if sharing_of(self.task) is None:
                result = self.go_on(self.task.apply_async, None, *self._arguments, **options)
            else:
                result = self.task.apply_async(*self._arguments, **options)
        except Exception as error:
            failure = error
            if self._refusal is None:
                _forget_producer(self.task.app)
        with self._changed:
            if not self._done:
                self._done, self.result, self.error = True, result, failure
            self._changed.notify_all()

    def _quietly(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """With these Celery does not subscribe to the result beforehand.

        With Redis that takes 19 seconds if nothing listens there, in this thread it is of no use, and whoever
        waits for the result subscribes then. The message tells the truth: see :meth:`message_made`.
        """
        return dict(options) if backends.is_private(self.task) else {**options, "ignore_result": True}

    def _refuse_if_abandoned(self) -> None:
        if self._abandoned:
            raise BrokerUnavailableError("its caller does not wait for it any more")


@contextmanager
def _running(task: Task | None, request: Any) -> Iterator[None]:
    """What is published in this thread is published by the run of *task* under *request*."""
    if task is None:
        yield
        return
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        _task_stack.pop()


class _Producer(Producer):
    """Sends when it is sure that the broker answers, and as long as somebody waits for that."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        super().__init__(connection, auto_declare=False)  # type: ignore[no-untyped-call]
        self.deadline = deadline
        self.attempt: Attempt | None = None

    def _publish(self, *arguments: Any, **options: Any) -> Any:
        self._reach_broker()
        if self.attempt is not None:
            self.attempt.pass_gate()
        return super()._publish(*arguments, **options)  # type: ignore[no-untyped-call]

    def _reach_broker(self) -> None:
        connection = self.connection
        if connection.connected:
            try:
                ping(connection)
            except connection.recoverable_connection_errors + connection.recoverable_channel_errors:
                # Kept from before, and dead: the broker may have been started again meanwhile.
                connection.collect()
            else:
                return
        connect(connection, self.deadline)
        self.revive(connection.default_channel)  # type: ignore[no-untyped-call]


class _Kept(threading.local):
    """Of each thread that publishes: its connection to the broker of each app."""

    def __init__(self) -> None:
        self.producers: WeakKeyDictionary[Celery, _Producer] = WeakKeyDictionary()


_kept = _Kept()


def _producer_for(attempt: Attempt) -> _Producer:
    """What publishes *attempt* in this thread."""
    app, deadline = attempt.task.app, attempt.deadline
    producer = _kept.producers.get(app)
    if producer is None or producer.deadline != deadline:
        producer = _kept.producers[app] = _Producer(impatient_connection(app, deadline), deadline)
    producer.attempt = attempt
    return producer


def _forget_producer(app: Celery) -> None:
    """Close this thread's connection to the broker of *app*."""
    producer = _kept.producers.pop(app, None)
    if producer is not None:
        with suppress(Exception):
            producer.connection.collect()
