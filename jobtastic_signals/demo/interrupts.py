"""Ctrl-C and its kin: the demo ends at once but tidily, and is not interrupted while it tidies up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_on_signals", "uninterrupted"]

Handler = Callable[[int, FrameType | None], None]

#: Ctrl-C; what ``kill`` and most supervisors send; the closing of the terminal.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let each of these signals raise :exc:`KeyboardInterrupt`, so that every ``finally`` is reached."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(end):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put such a signal off to the end of the block, or of the function that this decorates.

    There it raises :exc:`KeyboardInterrupt`.
    """
    received: list[int] = []

    def remember(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    with _handling(remember):
        yield
    if received:
        raise KeyboardInterrupt


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    # What our parent has us ignore, as nohup does, stays ignored.
    heeded = [signum for signum in _SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handler) for signum in heeded}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
