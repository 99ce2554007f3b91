"""A store that fails costs the sharing, never the task: one warning, one event, and a circuit breaker."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from operator import methodcaller
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from .. import events
from ..errors import SettingError, StoreError
from ..support.circuit_breaker import RETRY_AFTER, CircuitBreaker
from ..support.rare_warnings import rare_warnings
from ..support.redaction import scrubbed, without_passwords
from ..support.shown import shown_error
from ..support.timers import call_at
from .base import Store
from .entry import NOTHING, Claim, Entry, Result

__all__ = ["GuardedStore"]

logger: logging.Logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

#: Seconds for which a store is not asked again for its identity.
IDENTITY_IS_KNOWN_FOR = 60.0

#: Seconds between two tries to release a claim.
BETWEEN_TRIES = 1.0

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]*")
_READS = ("lookup", "entry", "forgotten")


def _verb(
    verb: Callable[Concatenate[Store, str, P], T], otherwise: U
) -> Callable[Concatenate[GuardedStore, str, P], T | U]:
    """Return the method of a guarded store that answers *otherwise* without the store."""

    @wraps(verb)
    def ask(self: GuardedStore, key: str, /, *arguments: P.args, **options: P.kwargs) -> T | U:
        return self._ask(verb, otherwise, False, key, *arguments, **options)

    return ask


class GuardedStore:
    """A store whose failure costs the sharing only: what the rest of the package uses.

    Without the store, :meth:`lookup`, :meth:`lookup_or_claim` and :meth:`claim` answer ``None``, what lists
    something answers nothing, and the rest ``False``. If an answer is *required*, these three and
    :meth:`leave` raise :exc:`~jobtastic_signals.errors.StoreError` instead. Nothing else is raised, but for a
    wrong setting and a time limit of the task.

    After a failure the store is closed, and left alone for a while. A store that failed to write has
    recovered when it writes again, since a full disk can still be read.

    :param open_store: makes the store on first use. What it raises is a failure like any other.
    :param url: the name of the store in warnings and events, where passwords are left out.
    :param namespace: a text that separates deployments on one store.
    :param retry_after: seconds for which a store that failed is left alone.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        url: str,
        *,
        namespace: str = "",
        retry_after: float = RETRY_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url: str = without_passwords(url)
        self._scrubbed: Callable[[str], str] = partial(scrubbed, url=url, options={})
        self._open = open_store
        self._store: Store | None = None
        self._made: list[Store] = []
        self._scope = f"{namespace}/" if namespace else ""
        self._clock = clock
        self._breaker = CircuitBreaker(retry_after=retry_after, clock=clock)
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
        """Whether the store failed, and has not recovered."""
        return self._breaker.is_open

    def lookup(
        self, key: str, *, scopes: Sequence[str] = (), required: bool = False
    ) -> Result | Claim | None:
        """Do :meth:`.Store.lookup`."""
        return self._ask(Store.lookup, None, required, key, scopes=scopes)

    def lookup_indexed(self, index: str) -> Result | Claim | None:
        """Look up the key that :meth:`complete` has stored under *index*."""
        noted = self.lookup(index)
        if not isinstance(noted, Result):
            return None
        # The store knows the key by its name with the namespace.
        return self.lookup(noted.payload.decode(errors="replace").removeprefix(self._scope))

    def lookup_or_claim(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        expires: float | None = None,
        goes_out: bool = False,
        lapsed: Claim | None = None,
        scopes: Sequence[str] = (),
        fresh: bool = False,
        rerun: bool = False,
        joins: bool = True,
        required: bool = False,
    ) -> Result | Claim | None:
        """Do :meth:`.Store.lookup_or_claim`."""
        return self._ask(
            Store.lookup_or_claim,
            None,
            required,
            key,
            owner,
            lease,
            expires=expires,
            goes_out=goes_out,
            lapsed=lapsed,
            scopes=scopes,
            fresh=fresh,
            rerun=rerun,
            joins=joins,
        )

    def claim(
        self,
        key: str,
        owner: str,
        delivery: str,
        lease: float,
        *,
        called: float | None = None,
        waited_for: str | None = None,
        lapsed: Claim | None = None,
        scopes: Sequence[str] = (),
        fresh: bool = False,
        required: bool = False,
    ) -> Result | Claim | None:
        """Do :meth:`.Store.claim`."""
        return self._ask(
            Store.claim,
            None,
            required,
            key,
            owner,
            delivery,
            lease,
            called=called,
            waited_for=waited_for,
            lapsed=lapsed,
            scopes=scopes,
            fresh=fresh,
        )

    renew: ClassVar[Callable[..., bool]] = _verb(Store.renew, False)
    complete: ClassVar[Callable[..., bool]] = _verb(Store.complete, False)
    release: ClassVar[Callable[..., bool]] = _verb(Store.release, False)
    forget: ClassVar[Callable[..., bool]] = _verb(Store.forget, False)
    forgotten: ClassVar[Callable[..., float | None]] = _verb(Store.forgotten, None)
    entry: ClassVar[Callable[..., Entry]] = _verb(Store.entry, NOTHING)

    def leave(self, key: str, owner: str, seat: str, *, required: bool = False) -> bool | None:
        """Do :meth:`.Store.leave`."""
        return self._ask(Store.leave, False, required, key, owner, seat)

    def forget_scope(self, scope: str, *, ttl: float | None) -> bool:
        """Do :meth:`.Store.forget_scope`. Return whether the store did."""
        return self._ask(Store.forget_scope, False, False, scope, ttl=ttl) is None

    def count(self, key: str, amounts: Mapping[str, float], *, ttl: float) -> bool:
        """Do :meth:`.Store.count`. Return whether the store did."""
        return self._ask(Store.count, False, False, key, amounts, ttl=ttl) is None

    def counts(self, prefix: str = "") -> list[tuple[str, Mapping[str, float]]]:
        """Return what :meth:`.Store.counts` yields; nothing without the store."""
        found: list[tuple[str, Mapping[str, float]]] = self._guarded(
            lambda store: list(store.counts(self._scope + prefix)), [], writes=False
        )
        return [(key.removeprefix(self._scope), amounts) for key, amounts in found]

    def release_later(self, key: str, owner: str, delivery: str | None, until_seconds: float) -> None:
        """Do :meth:`.Store.release` as soon as the store answers; it lapses after *until_seconds* anyway."""
        end = time.monotonic() + until_seconds

        def try_again() -> None:
            try:
                self._ask(Store.release, False, True, key, owner, delivery)
            except StoreError:
                if time.monotonic() < end:
                    call_at(time.monotonic() + BETWEEN_TRIES, try_again)

        try_again()

    def entries(self, prefix: str = "") -> list[tuple[str, Entry]]:
        """Return what :meth:`.Store.entries` yields; nothing without the store."""
        found: list[tuple[str, Entry]] = self._guarded(
            lambda store: list(store.entries(self._scope + prefix)), [], writes=False
        )
        return [(key.removeprefix(self._scope), entry) for key, entry in found]

    def close(self) -> None:
        self._identity = (None, 0, 0.0)
        if self._store is not None:
            with suppress(Exception):
                self._store.close()

    def _ask(
        self,
        verb: Callable[Concatenate[Store, str, P], T],
        otherwise: U,
        required: bool,
        key: str,
        /,
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T | U:
        name = verb.__name__
        if self._scope:
            key = self._scope + key
            if options.get("index") is not None:
                options["index"] = f"{self._scope}{options['index']}"
            scopes: Any = options.get("scopes")
            if scopes:
                options["scopes"] = [f"{self._scope}{scope}" for scope in scopes]
        ask = methodcaller(name, key, *arguments, **options)
        return self._guarded(ask, otherwise, writes=name not in _READS, required=required)

    def _guarded(
        self, ask: Callable[[Store], T], otherwise: U, *, writes: bool = True, required: bool = False
    ) -> T | U:
        if self._breaker.is_open and not self._breaker.lets_through():
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
        except UnicodeEncodeError as error:
            # Nor does a text with lone surrogates, which no caller of ours makes.
            rare_warnings.warn(logger, "text", "the store %s cannot hold a text: %s", self.url, error)
            return self._without_answer(otherwise, required)
        except Exception as error:
            self._fail(error, writes)
            return self._without_answer(otherwise, required)
        if self._breaker.is_open:
            # An operation that changed nothing has not shown that the store can be written.
            self._answered(writes and answer is not False)
        return answer

    def _without_answer(self, otherwise: U, required: bool) -> U:
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
                "the store %s failed (%s); tasks run, but share nothing until it works again",
                self.url,
                self._scrubbed(shown_error(error)),  # A driver may quote any part of the URL.
            )
            events.emit(events.store_unavailable, self.url, error=error)

    def _answered(self, writes: bool) -> None:
        if self._cannot_write and not writes:
            self._breaker.retry()  # The next caller may be the one that writes.
        elif self._breaker.answered():
            logger.info("the store %s works again", self.url)
            events.emit(events.store_recovered, self.url)


def check_namespace(namespace: str) -> str:
    """Return *namespace* if it can stand before a key without being taken for part of it.

    :raises ValueError: otherwise.
    """
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ValueError("letters, digits and . _ - only")
    return namespace
