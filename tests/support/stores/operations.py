"""What can be asked of any store, and how it is to fail where its server does."""

import signal
import time
from contextlib import contextmanager
from functools import partial

import pytest
import redis

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from tests.support.lateness import lateness
from tests.support.rare import mainly

__all__ = [
    "LARGE",
    "OPERATIONS",
    "PATIENT",
    "TIMEOUT",
    "broken_off",
    "every_operation",
    "fails_in_time",
    "open_patient",
]

#: Seconds for which stores wait by default; and where a busy machine is to be no failure.
TIMEOUT, PATIENT = 0.25, 30.0

#: More than an item of Memcached, or a value in one of Django's caches, can hold.
LARGE = bytes(range(256)) * 5000

OPERATIONS = {
    "identity": lambda store: store.identity,
    "lookup": lambda store: store.lookup("key"),
    "lookup_or_claim": lambda store: store.lookup_or_claim("key", "owner", 60),
    "claim": lambda store: store.claim("key", "owner", "owner/1", 60),
    "renew": lambda store: store.renew("key", "owner", "owner/1", 60),
    "complete": lambda store: store.complete("key", "owner", "owner/1", b"42", ttl=60, index="index"),
    "release": lambda store: store.release("key", "owner", ""),
    "forget": lambda store: store.forget("key"),
    "forget_scope": lambda store: store.forget_scope("scope", ttl=60),
    "leave": lambda store: store.leave("key", "owner", "owner"),
    "entry": lambda store: store.entry("key", scopes=["scope"]),
    "count": lambda store: store.count("counts", {"calls": 1}, ttl=60),
    "counts": lambda store: list(store.counts()),
    "entries": lambda store: list(store.entries()),
}

#: What the normal tests ask: an identity, a decision, what is written, and what is listed.
FEW = ("identity", "lookup_or_claim", "complete", "entries")

every_operation = pytest.mark.parametrize(
    "use", mainly(*(OPERATIONS[name] for name in FEW), of=OPERATIONS.values()), ids=OPERATIONS
)

open_patient = partial(open_store, timeout=PATIENT)


class TimeLimit(BaseException):
    """Raised wherever the main thread is, as gevent's are, and no ``Exception`` for a driver to see."""


@contextmanager
def broken_off(after):
    """What goes on is broken off *after* so many seconds, as by a time limit."""

    def strike(number, frame):
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        with pytest.raises(TimeLimit):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fails_in_time(operation, *errors, timeout=TIMEOUT, why=None):
    """Check that *operation* raises one of *errors*, and waits for one *timeout* at most.

    What a busy machine adds does not count, and the best of some times does.
    """
    took = []
    while len(took) < 5:
        start = time.monotonic()
        with lateness() as late:
            with pytest.raises(errors or (StoreError, redis.RedisError), match=why):
                operation()
            took.append(time.monotonic() - start - late())
        if took[-1] < 1.7 * timeout:
            return
    pytest.fail(f"it took {took} s")
