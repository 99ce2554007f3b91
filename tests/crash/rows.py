"""The table of crashes: each fault at each moment, with each store and acknowledgement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FAULTS", "LEFT_OUT", "MOMENTS", "ROWS", "Row"]

#: What happens, and how the calls that it hits may end.
_LOST = ("WorkerLostError",)
_TERMINATED = ("WorkerLostError", "WorkerTerminate", "SystemExit", "WorkerShutdown")
FAULTS: dict[str, tuple[str, ...]] = {
    "child_killed": _LOST,
    "main_killed": (),
    "group_killed": (),
    "term": (),
    "quit": _TERMINATED,
    "child_stopped": (),
    "group_stopped": (),
    "hard_limit": ("TimeLimitExceeded", *_LOST),
    "memory_error": ("MemoryError",),
    "memory_limit": (),
    "broker_restarted": (),
    "broker_stalled": (),
    "broker_emptied": (),
    "store_restarted": (),
    "store_stalled": (),
    "store_emptied": (),
    "backend_restarted": (),
    "backend_stalled": (),
    "backend_emptied": (),
}

MOMENTS = ("queued", "publishing", "body", "result", "waiting")

#: Combinations without a row, and why.
LEFT_OUT: dict[tuple[str, str], str] = {
    ("child_stopped", "queued"): "no child knows of a message that is queued",
    ("memory_error", "publishing"): "the memory ends in the body of a run",
    ("memory_error", "result"): "the memory ends in the body of a run",
    ("memory_limit", "queued"): "Celery replaces a child after a run; before the run nothing happens",
    ("memory_limit", "body"): "Celery replaces a child after a run; at that time the row is 'result'",
}
DISK_HAS_NO_SERVER = "a folder has no server that could start again"


@dataclass(frozen=True)
class Row:
    """One crash.

    :ivar fault: what happens.
    :ivar moment: when it happens, as seen by the call that it hits.
    :ivar store: ``disk`` or ``redis``.
    :ivar late: whether messages are acknowledged late.
    :ivar broker: ``redis`` or ``rabbitmq``.
    """

    fault: str
    moment: str
    store: str
    late: bool
    broker: str = "redis"

    @property
    def name(self) -> str:
        """Its name, as the tests know it."""
        acks = "late" if self.late else "early"
        return "-".join(
            [self.fault, self.moment, self.store, acks, *([] if self.broker == "redis" else [self.broker])]
        )

    @property
    def failures(self) -> tuple[str, ...]:
        """The exceptions by which calls may end."""
        return FAULTS[self.fault]


#: Worker processes meet each store with each way to acknowledge. Servers meet each store, and each way once.
_ALL = [("disk", False), ("redis", True), ("redis", False), ("disk", True)]


def _rows() -> Iterator[Row]:
    for number, (fault, moment) in enumerate(itertools.product(FAULTS, MOMENTS)):
        if (fault, moment) in LEFT_OUT:
            continue
        half = _ALL[:2] if number % 2 else _ALL[2:]
        for store, late in half:
            if (fault, store) != ("store_restarted", "disk"):
                yield Row(fault, moment, store, late)
    for fault in ("child_killed", "group_killed", "hard_limit", "broker_emptied"):
        for moment, late in (("body", False), ("waiting", True)):
            yield Row(fault, moment, "redis", late, "rabbitmq")


ROWS = tuple(_rows())

#: The rows that the thorough tests run.
SHORT = frozenset(
    row
    for row in ROWS
    if row.broker == "redis"
    and (row.fault, row.moment, row.store)
    in {
        ("child_killed", "body", "disk"),
        ("child_killed", "publishing", "redis"),
        ("group_killed", "waiting", "redis"),
        ("child_killed", "result", "disk"),
        ("store_emptied", "body", "redis"),
        ("term", "queued", "disk"),
    }
)

#: Those that the normal tests run too.
SHORTEST = frozenset(
    row
    for row in SHORT
    if (row.fault, row.moment, row.store)
    in {("child_killed", "body", "disk"), ("child_killed", "publishing", "redis")}
)
