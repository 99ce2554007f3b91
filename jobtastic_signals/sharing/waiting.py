"""A delivery that has to wait for another run is sent again, and occupies no worker meanwhile."""

from __future__ import annotations

from ..calls import Run

__all__ = ["send_again"]

#: Seconds that a waiting call is away: the first time, by how much longer each time, and at most.
FIRST_WAIT, WAIT_GROWTH, LONGEST_WAIT = 0.1, 1.5, 5.0


def send_again(run: Run) -> float:
    """Send the message of *run* again, with everything in it preserved; in how many seconds it is due.

    :raises Exception: what publishing raises.
    """
    countdown = min(FIRST_WAIT * WAIT_GROWTH ** min(run.waits - 1, 20), LONGEST_WAIT)
    request = run.request
    assert request is not None
    kept = {name: getattr(request, name, None) for name in ("argsrepr", "kwargsrepr")}
    again = run.task.signature_from_request(
        request, run.args, run.kwargs, countdown=countdown, retries=request.retries
    )
    again.apply_async(add_to_parent=False, **{name: text for name, text in kept.items() if text})
    return countdown
