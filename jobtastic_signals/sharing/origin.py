"""Origins: how a call got the result that its caller holds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from celery.result import AsyncResult

__all__ = ["Origin", "note_origin", "origin_of"]

_ATTRIBUTE = "_jobtastic_origin"


class Origin(NamedTuple):
    """Where the result of one call comes from.

    :ivar kind: ``"own"`` for a run of its own, ``"joined"`` for the run of another call, ``"cached"`` for a
        stored result, ``"dropped"`` for none at all, ``"unknown"`` for a result that was made from an id.
    :ivar owner: the task id that runs or ran.
    :ivar seat: the name of this caller: the task id that its own run has, or would have had.
    :ivar key: the name of all identical calls; ``None`` for a call without one.
    :ivar age: seconds from the end of a stored result's run to this call; ``None`` for the other kinds.
    :ivar claimed: whether its own message had the claim on the key when it was sent, so that others may have
        joined its run.
    :ivar is_stale: whether a stored result had expired, and another run renews it.
    """

    kind: Literal["own", "joined", "cached", "dropped", "unknown"]
    owner: str
    seat: str
    key: str | None = None
    age: float | None = None
    is_stale: bool = False
    claimed: bool = True


def note_origin(result: AsyncResult[Any], origin: Origin) -> None:
    """Let *result* know its *origin*. It does not travel with what Celery makes of a result, such as a
    tuple.
    """
    setattr(result, _ATTRIBUTE, origin)


def origin_of(result: AsyncResult[Any]) -> Origin | None:
    """Return the origin of *result*; ``None`` if nobody has noted it, like for one made from an id."""
    origin: Origin | None = getattr(result, _ATTRIBUTE, None)
    return origin
