"""Fixtures and helpers for the tests of the Redis store, on whatever servers."""

import contextlib
import time

import pytest
import redis
from redis.connection import Connection

from jobtastic_signals.stores import open_store

__all__ = ["OPERATIONS", "TIMEOUT", "counted_exchanges", "fails_in_time", "makes_stores"]

#: Seconds for which stores wait by default.
TIMEOUT = 0.25

OPERATIONS = {
    "identity": lambda store: store.identity,
    "lookup": lambda store: store.lookup("key"),
    "admit": lambda store: store.admit("key", "owner", 60),
    "extend": lambda store: store.extend("key", "owner", 60),
    "settle": lambda store: store.settle("key", "owner", b"42", 60),
    "release": lambda store: store.release("key", "owner"),
    "forget": lambda store: store.forget("key"),
    "entries": lambda store: list(store.entries()),
}


@contextlib.contextmanager
def makes_stores(servers, url=None, **options):
    """A function that gives a clock, or ``None`` for the servers' own, a store on *servers*, made empty."""
    made = []

    def make_store(clock=None):
        servers.flush()
        # A busy machine is no failure here.
        made.append(open_store(url or servers.url, clock=clock, **{"timeout": 10, **options}))
        return made[-1]

    yield make_store
    for store in made:
        store.close()


def counted_exchanges(monkeypatch):
    """For each exchange with a server from now on, how many scripts were asked for in it."""
    counted = []
    send = Connection.send_packed_command

    def count(connection, command, *arguments, **options):
        counted.append(b"".join(command).count(b"EVAL"))
        return send(connection, command, *arguments, **options)

    monkeypatch.setattr(Connection, "send_packed_command", count)
    return counted


def fails_in_time(operation, *errors, timeout=TIMEOUT):
    """Check that *operation* raises one of *errors*, and waits for one *timeout* at most.

    The best of some times counts: on a busy machine anything can take longer once.
    """
    took = []
    while len(took) < 5:
        start = time.monotonic()
        with pytest.raises(errors or redis.RedisError):
            operation()
        took.append(time.monotonic() - start)
        if took[-1] < 1.7 * timeout:
            return
    pytest.fail(f"it took {took} s")
