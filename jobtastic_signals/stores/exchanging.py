"""The base of stores that keep a key's entry in one record, and change it in one step: what they implement.

A payload too large for a record can lie beside it in *pieces*, under a name that is never used again. They
are written before the record that names them. So a lost piece makes a result missing, and never wrong.
"""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeAlias, TypeVar

from . import records
from .base import Store
from .entry import NOTHING, Entry
from .records import Pieces, ResultInPieces
from .values import replace

__all__ = ["Decision", "ExchangingStore"]

T = TypeVar("T")

#: Bytes of the largest payload in pieces. A record that names more pieces is not read.
LARGEST_PAYLOAD = 2**30

#: Given an entry and the time, returns the answer of an operation and the entry afterwards.
Decision: TypeAlias = Callable[[Entry, float], tuple[T, Entry]]


class ExchangingStore(Store):
    """Reads an entry, and exchanges it for what a decision makes of it."""

    #: Bytes of the largest payload that lies in a record; ``None`` for any size.
    inline_size: ClassVar[int | None] = None

    #: Bytes of a piece.
    piece_size: ClassVar[int] = 500_000

    @abc.abstractmethod
    def read(self, key: str) -> Entry:
        """Return what is stored under *key*; an empty entry if nothing is."""

    @abc.abstractmethod
    def exchange(self, key: str, decide: Decision[T]) -> T:
        """Replace the entry of *key* by what *decide* makes of it at this time, and return the answer.

        Nobody else may change the entry between reading and writing. A store without locks calls *decide*
        again if somebody did. An entry that *decide* returns as it was need not be written. An empty one is
        removed. :meth:`.Entry.seconds_left` says how long any other has to be kept.
        """

    @abc.abstractmethod
    def scan(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """Yield each key that starts with *prefix*, with its entry."""

    def read_mark(self, scope: str) -> Entry:
        """Return what is stored under the name of a scope. A storage may know a faster way."""
        return self.read(scope)

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
            return NOTHING
        try:
            return records.load(record, most_pieces=-(-LARGEST_PAYLOAD // self.piece_size))
        except ValueError as error:
            records.warn_of_unreadable(self.url, key, record, error)
            return NOTHING

    def _read_whole(self, key: str) -> tuple[Entry, float]:
        """Return what is stored under *key*, with its payload, and the time."""
        entry = self.read(key)
        while True:
            # After the entry was read: by an earlier time, what has been stored since would live too long.
            now = self._clock()
            whole = self._with_payload(entry)
            if whole is entry or whole.result is not None:
                return whole, now
            before, entry = entry, self.read(key)
            if entry == before:
                return whole, now

    def _forgotten(self, entry: Entry, scopes: Sequence[str]) -> float | None:
        """Return when one of *scopes* was last forgotten, if *entry* has what that may concern."""
        if not entry.can_be_forgotten:
            return None
        return self._last_forgotten(scopes)

    def _last_forgotten(self, scopes: Sequence[str]) -> float | None:
        """Return when one of *scopes* was last forgotten."""
        if not scopes:
            return None
        now = self._clock()
        marks = [self.read_mark(scope).without_ended(now).forgotten for scope in scopes]
        return max((mark.at for mark in marks if mark is not None), default=None)

    def _exchanged_with_pieces(self, key: str, decide: Decision[T]) -> T:
        """Exchange the entry of *key*. Write a payload in pieces, and drop those that nobody can find."""
        before = after = NOTHING
        written: list[Pieces] = []

        def decide_and_write(entry: Entry, now: float) -> tuple[T, Entry]:
            nonlocal before, after
            before = entry
            answer, after = decide(entry, now)
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


def _pieces_of(entry: Entry) -> list[Pieces]:
    return [entry.result.pieces] if isinstance(entry.result, ResultInPieces) else []
