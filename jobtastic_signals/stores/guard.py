"""A store that fails costs the sharing, never the task: one warning, one event, and a circuit breaker."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from .. import events
from ..errors import SettingError, StoreError
from ..support.circuit_breaker import Breaker
from ..support.redaction import without_passwords
from .base import Claim, Result, Store

__all__ = ["GuardedStore"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which a store is not asked again for its identity.
IDENTITY_IS_KNOWN_FOR = 60.0

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]*")


class GuardedStore:
    """What the rest of the package talks to: a store's operations, that never raise.

    Where the store cannot answer they say what leads to a run without sharing: :meth:`lookup` finds
    nothing, :meth:`ask` and :meth:`admit` answer ``None``, the others ``False``. Where an answer is
    *required*, these three raise :exc:`~jobtastic_signals.errors.StoreError`. After a failure the store is
    closed, and left alone for a while. One that failed to write has recovered when it writes again: a full
    disk can still be read.

    :param open_store: makes the store on first use; what it raises is a failure like any other.
    :param url: what to call the store in warnings and events, where passwords are left out.
    :param namespace: a text that separates deployments on one store.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        url: str,
        *,
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = without_passwords(url)
        self._open = open_store
        self._store: Store | None = None
        self._made: list[Store] = []
        self._scope = f"{namespace}/" if namespace else ""
        self._clock = clock
        self._breaker = Breaker(clock=clock)
        self._identity: tuple[str | None, int, float] = (None, 0, 0.0)
        self._cannot_write = False

    @property
    def identity(self) -> str | None:
        """The store's identity, as of a minute ago at most: a server can lose it with its data."""
        known, pid, until = self._identity
        if known is None or pid != os.getpid() or self._clock() >= until:
            known = self._guarded(lambda store: store.identity, None, writes=False)
            self._identity = (known, os.getpid(), self._clock() + IDENTITY_IS_KNOWN_FOR)
        return known

    @property
    def is_down(self) -> bool:
        """Whether it failed, and has not recovered."""
        return self._breaker.is_open

    def lookup(self, key: str, *, required: bool = False) -> Result | Claim | None:
        return self._guarded(
            lambda store: store.lookup(self._scope + key), None, writes=False, required=required
        )

    def ask(self, key: str, owner: str, lease: float, *, required: bool = False) -> Result | Claim | None:
        return self._guarded(
            lambda store: store.ask(self._scope + key, owner, lease), None, required=required
        )

    def admit(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        waited_for: str | None = None,
        stale: str | None = None,
        required: bool = False,
    ) -> Result | Claim | None:
        return self._guarded(
            lambda store: store.admit(self._scope + key, owner, lease, waited_for=waited_for, stale=stale),
            None,
            required=required,
        )

    def extend(self, key: str, owner: str, lease: float) -> bool:
        return self._guarded(lambda store: store.extend(self._scope + key, owner, lease), False)

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        return self._guarded(
            lambda store: store.settle(self._scope + key, owner, payload, ttl, handover=handover), False
        )

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        return self._guarded(
            lambda store: store.release(self._scope + key, owner, unless_waited=unless_waited), False
        )

    def forget(self, key: str) -> bool:
        return self._guarded(lambda store: store.forget(self._scope + key), False)

    def close(self) -> None:
        self._identity = (None, 0, 0.0)
        if self._store is not None:
            with suppress(Exception):
                self._store.close()

    def _guarded(
        self, ask: Callable[[Store], T], otherwise: T, *, writes: bool = True, required: bool = False
    ) -> T:
        if not self._breaker.lets_through():
            return self._without_answer(otherwise, required)
        try:
            if self._store is None:
                # Where two threads open it at once, both go on with the first.
                self._made.append(self._open())
                self._store = self._made[0]
            answer = ask(self._store)
        except (SettingError, SoftTimeLimitExceeded):
            # The limit strikes wherever the process is: it is the task's, and says nothing of the store.
            raise
        except Exception as error:
            self._fail(error, writes)
            return self._without_answer(otherwise, required)
        if self._breaker.is_open:
            self._answered(writes)
        return answer

    def _without_answer(self, otherwise: T, required: bool) -> T:
        if required:
            raise StoreError(
                f"the store {self.url} cannot be asked, and without it nothing is to run "
                "(jobtastic_store_required)"
            )
        return otherwise

    def _fail(self, error: Exception, writes: bool) -> None:
        self.close()
        if self._breaker.failed():
            self._cannot_write = writes
            logger.warning(
                "the store %s failed (%s: %s); tasks run, but share nothing until it works again",
                self.url,
                type(error).__name__,
                error,
            )
            events.emit(events.store_unavailable, self.url, error=error)

    def _answered(self, writes: bool) -> None:
        if self._cannot_write and not writes:
            self._breaker.retry()  # The next caller may be the one that writes.
        elif self._breaker.answered():
            logger.info("the store %s works again", self.url)
            events.emit(events.store_recovered, self.url)


def check_namespace(namespace: str) -> str:
    """*namespace* itself, if it can stand before a key without being taken for part of it."""
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ValueError("letters, digits and . _ - only")
    return namespace
