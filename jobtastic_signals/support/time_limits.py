"""Errors that must not reach a task, beside the one that must.

A soft time limit strikes wherever the process is, which may be in our code. It belongs to the task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from celery.exceptions import SoftTimeLimitExceeded

__all__ = ["caught", "logged"]


class caught:  # noqa: N801  # read as a verb, like contextlib.suppress
    """Suppress every :exc:`Exception` but a soft time limit, and call *handle* with it.

    A class, since a generator would cost each hook several times as much.

    >>> with caught(print):
    ...     {}["missing"]
    'missing'
    """

    def __init__(self, handle: Callable[[Exception], object]) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, SoftTimeLimitExceeded):
            return False
        self._handle(error)
        return True


class logged(caught):  # noqa: N801
    """Log every :exc:`Exception` but a soft time limit, with its traceback, and suppress it."""

    def __init__(self, logger: logging.Logger, message: str, *arguments: object) -> None:
        super().__init__(lambda error: logger.error(message, *arguments, exc_info=error))
