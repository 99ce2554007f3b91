"""The store contract: where claims and results live. The docstrings here are the contract.

A *key* names all identical calls. Under a key a store holds at most one *claim* and at most one *result*.

* A *queued* claim says that a message of its owner is on its way to a worker. Callers may join that message.
* A *running* claim belongs to one *delivery* of a message. It holds back every other delivery.

Keys, owners and deliveries are text. A payload is bytes that a store does not look into. Durations are
seconds. Times are Unix times by the store's own clock, where it has one. So the clocks of hosts need not
agree.

Each operation is atomic: threads, processes and hosts that use a store at once do so in some order. An
operation that cannot be carried out raises. An entry that cannot be read counts as absent.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from ..support.redaction import without_passwords

__all__ = ["FORMAT_VERSION", "REMEMBERED_FOR", "Claim", "Result", "Store"]

#: The version of the records that this package writes. A reader ignores fields that it does not know. A
#: record of another version counts as absent.
FORMAT_VERSION = 1

#: Seconds for which a store remembers a claim after its lease has lapsed. Then it is as if it never was.
REMEMBERED_FOR = 3600.0


@dataclass(frozen=True)
class Claim:
    """One owner's hold on a key.

    :ivar owner: the task id that has the claim.
    :ivar expires: when the lease lapses. The claim is live before that time, and lapsed from then on.
    :ivar since: when a queued claim was made, or when the run of a running claim began.
    :ivar delivery: the token of the delivery that runs; ``None`` for a queued claim.
    :ivar awaited: whether other messages rely on the result of this run: one that waits, or one whose claim
        this one displaced.
    :ivar message_expires: when the message of a queued claim expires; ``None`` for never.
    :ivar previous: the owner whose claim this one displaced. Only the answer that grants the claim has it.
    :ivar at: when the store gave this answer. It does not count when claims are compared.
    """

    owner: str
    expires: float
    since: float
    delivery: str | None = None
    awaited: bool = False
    message_expires: float | None = None
    previous: str | None = None
    at: float = field(default=0.0, compare=False)

    @property
    def is_running(self) -> bool:
        """Whether a delivery runs under this claim."""
        return self.delivery is not None

    def is_same_hold(self, other: Claim | None) -> bool:
        """Return whether *other* has the same owner and the same delivery."""
        return other is not None and (self.owner, self.delivery) == (other.owner, other.delivery)


@dataclass(frozen=True)
class Result:
    """The outcome of one run.

    :ivar owner: the task id that ran.
    :ivar payload: the value, or the exception, in the format of the result serializer.
    :ivar state: Celery's name of the outcome, ``"SUCCESS"`` or ``"FAILURE"``.
    :ivar began: when the run began.
    :ivar ended: when the result was stored.
    :ivar expires: when it stops to answer new callers; ``None`` for never.
    :ivar kept: when it stops to answer calls that were made before the run began; ``None`` for never.
    :ivar at: when the store gave this answer. It does not count when results are compared.
    """

    owner: str
    payload: bytes
    state: str
    began: float
    ended: float
    expires: float | None
    kept: float | None
    at: float = field(default=0.0, compare=False)

    def answers_new_callers(self, now: float) -> bool:
        """Return whether this result answers a call that is made *now*."""
        return self.expires is None or now < self.expires

    def answers(self, now: float, called: float | None, waited_for: str | None) -> bool:
        """Return whether this result answers a call.

        It answers new callers until it expires. Until :attr:`kept` it also answers each call that was made
        before the run began, and each call that waited for this owner.

        :param called: when the call was made; ``None`` for now.
        :param waited_for: the owner for whose result the call waited; ``None`` for nobody's.
        """
        if self.answers_new_callers(now):
            return True
        is_earlier_call = called is not None and called < self.began
        return (is_earlier_call or waited_for == self.owner) and (self.kept is None or now < self.kept)


class Store(abc.ABC):
    """Base of all stores.

    A store is made once per process. It must also work in a child that is forked from a process that uses it.
    """

    #: The URL scheme(s) by which the store is chosen.
    schemes: ClassVar[tuple[str, ...]]

    #: Why no other process can share this store; empty if others can, or if its URL shows it.
    unshared = ""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        #: The name of the store in messages: *url* without its passwords.
        self.url: str = without_passwords(url)
        if not callable(clock):
            raise TypeError("clock is not a function")
        self._clock = clock

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """A text that is the same in two processes exactly if they share what is stored."""

    @abc.abstractmethod
    def lookup(self, key: str) -> Result | Claim | None:
        """Return a result that answers new callers, or else the live claim, or else ``None``.

        Nothing changes.
        """

    @abc.abstractmethod
    def lookup_or_claim(
        self,
        key: str,
        owner: str,
        lease: float,
        *,
        expires: float | None = None,
        goes_out: bool = False,
        lapsed: Claim | None = None,
    ) -> Result | Claim:
        """Return what answers the call of *owner*, or else claim the key for its message.

        The first of these that applies decides:

        * A result that answers new callers is returned.
        * A live running claim is returned.
        * A live queued claim of *owner* itself is returned.
        * A live queued claim is returned if its message does not expire before this call would.
        * Otherwise *owner* gets a queued claim. It replaces any other, and is awaited if that was awaited, or
          had another owner.

        :param lease: seconds for which the new claim lasts.
        :param expires: seconds until this call's own message expires; ``None`` for never.
        :param goes_out: whether the message of *owner* goes out whatever the answer is. A claim of another
            owner is then marked as awaited, since that message will ask for its result.
        :param lapsed: a claim that counts as lapsed if the key still has it: the caller knows that its owner
            ended.
        """

    @abc.abstractmethod
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
    ) -> Result | Claim:
        """Decide what a delivery does: it is answered, it waits, or it runs.

        The first of these that applies decides:

        * A result that :meth:`Result.answers` this call is returned: the run is served.
        * A live running claim of another delivery, under whatever owner, is marked as awaited and returned:
          this delivery waits.
        * Otherwise the key belongs to this delivery from now on, for *lease* seconds. Its new running claim
          is returned. It is awaited if it displaced the claim of another owner or delivery, or one that was
          awaited.

        The running claim of this very delivery is renewed, and keeps its ``since`` and its mark.

        :param called: when the call was made, by this store's clock; ``None`` for now.
        :param waited_for: the owner for whose result this delivery waited.
        :param lapsed: as for :meth:`lookup_or_claim`.
        """

    @abc.abstractmethod
    def renew(self, key: str, owner: str, delivery: str, lease: float, *, ran_for: float = 0.0) -> bool:
        """Let the running claim of *delivery* last *lease* seconds from now.

        A claim that lapsed, was lost, or was never made is regained, unless another delivery has a live
        running claim, or there is the result of a run that began after this one. Then the answer is
        ``False``, and nothing changes.

        :param ran_for: seconds for which the run has gone on. A claim that the store does not know began that
            long ago.
        """

    @abc.abstractmethod
    def complete(
        self,
        key: str,
        owner: str,
        delivery: str | None,
        payload: bytes,
        *,
        ttl: float | None,
        state: str = "SUCCESS",
        kept_for: float = 0.0,
        ran_for: float = 0.0,
        index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:
        """Store the result of a run, and drop the claim of *owner*.

        Refused with ``False``, changing nothing, if *delivery* does not have the claim and

        * another delivery has a live running claim, or
        * a result that answers new callers is there, or one that still answers others and whose run began
          after this one.

        So a late owner never overwrites what came after it. A queued claim of another owner stays.

        :param delivery: the token of the delivery; ``None`` for a result that no run computed.
        :param ttl: seconds for which the result answers new callers; ``None`` for ever, ``0`` not at all.
        :param kept_for: seconds for which it answers calls that were made before the run began, and those
            that waited. Without effect if there is no claim, or if *delivery* has one that is not awaited.
        :param ran_for: seconds that the run took. Without effect if *delivery* has the claim, which knows
            better.
        :param index: another key. If this result is stored, a copy of it that has *key* as its payload is
            stored there, whatever result was there before. Both are one step where the storage can do that.
        :param index_ttl: seconds for which that copy lasts; ``None`` for as long as *ttl*.
        """

    @abc.abstractmethod
    def release(
        self,
        key: str,
        owner: str,
        delivery: str | None,
        *,
        requeue: float = 0.0,
        unless_awaited: bool = False,
    ) -> bool:
        """Give up the claim of *owner*, live or lapsed.

        ``False``, and no change, if the claim is not that one. So a second release does nothing.

        :param delivery: ``None`` gives up a queued claim only. A text also gives up a running claim, if its
            token starts with that text: a whole token names one delivery, the part before ``/`` all of a
            worker, and an empty text any.
        :param requeue: seconds for which the claim stays, as a queued one, since the owner's next message is
            on its way.
        :param unless_awaited: refuse if the claim is awaited.

        A claim that was awaited is remembered as a queued one that lapses now. So the next run keeps its
        result for those messages. An awaited queued claim that has lapsed is one of these already.
        """

    @abc.abstractmethod
    def forget(self, key: str) -> bool:
        """Drop the result. Return whether there was one that answers new callers.

        A claim stays: its run goes on, and its result is stored.
        """

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        """Yield what :meth:`lookup` finds under each key that starts with *prefix*, in no order.

        What changes meanwhile may or may not be seen.
        """

    def close(self) -> None:  # noqa: B027  # a store may have nothing to close
        """Let go of files and connections. The store opens them again when it is used again."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Store:
        """Return a store for *url*.

        The query of the URL adds to *options*, the keyword arguments of the class.

        :raises TypeError: for an option that the store does not accept, or not with that value.
        """
        address, _, query = url.partition("?")
        given = {name: _parsed(value) for name, value in parse_qsl(query)}
        return cls(address, **{**options, **given})


def _parsed(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
