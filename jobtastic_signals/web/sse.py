"""Server-sent events of one task: what is sent, and when."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..results.status import is_final
from .answers import Refusal

__all__ = ["FINAL_ID", "Feed", "astream", "stream"]

#: The id of a final event. Who comes again with it has nothing to wait for.
FINAL_ID = "final"


@dataclass
class Feed:
    """What is sent about one task: :meth:`opening`, then what :meth:`take` returns until it is :attr:`over`.

    Before each reading of the status, :attr:`pause` is waited for; it grows while nothing changes. All
    durations are in seconds.
    """

    task_id: str
    #: The first status.
    status: dict[str, Any]
    shortest_pause: float = 0.5
    longest_pause: float = 2.0
    heartbeat: float = 15.0
    #: Nobody is occupied for longer by a task that never ends. Browsers come again.
    longest: float = 600.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self.pause = self.shortest_pause
        self._sent = b""
        self._sent_at = self._opened_at = self.clock()

    @property
    def over(self) -> bool:
        """Whether nothing more is to be sent."""
        return is_final(self.status) or self.clock() - self._opened_at >= self.longest

    def opening(self) -> bytes:
        """How long browsers are to wait before they come again, in milliseconds, and the first status."""
        return b"retry: 3000\n\n" + self.take(self.status)

    def take(self, status: dict[str, Any]) -> bytes:
        """What to send now that *status* was read; often nothing."""
        self.status = status
        event = _event(status)
        if event != self._sent:
            self._sent, self.pause = event, self.shortest_pause
            return self._now(event)
        self.pause = min(self.pause * 1.5, self.longest_pause)
        # Without a word, proxies would close it, and a server would not notice that nobody listens.
        return self._now(b": still there\n\n") if self.clock() - self._sent_at >= self.heartbeat else b""

    def _now(self, chunk: bytes) -> bytes:
        self._sent_at = self.clock()
        return chunk


def stream(feed: Feed, read: Callable[[str], dict[str, Any]]) -> Iterator[bytes]:
    """All of *feed*. It ends as well when *read* is refused; who listens comes again, and is told why."""
    yield feed.opening()
    while not feed.over:
        time.sleep(feed.pause)
        try:
            chunk = feed.take(read(feed.task_id))
        except Refusal:
            return
        # An empty chunk would end the answer under some servers.
        if chunk:
            yield chunk


async def astream(
    feed: Feed, read: Callable[[str], Awaitable[dict[str, Any]]], sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """The same for an event loop."""
    yield feed.opening()
    while not feed.over:
        await sleep(feed.pause)
        try:
            chunk = feed.take(await read(feed.task_id))
        except Refusal:
            return
        if chunk:
            yield chunk


def _event(status: dict[str, Any]) -> bytes:
    name = f"id: {FINAL_ID}\n" if is_final(status) else ""
    return f"{name}data: {json.dumps(status, allow_nan=False)}\n\n".encode()
