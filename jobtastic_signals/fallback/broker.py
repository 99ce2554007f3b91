"""Connections to a broker that may be down or may not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, cast
from weakref import WeakKeyDictionary

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from .. import celery_internals
from ..celery_internals import GatedProducer
from ..installation import installed
from ..support.redaction import without_passwords
from ..support.threads import close_with_threads

__all__ = [
    "PUBLISHED_BY",
    "ThreadProducer",
    "answers",
    "drop_producer",
    "import_clients",
    "is_reply",
    "name_of",
    "open_connection",
    "ping",
    "producer_for",
]

#: The part of the deadline within which the broker has to have the message.
PUBLISHED_BY = 0.6

#: Replies of AMQP brokers to somebody who may not do this: ACCESS_REFUSED, NOT_ALLOWED.
_REFUSALS = (403, 530)

#: The address that answered last, for each app whose broker has several.
_answered_last: WeakKeyDictionary[Celery[Any], str] = WeakKeyDictionary()

#: Apps for which :func:`import_clients` has been called.
_imported: WeakKeyDictionary[Celery[Any], bool] = WeakKeyDictionary()


def import_clients(app: Celery[Any]) -> None:
    """Import what publishing needs, which takes seconds in a process that starts on a busy machine."""
    if app not in _imported:
        with suppress(Exception):  # It will happen again, where it is reported.
            _ = app.amqp.queues, app.backend, app.connection_for_write().transport
        _imported[app] = True


def name_of(app: Celery[Any]) -> str:
    """Return the URL of the broker, or of all its addresses, without passwords."""
    connection = app.connection_for_write()
    return without_passwords(";".join(connection.alt)) if connection.alt else str(connection.as_uri())


def is_reply(app: Celery[Any], error: BaseException | None) -> bool:
    """Return whether the broker itself reported *error*, instead of not answering."""
    return isinstance(getattr(error, "__cause__", None), app.connection_for_write().channel_errors)


def open_connection(app: Celery[Any], deadline: float) -> Connection:
    """Return an open connection to the broker of *app*.

    Its addresses share the time. The one that answered last comes first.

    :param deadline: seconds for which a caller waits in all.
    :raises OperationalError: if the broker cannot be reached, or does not accept the user.
    """
    return _open(app, _addresses(app), PUBLISHED_BY * deadline, deadline)[0]


def _open(
    app: Celery[Any], addresses: list[str | None], within: float, deadline: float
) -> tuple[Connection, str | None]:
    """Return a connection to the first of *addresses* that answers, and that address."""
    began = time.monotonic()
    failures = []
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        unused = (within - (time.monotonic() - began)) / left
        # The last one has the rest, and the caller decides when that is over.
        patience = deadline if left == 1 else max(unused, within / len(addresses))
        connection = _impatient_connection(app, address, patience, deadline)
        try:
            _connect(connection, patience)
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            connection.collect()
            failures.append((connection.as_uri(), error))
        else:
            if address is not None:
                _answered_last[app] = address
            return connection, address
    raise _unreachable(failures)


def _unreachable(failures: list[tuple[str, Exception]]) -> OperationalError:
    """Return the error for a broker of which each address failed."""
    [*_, (_, latest)] = failures
    if len(failures) > 1:
        error = OperationalError("; ".join(f"{address}: {failure}" for address, failure in failures))
    elif isinstance(latest, OperationalError):
        return latest
    else:
        error = OperationalError(str(latest))
    error.__cause__ = latest
    return error


def _addresses(app: Celery[Any]) -> list[str | None]:
    """Return the URLs of the broker in the order in which to try them; ``None`` stands for the only one."""
    connection = app.connection_for_write()
    if not connection.alt:
        return [None]
    # Some strategies name an address twice before they have named all.
    round_of_all = islice(connection.failover_strategy(connection.alt), len(connection.alt))
    last = _answered_last.get(app)
    return sorted(dict.fromkeys([*round_of_all, *connection.alt]), key=lambda address: address != last)


def _impatient_connection(
    app: Celery[Any], address: str | None, patience: float, deadline: float
) -> Connection:
    """Return an unopened connection that waits for *patience* seconds for each answer while it is opened.

    Not every transport has a timeout for every step.
    """
    connection = app.connection_for_write(address, connect_timeout=patience)
    kind = connection.get_transport_cls().driver_type
    options = connection.transport_options
    options.update(max_retries=1, interval_start=0, interval_step=0)
    if kind == "redis":
        options.update(socket_timeout=patience, socket_connect_timeout=patience)
    elif kind == "amqp":
        # Without it, a message counts as sent as soon as the kernel has it.
        options.setdefault("confirm_publish", True)
        options.update(read_timeout=deadline, write_timeout=deadline)
    return cast("Connection", connection)


def _connect(connection: Connection, patience: float) -> None:
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=patience)
    _ = connection.default_channel


def ping(connection: Connection, patience: float) -> bool:
    """Wait for an answer from the broker. Return whether its protocol has a way to ask for one.

    :raises OSError: if it does not answer within *patience* seconds, or another error of the connection.
    """
    kind, channel = connection.transport.driver_type, cast("Any", connection.default_channel)
    if kind == "redis":
        _ping_redis(channel.client.connection_pool, patience)
    elif kind == "amqp":
        with connection.connection.transport.having_timeout(patience):
            channel.basic_qos(prefetch_size=0, prefetch_count=0, a_global=False)
    return kind in ("redis", "amqp")


def _ping_redis(pool: Any, patience: float) -> None:
    try:
        line = pool.get_connection()
    except TypeError:  # Before redis-py 5.3.
        line = pool.get_connection("PING")
    try:
        line.send_command("PING", check_health=False)  # It would wait for longer.
        if not line.can_read(patience):
            raise TimeoutError(f"no answer within {patience:g} s")
        line.read_response()
    finally:
        pool.release(line)


def answers(app: Celery[Any], deadline: float) -> bool:
    """Return whether the broker is known to answer on a new connection."""
    try:
        connection = open_connection(app, deadline)
    except Exception:
        return False
    try:
        return ping(connection, deadline)
    except Exception:
        return False
    finally:
        with suppress(Exception):
            connection.release()


class ThreadProducer(GatedProducer):
    """The producer of one thread. It sends a message only after the broker has answered.

    :ivar pass_gate: called right before a message leaves; it raises to keep the message back.
    """

    def __init__(self, app: Celery[Any], deadline: float) -> None:
        super().__init__(app.connection_for_write(), auto_declare=False)  # type: ignore[no-untyped-call]
        self._app = app
        self._address: str | None = None
        self._number_of_addresses = 1
        self.deadline = deadline
        self.pass_gate: Callable[[], None] = lambda: None

    def publish(self, *arguments: Any, **options: Any) -> Any:
        """Do :meth:`kombu.Producer.publish`.

        :raises OperationalError: if the broker does not let this user publish, as for other brokers.
        """
        with _refusals_as_operational_errors():
            return super().publish(*arguments, **options)  # type: ignore[no-untyped-call]

    def before_sending(self) -> None:
        """Make sure that the broker answers and that the caller still waits."""
        self._reach_broker()
        self.pass_gate()

    def _reach_broker(self) -> None:
        within, was_connected = PUBLISHED_BY * self.deadline, self.connection.connected
        if was_connected:
            # One more address that may be silent.
            patience = within / (self._number_of_addresses + 1)
            if self._still_answers(patience):
                return
            within -= patience
        addresses = _addresses(self._app)
        if was_connected:
            addresses.sort(key=lambda address: address == self._address)
        self._number_of_addresses = len(addresses)
        connection, self._address = _open(self._app, addresses, within, self.deadline)
        self.revive(connection)  # type: ignore[no-untyped-call]
        self.revive(connection.default_channel)  # type: ignore[no-untyped-call]

    def _still_answers(self, patience: float) -> bool:
        connection = self.connection
        try:
            ping(connection, patience)
        except connection.recoverable_connection_errors + connection.recoverable_channel_errors:
            # The connection was open before, and the broker may have restarted since.
            connection.collect()
            return False
        return True


@contextmanager
def _refusals_as_operational_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "reply_code", None) not in _REFUSALS:
            raise
        raise OperationalError(str(error)) from error


class _ProducersOfThread:
    """The producers of the current thread, by app."""

    def __init__(self) -> None:
        # One for each process, made when it is needed. gevent can patch a child that was forked, and all
        # greenlets there would share what is older.
        self._locals: dict[int, threading.local] = {}

    @property
    def by_app(self) -> WeakKeyDictionary[Celery[Any], ThreadProducer]:
        known = vars(self._locals.setdefault(os.getpid(), threading.local()))
        by_app: WeakKeyDictionary[Celery[Any], ThreadProducer] = known.setdefault(
            "by_app", WeakKeyDictionary()
        )
        return by_app


_producers = _ProducersOfThread()


def producer_for(app: Celery[Any], deadline: float, pass_gate: Callable[[], None]) -> ThreadProducer:
    """Return this thread's producer for *app*, with a new gate."""
    producer = _producers.by_app.get(app)
    if producer is None or producer.deadline != deadline:
        producer = _producers.by_app[app] = ThreadProducer(app, deadline)
    producer.pass_gate = pass_gate
    return producer


def drop_producer(app: Celery[Any]) -> None:
    """Close this thread's connection to the broker of *app*."""
    producer = _producers.by_app.pop(app, None)
    if producer is not None:
        with suppress(Exception):
            producer.connection.collect()


@close_with_threads
def close_connections() -> None:
    """Close what this thread has opened: connections to brokers and result backends."""
    for producer in list(_producers.by_app.values()):
        with suppress(Exception):
            producer.connection.release()
    _producers.by_app.clear()
    for app in list(installed):
        with suppress(Exception):
            celery_internals.close_backend_of_thread(app)
