"""Whether the web server of this process has begun to shut down.

Servers wait for open responses before they end, and a stream is a response that stays open for minutes. They
do not notify applications, neither by WSGI nor by ASGI. But the method that receives their SIGTERM belongs to
an object that has a flag.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["is_shutting_down"]


def is_shutting_down() -> bool:
    """Return whether Uvicorn or Gunicorn shuts this process down.

    ``False`` under servers that show no flag. They end streams by themselves, most of them at once.
    """
    return any(
        getattr(server, "should_exit", False) is True  # Uvicorn
        or getattr(server, "alive", True) is False  # Gunicorn's workers
        for server in _servers()
    )


def _servers() -> Iterator[Any]:
    yield getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    # Gunicorn's own ASGI worker gives its methods to the event loop, which has no public way to see them.
    try:
        handlers = getattr(asyncio.get_running_loop(), "_signal_handlers", {})
        yield getattr(getattr(handlers.get(signal.SIGTERM), "_callback", None), "__self__", None)
    except RuntimeError:
        return
