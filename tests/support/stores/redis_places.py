"""Fixtures and helpers for the tests of the Redis store, on whatever servers."""

import contextlib
import time

from redis.connection import Connection

from jobtastic_signals.stores import open_store

__all__ = ["counted_exchanges", "makes_stores"]


@contextlib.contextmanager
def makes_stores(servers, url=None, **options):
    """Yield a function that returns a store on *servers*, made empty, which goes by a clock.

    Without one it goes by the servers' own, which is the real one: what a client read before it asked is in
    another order.
    """
    made = []

    def make_store(clock=None):
        servers.flush()
        real = None if clock is time.time else clock
        # A busy machine is no failure here.
        made.append(open_store(url or servers.url, clock=real, **{"timeout": 10, **options}))
        return made[-1]

    yield make_store
    for store in made:
        store.close()


def counted_exchanges(monkeypatch):
    """Return a list of how many scripts each exchange with a server asks for, from now on."""
    counted = []
    send = Connection.send_packed_command

    def count(connection, command, *arguments, **options):
        counted.append(b"".join(command).count(b"EVAL"))
        return send(connection, command, *arguments, **options)

    monkeypatch.setattr(Connection, "send_packed_command", count)
    return counted
