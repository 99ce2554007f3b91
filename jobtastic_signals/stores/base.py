"""What a store is: where claims and results live. The docstrings here are the contract.

A *key* names everything identical to one call. Under a key a store holds at most one *claim*, the task
id that is computing it with a lease, and at most one *result*. Keys and owners are text; results are
bytes that a store does not look into; durations are seconds.

Each operation is atomic: whatever threads, processes and hosts do at once, they do it in some order.
An operation that cannot be carried out raises; it never pretends.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from ..support.redaction import without_passwords

__all__ = ["Claim", "Result", "Store"]


@dataclass(frozen=True)
class Claim:
    """*owner* is computing the key until *expires* (Unix time); after that it is taken for dead.

    *waited* says that another caller relies on this owner's result. *previous* is set on the claim that
    :meth:`Store.admit` has just granted: the owner whose lapsed or stale claim it replaced.
    """

    owner: str
    expires: float
    waited: bool = False
    previous: str | None = None


@dataclass(frozen=True)
class Result:
    """What *owner* computed.

    *expires* (Unix time, ``None`` for never) is when it stops to answer new callers. Those who waited for
    this very owner may collect it until *kept*.
    """

    owner: str
    payload: bytes
    expires: float | None
    kept: float | None

    def answers(self, waited_for: str | None, now: float) -> bool:
        """Whether this result may be given to a caller who waited for *waited_for*, or for nobody."""
        until = self.kept if waited_for == self.owner else self.expires
        return until is None or now < until


class Store(abc.ABC):
    """Base of all stores.

    Stores are made per process, and must work in a child forked from a process that used them.
    """

    #: The URL scheme(s) by which the store is chosen.
    schemes: ClassVar[tuple[str, ...]]

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        #: What to call the store: *url* without its passwords.
        self.url = without_passwords(url)
        self._clock = clock

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """The same text in two processes exactly if they share what is stored."""

    @abc.abstractmethod
    def lookup(self, key: str) -> Result | Claim | None:
        """What a new caller would find: a result that answers it, else a live claim, else ``None``."""

    def ask(self, key: str, owner: str, lease: float) -> Result | Claim:
        """What a new caller would find, or else *owner*'s claim: as :meth:`admit` for one that does not wait.

        *owner* is an id that nobody has used before. To look first is cheaper where that needs neither a lock
        nor a round trip.
        """
        return self.lookup(key) or self.admit(key, owner, lease, waits=False)

    @abc.abstractmethod
    def admit(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        waited_for: str | None = None,
        stale: str | None = None,
        waits: bool = True,
    ) -> Result | Claim:
        """Decide what becomes of *owner*'s call, and claim the key for it if it is to run.

        * A result that answers it, also one kept for those who waited for *waited_for*: that result.
        * A live claim of somebody else: that claim, marked as waited if the call *waits* for what is settled.
        * Otherwise the key is *owner*'s from now on, for *lease* seconds: its own new claim.

        A claim of *owner* itself is renewed and stays marked. A claim of *stale* counts as lapsed; so the
        caller says that it saw that owner's task end.
        """

    @abc.abstractmethod
    def extend(self, key: str, owner: str, lease: float) -> bool:
        """Let *owner*'s live claim last *lease* seconds from now. ``False``, and no change, without one."""

    @abc.abstractmethod
    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        """Store *owner*'s result and release its claim.

        Refused with ``False``, changing nothing, when the key is claimed by somebody else, or when it is
        not claimed by *owner* and a result that answers new callers is there: a late owner never
        overwrites what came after it. A lapsed claim that nobody took over is still its owner's.

        :param ttl: seconds for which the result answers new callers; ``None`` for ever, ``0`` not at all.
        :param handover: seconds for which those who waited for *owner* may collect the result at least;
            without effect if nobody did.
        """

    @abc.abstractmethod
    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        """Give up *owner*'s claim, lapsed or not.

        ``False``, and no change, if the claim is not *owner*'s: so a second release does nothing. With
        *unless_waited* also if somebody waits for it.
        """

    @abc.abstractmethod
    def forget(self, key: str) -> bool:
        """Drop the result; ``False`` if there was none. A claim stays: its run goes on, and settles."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        """What :meth:`lookup` finds under each key that starts with *prefix*, in no order.

        What changes meanwhile may or may not be seen.
        """

    def close(self) -> None:  # noqa: B027  # a store may have nothing to close
        """Let go of files and connections. The store opens them again when it is used again."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Store:
        """A store for *url*; *options* are the keyword arguments of the class, and the query adds to them.

        :raises TypeError: for an option that the store does not take, or not with that value.
        """
        address, _, query = url.partition("?")
        given = {name: _number(value) for name, value in parse_qsl(query)}
        return cls(address, **{**options, **given})


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
