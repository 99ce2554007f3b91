"""The store contract: where claims and results live. The docstrings here are the contract.

A *key* names all identical calls. Under a key a store holds at most one *claim* and at most one *result*.

* A *queued* claim says that a message of its owner is on its way to a worker. Callers may join that message.
* A *running* claim belongs to one *delivery* of a message. It holds back every other delivery.
* Behind a running claim there may be a queued one, the *next*. When the first ends, it is the claim.

Keys that are forgotten together have a *scope*, whose name is no key. Operations that look for a result take
the scopes of the key. A run is *forgotten* if it began before its key, or a scope of it, was last forgotten.
Its result answers only calls that were made before it began. Where the clock shows the same time for both,
the run is forgotten.

Keys, owners and deliveries are text. A payload is bytes that a store does not look into. Durations are
seconds. Times are Unix times by the store's own clock, where it has one. So the clocks of hosts need not
agree.

Each operation is atomic: threads, processes and hosts that use a store at once do so in some order. An
operation that cannot be carried out raises. An entry that cannot be read counts as absent.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from ..support.redaction import without_passwords
from .entry import Claim, Entry, Result
from .numbers import number_or_text

__all__ = ["Store"]


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
    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Result | Claim | None:
        """Return a result that answers new callers, or else the live claim, or else ``None``.

        Nothing changes. A live next claim is the claim as soon as the one before it has lapsed.

        :param scopes: the scopes that the key belongs to.
        """

    @abc.abstractmethod
    def entry(self, key: str, *, scopes: Sequence[str] = ()) -> Entry:
        """Return the live claim, with its *next*, and a result that answers new callers or is stale.

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
        scopes: Sequence[str] = (),
        fresh: bool = False,
        rerun: bool = False,
        joins: bool = True,
    ) -> Result | Claim:
        """Return what answers the call of *owner*, or else claim the key for its message.

        The first of these that applies decides:

        * A result that answers new callers is returned, unless the call is *fresh*, or is a *rerun* while
          there is a live running claim.
        * A stale result is returned if there is a live claim that can be joined, with the same exceptions. If
          that is the claim of *owner*, its ``renewal`` says so.
        * A live running claim is returned. If the call is *fresh* or a *rerun*, or the claim cannot be
          joined, a next claim is behind it in the answer: the live one that is there, or else a new one of
          *owner*. A call whose own message expires gets no new one.
        * A live queued claim of *owner* itself is returned.
        * A live queued claim that can be joined is returned, if its message does not expire before this call
          would. For a *fresh* call that claim has to be fresh as well.
        * Otherwise *owner* gets a queued claim. It replaces all others, and is awaited if one of them was
          awaited, or had another owner. If a stale result is there, and the call is not *fresh*, that result
          is returned with *owner* as its ``renewal``.

        A claim cannot be joined if its run is forgotten, or if everybody has left it (:meth:`leave`).

        A new claim that is next, is to renew a result, or is that of a *fresh* call, is fresh itself.

        A caller that gets the claim of another owner, and whose message does not go out, has joined that.
        Where that claim cannot be joined, and for a *fresh* call, it has joined the next one, if any.

        :param lease: seconds for which the new claim lasts.
        :param expires: seconds until this call's own message expires; ``None`` for never.
        :param goes_out: whether the message of *owner* goes out whatever the answer is. A claim of another
            owner, and any running claim, is then marked as awaited: that message will ask for its result.
        :param lapsed: a claim that counts as lapsed if the key still has it: the caller knows that its owner
            ended.
        :param scopes: the scopes that the key belongs to.
        :param fresh: whether only a run that begins from now on answers the call.
        :param rerun: whether one more run is wanted after the present one, which the call joins.
        :param joins: whether the caller counts as one that joins.
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
        scopes: Sequence[str] = (),
        fresh: bool = False,
    ) -> Result | Claim:
        """Decide what a delivery does: it is answered, it waits, or it runs.

        The first of these that applies decides:

        * A result that :meth:`Result.answers` this call is returned: the run is served. That of a forgotten
          run answers only a call that was made before the run began.
        * A stale result is returned if another delivery has a live running claim on which this one can rely,
          unless the call is *fresh*.
        * A live running claim of another delivery, under whatever owner, is returned: this delivery waits.
          If it can rely on that claim, it marks it as awaited. Otherwise its owner gets a next claim, or it
          marks the live next one of another as awaited.
        * Otherwise the key belongs to this delivery from now on, for *lease* seconds. Its new running claim
          is returned. It is awaited if it displaced a claim, or a next one, that was running, awaited, or of
          another owner. It keeps who joined and left *owner* before. Any next claim is dropped.

        A delivery can rely on each run that began after its call. It cannot rely on an earlier one if it is
        *fresh*, or if the claim of that run cannot be joined.

        The running claim of this very delivery is renewed, and keeps its ``since`` and its mark.

        :param called: when the call was made, by this store's clock; ``None`` for now.
        :param waited_for: the owner for whose result this delivery waited.
        :param lapsed: as for :meth:`lookup_or_claim`.
        :param scopes: the scopes that the key belongs to.
        :param fresh: whether only a run that began after the call answers it.
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
        stale_for: float = 0.0,
        scopes: Sequence[str] = (),
        index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:
        """Store the result of a run, and drop the claim of *owner*.

        Refused with ``False``, changing nothing, if *delivery* does not have the claim and

        * another delivery has a live running claim, or
        * a result that answers new callers is there, unless that is a failure and this a success, or
        * a result that still answers others is there, and its run began after this one.

        Also if this is a failure, or answers no new callers, and a success is there that does or is stale.

        So a late owner never overwrites what came after it. A queued claim of another owner stays. A next
        claim becomes the claim, unless it is of *owner*: that is dropped as well. The result of a forgotten
        run answers no new callers, and is never stale. Nor does a forgotten result refuse anything.

        :param delivery: the token of the delivery; ``None`` for a result that no run computed.
        :param ttl: seconds for which the result answers new callers; ``None`` for ever, ``0`` not at all.
        :param kept_for: seconds for which it answers calls that were made before the run began, and those
            that waited. Without effect if there is no claim, or if *delivery* has one that is not awaited.
        :param ran_for: seconds that the run took. Without effect if *delivery* has the claim, which knows
            better.
        :param stale_for: seconds for which it is handed out after *ttl*, while another run renews it.
        :param scopes: the scopes that the key belongs to.
        :param index: another key. If this result is stored, a copy of it that has *key* as its payload is
            stored there, whatever result was there before, unless the run is forgotten under that key. Both
            are one step where the storage can do that.
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

        A next claim becomes the claim. Without one, a claim that was awaited is remembered as a queued one
        that lapses now. So the next run keeps its result for those messages. An awaited queued claim that has
        lapsed is one of these already. A claim that is requeued keeps who joined and left, and its next one.

        If the claim is not that one, the next claim of *owner* is given up in the same way.
        """

    @abc.abstractmethod
    def forget(self, key: str) -> bool:
        """Drop the result. Return whether there was one that answers new callers or is stale.

        A claim, live or lapsed, stays: its run goes on, and is forgotten. The store remembers that for an
        hour, and for as long as it knows the claim. It does not know of a run that has no claim.
        """

    @abc.abstractmethod
    def forget_scope(self, scope: str, *, ttl: float | None) -> None:
        """Forget all keys of *scope*, in constant time, and all runs of them that have begun.

        :param ttl: seconds for which the store has to know that; ``None`` for ever. Results that last longer
            come back. If the scope was forgotten before, the longer time counts.
        """

    @abc.abstractmethod
    def forgotten(self, scope: str) -> float | None:
        """Return when *scope* was last forgotten; ``None`` if never, or if nothing is left to know it for."""

    @abc.abstractmethod
    def leave(self, key: str, owner: str, seat: str) -> bool | None:
        """Note that a caller wants the result of *owner* no more. Return whether it was the last one.

        The last one is known by number: as many have left as have joined, and the owner. Then a queued claim
        is dropped, and nobody joins a running one any more. Without a change, the answer is ``None`` if
        *owner* has neither the claim nor the next one, live or lapsed. It is ``True`` again if everybody and
        that *seat* have left before, since revoking may have failed. It is ``False`` if that *seat*, or else
        everybody, has left before, or if the claim is awaited.

        :param seat: the name of the caller: the task id of the owner, or what one that joined chose.
        """

    @abc.abstractmethod
    def count(self, key: str, amounts: Mapping[str, float], *, ttl: float) -> None:
        """Add *amounts* to the numbers under *key*, which no call has. They are kept for *ttl* seconds."""

    @abc.abstractmethod
    def counts(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield the numbers under each key that starts with *prefix*, in no order."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield what :meth:`entry` finds under each key that starts with *prefix*, in no order.

        Keys without a live claim and a result that answers new callers or is stale are left out. Scopes are
        not known here: see :meth:`forgotten`. What changes meanwhile may or may not be seen.
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
        given = {name: number_or_text(value) for name, value in parse_qsl(query)}
        return cls(address, **{**options, **given})
