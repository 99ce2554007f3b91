"""The store as this process sees it, tried with a claim and a result of its own."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

from ...errors import JobtasticError, StoreError
from ...settings import Settings
from ...stores import Claim, Result, Store, open_shared_store, open_store
from ...stores.disk import DiskStore
from ...support.redaction import scrubbed, without_passwords
from ...support.shown import shown_error
from ...support.threads import call_within
from .base import Finding, fix, ok
from .folder import check_folder, why_unusable

__all__ = ["StoreHere"]

#: Seconds within which a store has to answer.
DEADLINE = 10.0

#: The most rounds that are measured, and the most seconds.
ROUNDS, LONGEST = 25, 1.0

#: Seconds after which nothing of a killed check is left in the store.
LEFTOVERS = 60.0


class StoreHere:
    """The store that *settings* name.

    :param shared: whether tasks run in other processes than their callers.
    :ivar url: its URL without passwords.
    :ivar identity: its identity; ``None`` until :meth:`check` has read it.
    """

    def __init__(self, settings: Settings, *, shared: bool = True) -> None:
        self._settings = settings
        self._shared = shared
        self.url: str = without_passwords(settings.store)
        self.namespace: str = settings.namespace
        self.identity: str | None = None

    def check(self) -> Iterator[Finding]:
        """Check that it works, and how fast. A folder that does not exist is not created."""
        opening = open_shared_store if self._shared else open_store
        try:
            with closing(opening(self._settings.store, **self._settings.store_options)) as store:
                yield from self._try_out(store)
        except Exception as error:
            text = str(error) if isinstance(error, JobtasticError) else shown_error(error)
            reason = scrubbed(text, self._settings.store, self._settings.store_options)
            yield fix("store", f"{self.url} does not work, so nothing is shared: {reason}")

    def _try_out(self, store: Store) -> Iterator[Finding]:
        unusable = why_unusable(store.folder) if isinstance(store, DiskStore) else None
        if unusable is not None:
            yield unusable
            return
        self.identity, seconds = call_within(DEADLINE, partial(_try_out, store))
        yield ok("store", f"{self.url} ({self.identity})")
        if isinstance(store, DiskStore):
            yield from check_folder(store.folder)
        yield ok("store", f"{seconds * 1000:.2f} ms to claim, complete, look up and forget (median)")


def _try_out(store: Store) -> tuple[str, float]:
    """Return the identity of *store*, and the median of the seconds that a round takes."""
    key, owner = f"check:{uuid.uuid4().hex}", uuid.uuid4().hex
    taken: list[float] = []
    end = time.monotonic() + LONGEST
    try:
        while len(taken) < ROUNDS and time.monotonic() < end:
            taken.append(_go_round(store, key, owner))
    finally:
        with suppress(Exception):
            store.release(key, owner, "")
            store.forget(key)  # With a claim there, the store would remember that for an hour.
    return store.identity, statistics.median(taken)


def _go_round(store: Store, key: str, owner: str) -> float:
    """Do what one call and its run do. Return the seconds that it took."""
    payload, delivery = key.encode(), f"{owner}/1"
    start = time.perf_counter()
    queued = store.lookup_or_claim(key, owner, LEFTOVERS)
    running = store.claim(key, owner, delivery, LEFTOVERS)
    stored = store.complete(key, owner, delivery, payload, ttl=LEFTOVERS)
    found = store.lookup(key)
    forgotten = store.forget(key)
    seconds = time.perf_counter() - start
    claimed = isinstance(queued, Claim) and isinstance(running, Claim) and running.delivery == delivery
    read = isinstance(found, Result) and found.payload == payload
    if not (claimed and stored and read and forgotten and store.lookup(key) is None):
        raise StoreError("it does not return what was stored in it")
    return seconds
