"""Fixtures and helpers for the tests of the Redis store, on whatever servers."""

import contextlib

from redis.connection import Connection

from jobtastic_signals.stores import open_store

__all__ = ["counted_exchanges", "makes_stores"]


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
