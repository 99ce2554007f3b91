"""For stores that keep all of a key in one entry, and change that in one step.

The operations are here, in terms of few verbs: a store reads an entry, and exchanges it for what a decision
makes of it. A payload that is too large for an entry lies beside it in *pieces*, under a name that is never
used again. They are written before the entry that names them. So a piece that is lost makes its result a
missing one, and never a wrong one.
"""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

from .base import Claim, Result, Store
from .rules import LAPSED_CLAIMS, admitted, kept_until, may_settle, until

__all__ = ["Decision", "Entry", "EntryStore", "Pieces"]

T = TypeVar("T")


@dataclass(frozen=True)
class Pieces:
    """Where the payload of a result lies."""

    name: str
    count: int

    @property
    def names(self) -> list[str]:
        return [f"{self.name}-{number}" for number in range(self.count)]


@dataclass(frozen=True)
class Entry:
    """All that a store holds under a key; the payload of *result* is empty if it is in *pieces*."""

    claim: Claim | None = None
    result: Result | None = None
    pieces: Pieces | None = None

    def __bool__(self) -> bool:
        return self.claim is not None or self.result is not None

    def live_claim(self, now: float) -> Claim | None:
        return self.claim if self.claim is not None and now < self.claim.expires else None

    def is_owned_by(self, owner: str) -> bool:
        return self.claim is not None and self.claim.owner == owner

    def without_result(self) -> Entry:
        return Entry(self.claim)

    def without_ended_result(self, now: float) -> Entry:
        ended = self.result is not None and self.result.kept is not None and self.result.kept <= now
        return self.without_result() if ended else self

    def seconds(self, now: float) -> float | None:
        """How long it has to be kept from now on; ``None`` is for ever."""
        if self.result is not None and self.result.kept is None:
            return None
        of_result = 0.0 if self.result is None or self.result.kept is None else self.result.kept - now
        of_claim = 0.0 if self.claim is None else max(self.claim.expires - now, 0.0) + LAPSED_CLAIMS
        return max(of_result, of_claim)

    def dump(self) -> list[Any]:
        """All but the payload, and whose claim it was before, as JSON can hold it."""
        claim, result, pieces = self.claim, self.result, self.pieces
        return [
            None if claim is None else [claim.owner, claim.expires, claim.waited],
            None if result is None else [result.owner, result.expires, result.kept],
            None if pieces is None else [pieces.name, pieces.count],
        ]

    @classmethod
    def load(cls, dumped: list[Any], payload: bytes) -> Entry:
        """The entry of which :meth:`dump` made *dumped*."""
        claim, result, pieces = dumped
        return cls(
            None if claim is None else Claim(*claim),
            None if result is None else Result(result[0], payload, *result[1:]),
            None if pieces is None else Pieces(*pieces),
        )


#: Makes of an entry, at a time, the answer of an operation and what the entry becomes.
Decision: TypeAlias = Callable[[Entry, float], tuple[T, Entry]]


class EntryStore(Store):
    """Base of these stores."""

    #: Bytes of a payload that an entry holds, and those that a piece holds.
    inline_size: ClassVar[int]
    piece_size: ClassVar[int] = 500_000

    @abc.abstractmethod
    def _read(self, key: str) -> Entry:
        """What is stored under *key*; an empty entry if nothing is."""

    @abc.abstractmethod
    def _exchange(self, key: str, decide: Decision[T]) -> tuple[T, Entry, Entry]:
        """Put what *decide* makes of *key*'s entry in its place; the answer, the entry before and after.

        *decide* may be called again, where somebody else was faster. It is atomic also where it changes
        nothing.
        """

    @abc.abstractmethod
    def _read_pieces(self, pieces: Pieces) -> list[bytes] | None:
        """What :meth:`_write_pieces` has written, unless any of it is lost."""

    @abc.abstractmethod
    def _write_pieces(self, pieces: Pieces, contents: list[bytes], seconds: float | None) -> None: ...

    @abc.abstractmethod
    def _drop_pieces(self, pieces: Pieces) -> None:
        """Drop what nobody can find any more. Raises nothing if that fails: it ends by itself."""

    def lookup(self, key: str) -> Result | Claim | None:
        entry, before = self._read(key), None
        while True:
            now = self._clock()
            result, sound = self._answering(entry, None, now)
            if result is not None:
                return result
            if sound == entry or entry == before:
                return sound.live_claim(now)
            # The payload is lost; or it went with its entry, and a look at the next one is due.
            entry, before = self._read(key), entry

    def ask(self, key: str, owner: str, lease: float) -> Result | Claim:
        # It reads first anyway.
        return self.admit(key, owner, lease, waits=False)

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
        def decide(entry: Entry, now: float) -> tuple[Result | Claim, Entry]:
            result, entry = self._answering(entry, waited_for, now)
            if result is not None:
                return result, entry
            claim = admitted(entry.claim, owner, lease, stale, now, waits=waits)
            return claim, replace(entry, claim=claim)

        return self._decided(key, decide)

    def extend(self, key: str, owner: str, lease: float) -> bool:
        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            claim = entry.live_claim(now)
            if claim is None or claim.owner != owner:
                return False, entry
            return True, replace(entry, claim=replace(claim, expires=now + lease))

        return self._decided(key, decide)

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        pieces = self._pieces_for(payload)
        written = settled = False

        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            nonlocal written
            mine = entry.is_owned_by(owner)
            if not mine:
                _, entry = self._answering(entry, None, now)
            if not may_settle(entry.claim, entry.result, owner, now):
                return False, entry
            kept = kept_until(entry.claim, owner, ttl, handover, now)
            if mine:
                entry = replace(entry, claim=None)
            if kept is not None and kept <= now:
                return True, entry
            if pieces is not None and not written:
                self._write_pieces(pieces, self._cut(payload), None if kept is None else kept - now)
                written = True
            result = Result(owner, b"" if pieces else payload, until(ttl, now), kept)
            return True, replace(entry, result=result, pieces=pieces)

        try:
            settled = self._decided(key, decide)
        finally:
            if pieces is not None and written and not settled:
                self._drop_pieces(pieces)
        return settled

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            claim = entry.claim
            if claim is None or claim.owner != owner or (unless_waited and claim.waited):
                return False, entry
            return True, replace(entry, claim=None)

        return self._decided(key, decide)

    def forget(self, key: str) -> bool:
        def decide(entry: Entry, now: float) -> tuple[bool, Entry]:
            result, entry = self._answering(entry, None, now)
            return result is not None, entry.without_result()

        return self._decided(key, decide)

    def _decided(self, key: str, decide: Decision[T]) -> T:
        def decide_and_tidy(entry: Entry, now: float) -> tuple[T, Entry]:
            answer, after = decide(entry, now)
            return answer, after if after == entry else after.without_ended_result(now)

        answer, before, after = self._exchange(key, decide_and_tidy)
        if before.pieces is not None and before.pieces != after.pieces:
            self._drop_pieces(before.pieces)
        return answer

    def _shown(self, entry: Entry) -> Result | Claim | None:
        """What a look at *entry* finds."""
        now = self._clock()
        result, entry = self._answering(entry, None, now)
        return result or entry.live_claim(now)

    def _answering(self, entry: Entry, waited_for: str | None, now: float) -> tuple[Result | None, Entry]:
        """The result that answers who waited for *waited_for*, and *entry* without one that is lost."""
        result = entry.result
        if result is None or not result.answers(waited_for, now):
            return None, entry
        if entry.pieces is not None:
            contents = self._read_pieces(entry.pieces)
            if contents is None:
                return None, entry.without_result()
            result = replace(result, payload=b"".join(contents))
        return result, entry

    def _pieces_for(self, payload: bytes) -> Pieces | None:
        if len(payload) <= self.inline_size:
            return None
        return Pieces(uuid.uuid4().hex, -(-len(payload) // self.piece_size))

    def _cut(self, payload: bytes) -> list[bytes]:
        return [payload[start : start + self.piece_size] for start in range(0, len(payload), self.piece_size)]
