"""Runs that send their own message again: a retry, or the same call that waits."""

from __future__ import annotations

import math

from ..calls import Call, Run
from .claims import Share, seconds_until
from .waiting import Wait

__all__ = ["resend"]


def resend(call: Call, run: Run) -> bool:
    """Stamp the next message of *run*. Return whether it is the same call, with the same arguments."""
    share, waits = run.part(Share), run.decision if isinstance(run.decision, Wait) else None
    is_same = call.key == run.key or waits is not None
    if share is not None and waits is None:
        # A retry with other arguments does not come back to this key.
        share.next_due = seconds_until(call.eta) if is_same else math.inf
    for name in ("called", "after") if is_same else ():
        if name in run.stamp:
            call.stamp[name] = run.stamp[name]
    call.fresh = bool(run.stamp.get("fresh")) if share is None else share.fresh
    call.on_duplicate = run.stamp.get("on_duplicate", call.on_duplicate)
    if waits is not None:
        call.stamp.update(waits.stamp(run))
    return is_same
