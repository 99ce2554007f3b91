"""Events: what happens in this package, as blinker signals.

Connect to any of them::

    from jobtastic_signals import events

    @events.cache_hit.connect
    def count(task, **info):
        hits.labels(task.name).inc()

The sender is the task, unless the documentation of a signal says otherwise. To receive events of one task
only, compare ``task.name``: ``@app.task`` returns a proxy, which is never the sender. All events have
``key``, and ``task_id`` if a task id is involved.

An error in a receiver is logged and harms nothing. Receivers are called in no particular order, in the
process and thread where the event happened.
"""

from __future__ import annotations

import logging
from typing import Any

import blinker
from celery.exceptions import SoftTimeLimitExceeded

from .support.safe_text import safe_repr

__all__ = [
    "broker_unavailable",
    "cache_hit",
    "cache_missed",
    "call_dropped",
    "claim_released",
    "claim_taken_over",
    "herd_joined",
    "memory_leak_detected",
    "progress_updated",
    "renewal_published",
    "rerun_published",
    "result_stored",
    "run_claimed",
    "run_served",
    "run_waited",
    "store_recovered",
    "store_unavailable",
]

logger: logging.Logger = logging.getLogger(__name__)

_signals = blinker.Namespace()

cache_hit: blinker.NamedSignal = _signals.signal(
    "cache_hit",
    doc="A caller got the stored result of ``task_id``, whose run ended ``age`` seconds ago; nothing was "
    "published. ``is_stale`` says whether the result had expired, and another run renews it.",
)
cache_missed: blinker.NamedSignal = _signals.signal(
    "cache_missed", doc="A caller found neither a result nor a live claim, so its call is published."
)
herd_joined: blinker.NamedSignal = _signals.signal(
    "herd_joined", doc="A caller joined ``task_id``, which has the claim; nothing was published."
)
call_dropped: blinker.NamedSignal = _signals.signal(
    "call_dropped",
    doc="The call ``task_id`` was dropped, because the identical ``owner`` is in flight; see "
    "``on_duplicate``.",
)
rerun_published: blinker.NamedSignal = _signals.signal(
    "rerun_published",
    doc="A caller joined the run of ``owner``, and ``task_id`` was published to run after it.",
)
renewal_published: blinker.NamedSignal = _signals.signal(
    "renewal_published",
    doc="A caller got the stale result of ``owner``, and ``task_id`` was published to renew it.",
)
run_claimed: blinker.NamedSignal = _signals.signal(
    "run_claimed", doc="``task_id`` has the claim on ``key`` from now on."
)
run_served: blinker.NamedSignal = _signals.signal(
    "run_served", doc="A worker answered ``task_id`` with the result of ``owner``; its body did not run."
)
run_waited: blinker.NamedSignal = _signals.signal(
    "run_waited",
    doc="``task_id`` was sent again, to wait for ``owner``; ``countdown`` is the delay in seconds.",
)
result_stored: blinker.NamedSignal = _signals.signal(
    "result_stored", doc="The result of ``task_id`` is in the store; ``size`` is its length in bytes."
)
claim_released: blinker.NamedSignal = _signals.signal(
    "claim_released", doc="``task_id`` ended without a result to store and gave up its claim."
)
claim_taken_over: blinker.NamedSignal = _signals.signal(
    "claim_taken_over",
    doc="``task_id`` took the key from ``previous``: its claim was queued, had lapsed, or its run had ended.",
)
progress_updated: blinker.NamedSignal = _signals.signal(
    "progress_updated",
    doc="A record of the progress of ``task_id`` was written, with ``progress_percent``, ``time_remaining``, "
    "``completed``, ``total`` and ``message``. ``key`` is ``None`` for a task that shares nothing.",
)
memory_leak_detected: blinker.NamedSignal = _signals.signal(
    "memory_leak_detected",
    doc="The run of ``task_id``, called with ``task_kwargs``, added more to its process than the task's "
    "``memleak_threshold``: ``growth``, from ``start`` to ``end``, in bytes. ``leak`` says whether the task "
    "keeps growing: it did in ``growing`` of its latest ``runs`` here, by a ``trend`` in bytes per "
    "run. ``peak`` is the most that the process ever had, or ``None``. ``attributed`` is false if other runs "
    "may have gone on at the same time.",
)
broker_unavailable: blinker.NamedSignal = _signals.signal(
    "broker_unavailable",
    doc="A call was answered without the broker, because of ``error``: by a failed result or by running it "
    "at once, as ``answer`` says (``failed`` or ``eager``). ``key`` is ``None`` if nothing is shared.",
)
store_unavailable: blinker.NamedSignal = _signals.signal(
    "store_unavailable",
    doc="The store (the sender, by its URL) failed with ``error``; tasks go on without sharing.",
)
store_recovered: blinker.NamedSignal = _signals.signal(
    "store_recovered", doc="The store (the sender, by its URL) answers again."
)


def emit(signal: blinker.NamedSignal, sender: Any, **info: Any) -> None:
    """Send *signal*. An error in a receiver is logged and goes no further, except for a soft time limit."""
    if not signal.receivers:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, **info)
        except SoftTimeLimitExceeded:
            raise  # It belongs to the task, wherever it strikes.
        except Exception:
            logger.exception("a receiver of %s failed: %s", signal.name, safe_repr(receiver))
