"""What a store holds: claims, results, and both under one key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .values import Answer, Value, replace

__all__ = [
    "FORMAT_VERSION",
    "NOTHING",
    "REMEMBERED_FOR",
    "Claim",
    "Counts",
    "Entry",
    "Forgetting",
    "Result",
]

#: The version of the records that this package writes. A reader ignores fields that it does not know. A
#: record of another version counts as absent.
FORMAT_VERSION = 1

#: Seconds for which a store remembers a claim after its lease has lapsed. Then it is as if it never was.
REMEMBERED_FOR = 3600.0


@dataclass(eq=False, repr=False)
class Claim(Answer):
    """One owner's hold on a key.

    :ivar owner: the task id that has the claim.
    :ivar expires: when the lease lapses. The claim is live before that time, and lapsed from then on.
    :ivar since: when a queued claim was made, or when the run of a running claim began.
    :ivar delivery: the token of the delivery that runs; ``None`` for a queued claim.
    :ivar awaited: whether other messages rely on the result of this run: one that waits, or one whose claim
        this one displaced.
    :ivar message_expires: when the message of a queued claim expires; ``None`` for never.
    :ivar fresh: whether the message of a queued claim runs whatever result was there when it was sent.
    :ivar joined: how many callers have joined the owner's run.
    :ivar left: the seats of the callers that want it no more: the owner's own seat is its task id.
    :ivar previous: the owner whose claim this one displaced. Only the answer that grants the claim has it.
    :ivar next: the queued claim behind this one. Only answers have it.
    :ivar forgotten: when the result of this run was forgotten in advance; of a claim that everybody left, its
        ``since``. Nobody joins such a claim. Only answers have it.
    :ivar at: when the store gave this answer. It does not count when claims are compared.
    """

    owner: str
    expires: float
    since: float
    delivery: str | None = None
    awaited: bool = False
    message_expires: float | None = None
    fresh: bool = False
    joined: int = 0
    left: tuple[str, ...] = ()
    previous: str | None = None
    next: Claim | None = None
    forgotten: float | None = None
    at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a delivery runs under this claim."""
        return self.delivery is not None

    def is_same_hold(self, other: Claim | None) -> bool:
        """Return whether *other* has the same owner and the same delivery."""
        return other is not None and (self.owner, self.delivery) == (other.owner, other.delivery)

    def grants(self, owner: str) -> bool:
        """Return whether this answer of a store may have granted a claim to *owner*."""
        return self.owner == owner or (self.next is not None and self.next.owner == owner)

    @property
    def is_abandoned(self) -> bool:
        """Whether the owner and everybody who joined have left."""
        return len(self.left) > self.joined


@dataclass(eq=False, repr=False)
class Result(Answer):
    """The outcome of one run.

    :ivar owner: the task id that ran.
    :ivar payload: the value, or the exception, in the format of the result serializer.
    :ivar state: Celery's name of the outcome, ``"SUCCESS"`` or ``"FAILURE"``.
    :ivar began: when the run began.
    :ivar ended: when the result was stored.
    :ivar expires: when it stops to answer new callers; ``None`` for never.
    :ivar kept: when it stops to answer calls that were made before the run began; ``None`` for never.
    :ivar stale_until: when it stops to be handed out while another run renews it; ``None`` for a result that
        is not handed out once it has expired.
    :ivar renewal: the owner whose queued claim is to renew this stale result. Only an answer has it.
    :ivar at: when the store gave this answer. It does not count when results are compared.
    """

    owner: str
    payload: bytes
    state: str
    began: float
    ended: float
    expires: float | None
    kept: float | None
    stale_until: float | None = None
    renewal: str | None = None
    at: float = 0.0

    @property
    def end(self) -> float:
        """When it answers nobody any more; infinity for never."""
        if self.expires is None or self.kept is None:
            return math.inf
        return max(self.expires, self.kept, self.stale_until or 0.0)

    def grants(self, owner: str) -> bool:
        """Return whether this answer of a store granted a claim to *owner*, which renews it."""
        return self.renewal == owner

    def as_index(self, key: str, ttl: float | None) -> Result | None:
        """Return the copy that has *key* as its payload; ``None`` if it ends at once.

        :param ttl: seconds for which it lasts; ``None`` for as long as this result answers new callers.
        """
        expires = self.expires if ttl is None else self.ended + ttl
        if expires is not None and expires <= self.ended:
            return None
        return replace(self, payload=key.encode(), expires=expires, kept=expires, stale_until=None)

    def is_handed_out(self, now: float) -> bool:
        """Return whether callers get this result now: it has not expired, or is stale."""
        return self.answers_new_callers(now) or self.is_stale(now)

    def answers_new_callers(self, now: float) -> bool:
        """Return whether this result answers a call that is made *now*."""
        return self.expires is None or now < self.expires

    def is_stale(self, now: float) -> bool:
        """Return whether this result has expired, and is still handed out while another run renews it."""
        return not self.answers_new_callers(now) and self.stale_until is not None and now < self.stale_until

    def answers(
        self, now: float, called: float | None, waited_for: str | None, *, fresh: bool = False
    ) -> bool:
        """Return whether this result answers a call.

        It answers new callers until it expires. Until :attr:`kept` it also answers each call that was made
        before the run began, and each call that waited for this owner.

        :param called: when the call was made; ``None`` for now.
        :param waited_for: the owner for whose result the call waited; ``None`` for nobody's.
        :param fresh: whether only a run that began after the call answers it.
        """
        is_earlier_call = called is not None and called < self.began
        if self.answers_new_callers(now):
            return is_earlier_call or not fresh
        is_expected = is_earlier_call or (waited_for == self.owner and not fresh)
        return is_expected and (self.kept is None or now < self.kept)


class Counts(NamedTuple):
    """Numbers that are added up under one key.

    :ivar expires: when they are dropped, unless somebody adds to them before.
    """

    amounts: Mapping[str, float]
    expires: float


class Forgetting(NamedTuple):
    """The last time at which a key or a scope was forgotten.

    :ivar expires: until when the store has to know of it; ``None`` for ever.
    """

    at: float
    expires: float | None


@dataclass(eq=False, repr=False)
class Entry(Value):
    """What a store holds under one key.

    :ivar claim: the claim.
    :ivar result: the result.
    :ivar next: the queued claim behind the running one.
    :ivar forgotten: that the key was forgotten while a run of it may have gone on. Under the name of a scope:
        that the scope was.
    :ivar counts: numbers that are added up.
    """

    claim: Claim | None = None
    result: Result | None = None
    next: Claim | None = None
    forgotten: Forgetting | None = None
    counts: Counts | None = None

    def __bool__(self) -> bool:
        return any(vars(self).values())

    @property
    def can_be_forgotten(self) -> bool:
        """Whether it may matter that a scope was forgotten: there is a result, or a run goes on."""
        return self.result is not None or (self.claim is not None and self.claim.is_running)

    def live_claim(self, now: float, lapsed: Claim | None = None) -> Claim | None:
        """Return the claim if it is live; one like *lapsed* is not."""
        claim = self.claim
        if claim is None or now >= claim.expires or claim.is_same_hold(lapsed):
            return None
        return claim

    def live_next(self, now: float) -> Claim | None:
        """Return the next claim if it is live."""
        return None if self.next is None or now >= self.next.expires else self.next

    def current(self, now: float, lapsed: Claim | None = None) -> Entry:
        """Return the entry with its next claim as the claim, if only that one is live."""
        following = self.live_next(now)
        if following is None or self.live_claim(now, lapsed) is not None:
            return self
        # The owner of the lapsed one may still send a message.
        return replace(self, claim=replace(following, awaited=True), next=None)

    def result_for(self, called: float, forgotten: float | None) -> Result | None:
        """Return the result, unless it was forgotten and the call was not made before its run began.

        :param forgotten: when a scope of the key was last forgotten.
        """
        result = self.result
        if result is None or called < result.began or not self.was_forgotten(result.began, forgotten):
            return result
        return None

    def was_forgotten(self, began: float, forgotten: float | None) -> bool:
        """Return whether the key, or a scope of it, was forgotten after a run that *began* then."""
        last = self._last_forgotten(forgotten)
        # In doubt, where a clock is coarse, the task runs again.
        return last is not None and began <= last

    def without_forgotten(self, forgotten: float | None) -> Entry:
        """Return what an answer shows of this entry, which was read without its scopes.

        :param forgotten: when a scope of the key was last forgotten.
        """
        claim, result = self.claim, self.result
        if claim is not None:
            claim = replace(claim, forgotten=self.forgotten_at(claim, forgotten) or claim.forgotten)
        if result is not None and self.was_forgotten(result.began, forgotten):
            result = None
        return replace(self, claim=claim, result=result)

    def forgotten_at(self, claim: Claim, forgotten: float | None) -> float | None:
        """Return since when nobody joins *claim*, if that is so: see :attr:`.Claim.forgotten`."""
        if claim.is_running and self.was_forgotten(claim.since, forgotten):
            return self._last_forgotten(forgotten)
        return claim.since if claim.is_abandoned else None

    def _last_forgotten(self, forgotten: float | None) -> float | None:
        times = [forgotten, None if self.forgotten is None else self.forgotten.at]
        return max((each for each in times if each is not None), default=None)

    def knows_later_run(self, began: float) -> bool:
        """Return whether the result is of a run that began after one that *began* then."""
        return self.result is not None and self.result.began > began

    def with_claim(self, name: str, claim: Claim | None) -> Entry:
        """Return the entry with *claim* as what *name* says: ``"claim"`` or ``"next"``."""
        return replace(self, claim=claim) if name == "claim" else replace(self, next=claim)

    def without_claim(self) -> Entry:
        """Return the entry after its claim has ended: the next one, even a lapsed one, takes its place."""
        return replace(self, claim=self.next, next=None)

    def counted(self, now: float, amounts: Mapping[str, float], ttl: float) -> Entry:
        """Return the entry with *amounts* added to its counts, which last for *ttl* seconds from now."""
        sums = {} if self.counts is None else dict(self.counts.amounts)
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0.0) + amount
        return replace(self, counts=Counts(sums, now + ttl))

    def without_ended(self, now: float) -> Entry:
        """Return the entry without what is of no more use."""
        ended: dict[str, Any] = {}
        if self.claim is not None and now >= self.claim.expires + REMEMBERED_FOR:
            ended.update(claim=None, next=None)
        if self.result is not None and now >= self.result.end:
            ended.update(result=None)
        if self.counts is not None and now >= self.counts.expires:
            ended.update(counts=None)
        known = replace(self, **ended) if ended else self
        if known.forgotten is None or known.claim is not None or known.result is not None:
            return known
        is_over = known.forgotten.expires is not None and now >= known.forgotten.expires
        return replace(known, forgotten=None) if is_over else known

    def seconds_left(self, now: float) -> float | None:
        """Return how long a store has to keep this entry; ``None`` for ever."""
        ends = [now]
        if self.claim is not None:
            ends.append(self.claim.expires + REMEMBERED_FOR)
        if self.result is not None:
            ends.append(self.result.end)
        if self.forgotten is not None:
            ends.append(math.inf if self.forgotten.expires is None else self.forgotten.expires)
        if self.counts is not None:
            ends.append(self.counts.expires)
        return None if max(ends) == math.inf else max(ends) - now


#: What a store holds under a key that it does not know.
NOTHING: Entry = Entry()
