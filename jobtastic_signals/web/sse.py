"""The server-sent events of one task: what is sent, and when."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..results.status import is_final
from .places import Place
from .shutdown import is_shutting_down

__all__ = ["FINAL_ID", "Feed"]

#: The id of a final event. A browser that connects again with it has nothing to wait for.
FINAL_ID = "final"

#: Seconds after which a stream looks again whether the server shuts down.
_LONGEST_PART = 0.25


@dataclass
class Feed:
    """What is sent about one task: first :meth:`opening`, then what :meth:`take` returns, until :attr:`over`.

    Wait for :meth:`pauses` before each reading of the status. All durations are in seconds.
    """

    task_id: str
    #: The first status.
    status: dict[str, Any]
    shortest_pause: float = 0.5
    longest_pause: float = 2.0
    heartbeat: float = 15.0
    #: A stream of a task that never ends is closed after this time. Browsers connect again.
    longest: float = 600.0
    #: What the stream takes of the streams that the task may have. It is free again when the feed is gone.
    place: Place | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self.pause: float = self.shortest_pause
        self._sent = b""
        self._sent_at = self._opened_at = self.clock()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to send, or the server shuts down."""
        too_long = self.clock() - self._opened_at >= self.longest
        return is_final(self.status) or too_long or is_shutting_down()

    def pauses(self) -> Iterator[float]:
        """Yield parts of the current pause until the feed is :attr:`over`. It grows while nothing changes.

        The parts are short, so that a stream does not keep a server from shutting down.
        """
        left = self.pause
        while left > 0 and not self.over:
            part = min(left, _LONGEST_PART)
            yield part
            left -= part

    def close(self) -> None:
        """Give up the place of the stream."""
        if self.place is not None:
            self.place.leave()

    def opening(self) -> bytes:
        """Return the first chunk: how long browsers wait before they connect again, and the status."""
        return b"retry: 3000\n\n" + self.take(self.status)

    def take(self, status: dict[str, Any]) -> bytes:
        """Return what to send after *status* was read, which is often nothing."""
        self.status = status
        event = _event(status)
        if event != self._sent:
            self._sent, self.pause = event, self.shortest_pause
            return self._now(event)
        self.pause = min(self.pause * 1.5, self.longest_pause)
        # Proxies close a silent stream, and a server notices only by sending that nobody listens any more.
        return self._now(b": still there\n\n") if self.clock() - self._sent_at >= self.heartbeat else b""

    def _now(self, chunk: bytes) -> bytes:
        self._sent_at = self.clock()
        return chunk


def _event(status: dict[str, Any]) -> bytes:
    name = f"id: {FINAL_ID}\n" if is_final(status) else ""
    return f"{name}data: {json.dumps(status, allow_nan=False)}\n\n".encode()
