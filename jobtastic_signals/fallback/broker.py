"""Connections to a broker that may be down, or worse."""

from __future__ import annotations

from typing import Any, cast

from celery import Celery
from kombu.connection import Connection

__all__ = ["connect", "impatient_connection", "ping"]


def impatient_connection(app: Celery, deadline: float) -> Connection:
    """A connection to *app*'s broker, not opened yet, that waits for *deadline* seconds where it can."""
    connection = app.connection_for_write(connect_timeout=deadline)
    kind = connection.get_transport_cls().driver_type
    options = connection.transport_options
    options.update(max_retries=1, interval_start=0, interval_step=0)
    if kind == "redis":
        options.update(socket_timeout=deadline, socket_connect_timeout=deadline)
    elif kind == "amqp":
        # Otherwise a message counts as sent when the kernel has it.
        options.setdefault("confirm_publish", True)
        options.update(read_timeout=deadline, write_timeout=deadline)
    return cast("Connection", connection)


def connect(connection: Connection, deadline: float) -> None:
    """Open *connection*, trying each of its addresses once."""
    retries = max(len(connection.alt), 1)
    connection.ensure_connection(max_retries=retries, interval_start=0, interval_step=0, timeout=deadline)


def ping(connection: Connection) -> None:
    """Wait for an answer of the broker, where there is a way to ask for one."""
    kind, channel = connection.transport.driver_type, cast("Any", connection.default_channel)
    if kind == "redis":
        channel.client.ping()
    elif kind == "amqp":
        channel.basic_qos(prefetch_size=0, prefetch_count=0, a_global=False)
