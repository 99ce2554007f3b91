"""Ctrl-C and similar signals: the demo ends at once, and is not interrupted while it cleans up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_on_signals", "uninterrupted"]

Handler = Callable[[int, FrameType | None], None]

#: Ctrl-C, the signal of ``kill`` and most supervisors, and the closing of the terminal.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let each of these signals raise :exc:`KeyboardInterrupt`, so that every ``finally`` runs."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(end):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay such a signal until the end of the block, or of the function that this decorates.

    It raises :exc:`KeyboardInterrupt` then.
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
    # A signal that the parent process made us ignore, like nohup does, stays ignored.
    handled = [signum for signum in _SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handler) for signum in handled}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
