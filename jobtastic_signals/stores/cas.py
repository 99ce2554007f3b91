"""The base of stores that keep a key's entry in one record, and change it in one step.

A store on this base says how a record is read and exchanged. All operations of the contract are here, once,
and :mod:`.rules` decides them.

A payload too large for a record can lie beside it in *pieces*, under a name that is never used again. They
are written before the record that names them. So a lost piece makes a result missing, and never wrong.
"""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeVar

from . import records, rules
from .base import Claim, Result, Store
from .records import Pieces, ResultInPieces
from .rules import NOTHING, Entry

__all__ = ["CompareAndSwapStore", "Decision", "Entry", "Pieces"]

T = TypeVar("T")

#: Bytes of the largest payload in pieces. A record that names more pieces is not read.
LARGEST_PAYLOAD = 2**30

#: Given an entry and the time, returns the answer of an operation and the entry afterwards.
Decision: TypeAlias = Callable[[Entry, float], tuple[T, Entry]]


class CompareAndSwapStore(Store):
    """A store that implements :attr:`identity`, :meth:`read`, :meth:`exchange` and :meth:`scan`.

    A store whose records have a largest size sets :attr:`inline_size`, and implements the three methods for
    pieces. :meth:`dump` and :meth:`load` turn entries into bytes and back.
    """

    #: Bytes of the largest payload that lies in a record; ``None`` for any size.
    inline_size: ClassVar[int | None] = None

    #: Bytes of a piece.
    piece_size: ClassVar[int] = 500_000

    #: Whether :meth:`lookup_or_claim` tries :meth:`lookup` first, since an exchange costs far more.
    looks_first: ClassVar[bool] = False

    @abc.abstractmethod
    def read(self, key: str) -> Entry:
        """Return what is stored under *key*; an empty entry if nothing is."""

    @abc.abstractmethod
    def exchange(self, key: str, decide: Decision[T]) -> T:
        """Replace the entry of *key* by what *decide* makes of it at this time, and return the answer.

        Nobody else may change the entry between reading and writing. A store without locks calls *decide*
        again if somebody did. An entry that *decide* returns as it was need not be written. An empty one is
        removed. :meth:`~.rules.Entry.seconds_left` says how long any other has to be kept.
        """

    @abc.abstractmethod
    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Yield each key that starts with *prefix*, with its entry."""

    def in_one_step(self) -> AbstractContextManager[Any]:
        """Make all exchanges inside of it one step, where the storage can do that."""
        return nullcontext()

    def read_pieces(self, pieces: Pieces) -> list[bytes] | None:
        """Return what :meth:`write_pieces` has written; ``None`` if any piece is lost."""
        raise NotImplementedError

    def write_pieces(self, pieces: Pieces, contents: list[bytes], seconds: float | None) -> None:
        """Write *contents* under the names of *pieces*, to be kept for so many seconds."""
        raise NotImplementedError

    def drop_pieces(self, pieces: Pieces) -> None:
        """Drop what nobody can find any more. Raise nothing if that fails."""
        raise NotImplementedError

    def dump(self, entry: Entry) -> bytes:
        """Return *entry* as a record."""
        return records.dump(entry)

    def load(self, key: str, record: bytes | None) -> Entry:
        """Return the entry of a record. One that cannot be read is empty, and logged."""
        if record is None:
            return Entry()
        try:
            return records.load(record, most_pieces=-(-LARGEST_PAYLOAD // self.piece_size))
        except ValueError as error:
            records.warn_of_unreadable(self.url, key, record, error)
            return Entry()

    def lookup(self, key: str) -> Result | Claim | None:
        entry = self.read(key)
        while True:
            # After the entry was read: by an earlier time, what has been stored since would live too long.
            now = self._clock()
            whole = self._with_payload(entry)
            if whole is entry or whole.result is not None:
                break
            before, entry = entry, self.read(key)
            if entry == before:
                break
        return rules.lookup(whole, now)

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
        decide = partial(
            rules.lookup_or_claim, owner=owner, lease=lease, expires=expires, goes_out=goes_out, lapsed=lapsed
        )
        if self.looks_first:
            found = self.lookup(key)
            if isinstance(found, Result):
                return found
            if found is not None:
                answer, after = decide(Entry(found), found.at)
                if after == Entry(found):
                    return answer
        return self._exchanged(key, decide)

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
        decide = partial(
            rules.claim,
            owner=owner,
            delivery=delivery,
            lease=lease,
            called=called,
            waited_for=waited_for,
            lapsed=lapsed,
        )
        return self._exchanged(key, decide)

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
        index: str | None = None,
        index_ttl: float | None = None,
    ) -> bool:
        result: Result | None = None

        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            nonlocal result
            is_allowed, after = rules.complete(
                entry, now, owner, delivery, payload, ttl=ttl, state=state, kept_for=kept_for, ran_for=ran_for
            )
            result = None if after.result is entry.result else after.result
            return is_allowed, after

        with self.in_one_step():
            is_allowed = self._exchanged(key, decide)
            if index is not None and result is not None:
                self._write_index(index, rules.index_of(result, key, index_ttl))
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
            rules.release, owner=owner, delivery=delivery, requeue=requeue, unless_awaited=unless_awaited
        )
        return self._exchanged(key, decide, needs_payload=False)

    def forget(self, key: str) -> bool:
        return self._exchanged(key, rules.forget)

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        for key, entry in self.scan(prefix):
            found = rules.lookup(self._with_payload(entry), self._clock())
            if found is not None:
                yield key, found

    def _exchanged(self, key: str, decide: Decision[T], *, needs_payload: bool = True) -> T:
        """Exchange the entry of *key*. Drop pieces that nobody can find afterwards."""
        before = after = NOTHING
        written: list[Pieces] = []

        def decide_and_write(entry: Entry, now: float) -> tuple[T, Entry]:
            nonlocal before, after
            before = entry
            answer, after = self._decide(entry, now, decide, needs_payload=needs_payload)
            after = self._with_pieces(after, now, written)
            return answer, after

        unused = written
        try:
            answer = self.exchange(key, decide_and_write)
            unused = [*_pieces_of(before), *written]
            unused = [pieces for pieces in unused if pieces not in _pieces_of(after)]
        finally:
            for pieces in unused:
                self.drop_pieces(pieces)
        return answer

    def _decide(
        self, entry: Entry, now: float, decide: Decision[T], *, needs_payload: bool = True
    ) -> tuple[T, Entry]:
        """Decide by what is whole and has not ended. Return an entry that does not change as it was."""
        whole = self._with_payload(entry) if needs_payload else entry
        known = whole.without_ended(now)
        answer, after = decide(known, now)
        is_lost = whole.result is None and entry.result is not None
        if after is known and not is_lost:
            return answer, entry
        if after.result is not None and after.result is whole.result:
            after = replace(after, result=entry.result)
        return answer, after

    def _with_payload(self, entry: Entry) -> Entry:
        """Return *entry* with the payload of its result, or without a result of which a piece is lost."""
        result = entry.result
        if not isinstance(result, ResultInPieces):
            return entry
        contents = self.read_pieces(result.pieces)
        return replace(entry, result=None if contents is None else result.with_payload(b"".join(contents)))

    def _with_pieces(self, entry: Entry, now: float, written: list[Pieces]) -> Entry:
        """Return *entry* with a payload that is too large for a record in pieces. Write them once."""
        result, size = entry.result, self.piece_size
        if result is None or self.inline_size is None or len(result.payload) <= self.inline_size:
            return entry
        if not written:
            contents = [result.payload[start : start + size] for start in range(0, len(result.payload), size)]
            written.append(Pieces(uuid.uuid4().hex, len(contents)))
            self.write_pieces(written[0], contents, Entry(None, result).seconds_left(now))
        return replace(entry, result=ResultInPieces.of(result, written[0]))

    def _write_index(self, index: str, result: Result | None) -> None:
        if result is not None:
            self._exchanged(index, lambda entry, now: (None, replace(entry, result=result)))


def _pieces_of(entry: Entry) -> list[Pieces]:
    return [entry.result.pieces] if isinstance(entry.result, ResultInPieces) else []
