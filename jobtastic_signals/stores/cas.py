"""The base of stores that keep a key's entry in one record, and change it in one step: the operations.

A store on this base says how a record is read and exchanged: see :mod:`.exchanging`. All operations of the
contract are here, once, and :mod:`.rules` and :mod:`.endings` decide them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from . import endings, rules
from .entry import NOTHING, Claim, Entry, Result
from .exchanging import Decision, ExchangingStore
from .records import Pieces
from .values import replace

__all__ = ["CompareAndSwapStore", "Decision", "Entry", "Pieces"]

T = TypeVar("T")


class CompareAndSwapStore(ExchangingStore):
    """A store that implements :attr:`identity`, :meth:`read`, :meth:`exchange` and :meth:`scan`.

    A store whose records have a largest size sets :attr:`inline_size`, and implements the three methods for
    pieces. :meth:`dump` and :meth:`load` turn entries into bytes and back.

    The marks of scopes are read before an exchange and after a lookup: no storage has to read one key while
    it changes another. So an operation that begins after :meth:`forget_scope` has returned knows of it. Most
    often they do not matter. So the first exchange goes without them, and changes nothing if they do.
    """

    #: Whether :meth:`lookup_or_claim` looks first, since an exchange costs far more.
    looks_first: ClassVar[bool] = False

    #: Whether nobody else changes anything during an exchange. Then it reads the marks that matter.
    exchanges_alone: ClassVar[bool] = False

    def first_look(self, key: str, scopes: Sequence[str]) -> Result | Claim | None:
        """Return what :meth:`lookup` does. It may miss a claim, since the exchange does not."""
        return self.lookup(key, scopes=scopes)

    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Result | Claim | None:
        entry, now = self._read_whole(key)
        return rules.lookup(entry, now, forgotten=self._forgotten(entry, scopes))

    def entry(self, key: str, *, scopes: Sequence[str] = ()) -> Entry:
        entry, now = self._read_whole(key)
        return rules.show(entry, now, forgotten=self._forgotten(entry, scopes))

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
        found, may_change_nothing = None, goes_out or not joins
        if self.looks_first and not (fresh or rerun or may_change_nothing):
            found = self.first_look(key, scopes)
            if isinstance(found, Result):
                return found
        decide = partial(
            rules.lookup_or_claim,
            owner=owner,
            lease=lease,
            expires=expires,
            goes_out=goes_out,
            lapsed=lapsed,
            fresh=fresh,
            rerun=rerun,
            joins=joins,
        )
        if self.looks_first and may_change_nothing:
            entry, now = self._read_whole(key)
            answer, after = decide(entry, now, forgotten=self._forgotten(entry, scopes))
            if after is entry:  # Nobody has to be counted or marked, so nothing has to be written.
                return answer
        return self._decided(key, scopes, decide, is_known=found is not None)

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
        decide = partial(
            rules.claim,
            owner=owner,
            delivery=delivery,
            lease=lease,
            called=called,
            waited_for=waited_for,
            lapsed=lapsed,
            fresh=fresh,
        )
        return self._decided(key, scopes, decide)

    def renew(self, key: str, owner: str, delivery: str, lease: float, *, ran_for: float = 0.0) -> bool:
        decide = partial(rules.renew, owner=owner, delivery=delivery, lease=lease, ran_for=ran_for)
        return self._exchanged(key, decide, needs_payload=False)

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
        result: Result | None = None

        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            nonlocal result
            options: dict[str, Any] = {"kept_for": kept_for, "ran_for": ran_for, "stale_for": stale_for}
            options.update(ttl=ttl, state=state, forgotten=forgotten)
            is_allowed, after = endings.complete(entry, now, owner, delivery, payload, **options)
            result = None if after.result is entry.result else after.result
            return is_allowed, after

        with self.in_one_step():
            forgotten = self._last_forgotten(scopes)
            is_allowed = self._exchanged(key, decide)
            if index is not None and result is not None:
                copy = result.as_index(key, index_ttl)
                if copy is not None:
                    self._exchanged(index, partial(endings.index, result=copy))
        return is_allowed

    def release(
        self,
        key: str,
        owner: str,
        delivery: str | None,
        *,
        requeue: float = 0.0,
        unless_awaited: bool = False,
    ) -> bool:
        decide = partial(
            endings.release, owner=owner, delivery=delivery, requeue=requeue, unless_awaited=unless_awaited
        )
        return self._exchanged(key, decide, needs_payload=False)

    def forget(self, key: str) -> bool:
        return self._exchanged(key, endings.forget)

    def forget_scope(self, scope: str, *, ttl: float | None) -> None:
        self._exchanged(scope, partial(endings.forget_scope, ttl=ttl))

    def forgotten(self, scope: str) -> float | None:
        return self._last_forgotten([scope])

    def leave(self, key: str, owner: str, seat: str) -> bool | None:
        return self._exchanged(key, partial(endings.leave, owner=owner, seat=seat), needs_payload=False)

    def count(self, key: str, amounts: Mapping[str, float], *, ttl: float) -> None:
        self._exchanged(key, lambda entry, now: (None, entry.counted(now, amounts, ttl)))

    def counts(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, float]]]:
        for key, entry in self.scan(prefix):
            known = entry.without_ended(self._clock()).counts
            if known is not None:
                yield key, known.amounts

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        for key, entry in self.scan(prefix):
            found = rules.show(self._with_payload(entry), self._clock())
            if found:
                yield key, found

    def _decided(
        self, key: str, scopes: Sequence[str], decide: Callable[..., tuple[T, Entry]], is_known: bool = False
    ) -> T:
        """Exchange the entry of *key* by a rule that takes when one of *scopes* was forgotten.

        :param is_known: whether something is known to be under the key, so that this probably matters.
        """
        if self.exchanges_alone:
            return self._exchanged(
                key, lambda entry, now: decide(entry, now, forgotten=self._forgotten(entry, scopes))
            )

        def decide_unless_it_matters(entry: Entry, now: float) -> tuple[T | None, Entry]:
            matters = scopes and entry is not NOTHING and entry.can_be_forgotten
            return (None, entry) if matters else decide(entry, now)

        answer = None if is_known else self._exchanged(key, decide_unless_it_matters)
        if answer is not None:
            return answer
        return self._exchanged(key, partial(decide, forgotten=self._last_forgotten(scopes)))

    def _exchanged(self, key: str, decide: Decision[T], *, needs_payload: bool = True) -> T:
        """Exchange the entry of *key* by a decision on what is whole and has not ended."""

        def decide_on_known(entry: Entry, now: float) -> tuple[T, Entry]:
            if entry is NOTHING:
                return decide(entry, now)
            whole = self._with_payload(entry) if needs_payload else entry
            known = whole.without_ended(now)
            answer, after = decide(known, now)
            is_lost = whole.result is None and entry.result is not None
            if after is known and not is_lost:
                return answer, entry  # As it was.
            if after.result is not None and after.result is whole.result:
                after = replace(after, result=entry.result)
            return answer, after

        if self.inline_size is None:
            return self.exchange(key, decide_on_known)
        return self._exchanged_with_pieces(key, decide_on_known)
