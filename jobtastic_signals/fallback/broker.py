"""Connections to a broker that may be down or may not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary

from celery import Celery
from kombu.connection import Connection

from ..celery_internals import GatedProducer

__all__ = ["ThreadProducer", "connect", "drop_producer", "impatient_connection", "ping", "producer_for"]


def impatient_connection(app: Celery, deadline: float) -> Connection:
    """Return an unopened connection to *app*'s broker that waits for at most *deadline* seconds.

    Not every transport has a timeout for every step.
    """
    connection = app.connection_for_write(connect_timeout=deadline)
    kind = connection.get_transport_cls().driver_type
    options = connection.transport_options
    options.update(max_retries=1, interval_start=0, interval_step=0)
    if kind == "redis":
        options.update(socket_timeout=deadline, socket_connect_timeout=deadline)
    elif kind == "amqp":
        # Without it, a message counts as sent as soon as the kernel has it.
        options.setdefault("confirm_publish", True)
        options.update(read_timeout=deadline, write_timeout=deadline)
    return cast("Connection", connection)


def connect(connection: Connection, deadline: float) -> None:
    """Open *connection*, trying each of its addresses once."""
    retries = max(len(connection.alt), 1)
    connection.ensure_connection(max_retries=retries, interval_start=0, interval_step=0, timeout=deadline)


def ping(connection: Connection) -> None:
    """Wait for an answer from the broker, if its protocol has a way to ask for one."""
    kind, channel = connection.transport.driver_type, cast("Any", connection.default_channel)
    if kind == "redis":
        channel.client.ping()
    elif kind == "amqp":
        channel.basic_qos(prefetch_size=0, prefetch_count=0, a_global=False)


class ThreadProducer(GatedProducer):
    """The producer of one thread. It sends a message only after the broker has answered.

    :ivar pass_gate: called right before a message leaves; it raises to keep the message back.
    """

    def __init__(self, connection: Connection, deadline: float) -> None:
        super().__init__(connection, auto_declare=False)  # type: ignore[no-untyped-call]
        self.deadline = deadline
        self.pass_gate: Callable[[], None] = lambda: None

    def before_sending(self) -> None:
        """Make sure that the broker answers and that the caller still waits."""
        self._reach_broker()
        self.pass_gate()

    def _reach_broker(self) -> None:
        connection = self.connection
        if connection.connected:
            try:
                ping(connection)
            except connection.recoverable_connection_errors + connection.recoverable_channel_errors:
                # The connection was open before, and the broker may have restarted since.
                connection.collect()
            else:
                return
        connect(connection, self.deadline)
        self.revive(connection.default_channel)  # type: ignore[no-untyped-call]


class _ProducersOfThread(threading.local):
    """The producers of one thread, by app."""

    def __init__(self) -> None:
        self.by_app: WeakKeyDictionary[Celery, ThreadProducer] = WeakKeyDictionary()


_producers = _ProducersOfThread()


def producer_for(app: Celery, deadline: float, pass_gate: Callable[[], None]) -> ThreadProducer:
    """Return this thread's producer for *app*, with a new gate."""
    producer = _producers.by_app.get(app)
    if producer is None or producer.deadline != deadline:
        producer = ThreadProducer(impatient_connection(app, deadline), deadline)
        _producers.by_app[app] = producer
    producer.pass_gate = pass_gate
    return producer


def drop_producer(app: Celery) -> None:
    """Close this thread's connection to the broker of *app*."""
    producer = _producers.by_app.pop(app, None)
    if producer is not None:
        with suppress(Exception):
            producer.connection.collect()
