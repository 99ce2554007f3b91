"""Streams of server-sent events, for a thread and for an event loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from .answers import Refusal
from .sse import Feed

__all__ = ["astream", "stream"]


def stream(feed: Feed, read: Callable[[str], dict[str, Any]]) -> Iterator[bytes]:
    """Yield all chunks of *feed*.

    The stream also ends if *read* raises a :exc:`.Refusal`. The browser connects again and gets the reason.
    """
    try:
        yield feed.opening()
        while True:
            for seconds in feed.pauses():
                time.sleep(seconds)
            if feed.over:
                return
            chunk = feed.take(read(feed.task_id))
            # An empty chunk would end the answer under some servers.
            if chunk:
                yield chunk
    except Refusal:
        return
    finally:
        feed.close()


async def astream(
    feed: Feed, read: Callable[[str], Awaitable[dict[str, Any]]], sleep: Callable[[float], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Yield the same in an event loop."""
    try:
        yield feed.opening()
        while True:
            for seconds in feed.pauses():
                await sleep(seconds)
            if feed.over:
                return
            chunk = feed.take(await read(feed.task_id))
            if chunk:
                yield chunk
    except Refusal:
        return
    finally:
        feed.close()
