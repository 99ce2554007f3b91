"""A handle of the progress of a run, for code that runs elsewhere: in a thread or in another process."""

from __future__ import annotations

import operator
import pickle  # nosec B403  # handles are pickled by whoever passes them on
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..errors import JobtasticError
from ..support.time_limits import caught
from .report import Past, Report
from .reporter import Progress
from .scopes import Level
from .writer import Writer

__all__ = ["ProgressHandle"]

T = TypeVar("T")

#: For how many runs of other processes this process remembers what it has reported.
KEPT = 32


class ProgressHandle:
    """Reports for one run, wherever it is passed: see :func:`.current_progress`.

    All handles of a run report as one: the latest report counts. A handle does nothing once its run has
    ended. In another process it opens the result backend anew, so the Celery configuration must be picklable.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def update(
        self, completed: float, total: float | None, update_frequency: float = 1, message: str | None = None
    ) -> None:
        """Report like :func:`.update_progress`."""
        if self._progress is not None:
            self._progress.update(completed, total, update_frequency, message)

    @overload
    def track(
        self, iterable: Iterable[T], total: float | None = None, message: str | None = None
    ) -> Iterator[T]: ...

    @overload
    def track(
        self, iterable: AsyncIterable[T], total: float | None = None, message: str | None = None
    ) -> AsyncIterator[T]: ...

    def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T],
        total: float | None = None,
        message: str | None = None,
    ) -> Iterator[T] | AsyncIterator[T]:
        """Yield the items of *iterable*, and report like :func:`.track`."""
        progress = self._progress
        if isinstance(iterable, Iterable) or not isinstance(iterable, AsyncIterable):
            return iter(iterable) if progress is None else _track(progress, iterable, total, message)
        return aiter(iterable) if progress is None else _track_async(progress, iterable, total, message)

    def phase(self, name: str, weight: float = 1, *, of: float | None = None) -> AbstractContextManager[None]:
        """Make what is reported inside this block a part of the whole, like :func:`.phase`."""
        return nullcontext() if self._progress is None else self._progress.phase(name, weight, of)

    def __reduce__(self) -> tuple[Any, ...]:
        progress = self._progress
        writer = None if progress is None else progress.writer
        if progress is None or writer is None:
            return ProgressHandle, (None,)
        progress.is_shared = True
        token = _tokens.setdefault(progress, uuid.uuid4().hex)
        _here[token] = progress
        return _restored, (token, _Ticket.of(progress, writer).dumps())


def _track(
    progress: Progress, iterable: Iterable[T], total: float | None, message: str | None
) -> Iterator[T]:
    if total is None:
        total = _length_of(iterable)
    with progress.loop(total, message) as level:
        began = time.monotonic()
        completed = 0
        for item in iterable:
            yield item
            completed += 1  # noqa: SIM113  # half the price of enumerate(), which makes tuples
            level.completed = completed
            if completed >= level.due:
                progress.look_at_clock(level, time.monotonic() - began)


async def _track_async(
    progress: Progress, iterable: AsyncIterable[T], total: float | None, message: str | None
) -> AsyncIterator[T]:
    if total is None:
        total = _length_of(iterable)
    with progress.loop(total, message) as level:
        began = time.monotonic()
        async for item in iterable:
            yield item
            level.completed += 1
            if level.completed >= level.due:
                progress.look_at_clock(level, time.monotonic() - began)


def _length_of(iterable: object) -> int | None:
    length = -1
    # The iterable's own code may raise anything, and the loop does not need the length.
    with caught(lambda error: None):
        length = operator.length_hint(iterable, -1)
    return length if length >= 0 else None


#: The runs that handles of this process belong to, by the token that travels with a handle.
_here: WeakValueDictionary[str, Progress] = WeakValueDictionary()
_tokens: WeakKeyDictionary[Progress, str] = WeakKeyDictionary()

#: The runs of other processes. One report for each, whatever the number of handles, so that it is throttled.
_elsewhere: dict[str, Progress] = {}


def _restored(token: str, ticket: bytes) -> ProgressHandle:
    progress = _here.get(token) or _elsewhere.get(token)
    if progress is None:
        # It stands inside the pickle that is being read here anyway.
        progress = _elsewhere[token] = pickle.loads(ticket).open()  # nosec B301
        while len(_elsewhere) > KEPT:
            _elsewhere.pop(next(iter(_elsewhere)))
    return ProgressHandle(progress)


@dataclass(frozen=True)
class _Ticket:
    """What another process has to know of a run to report for it: also which part of the run it works at."""

    name: str
    writer: Writer
    interval: float
    began: float
    past: Past
    low: float
    high: float
    path: str
    message: str | None

    @classmethod
    def of(cls, progress: Progress, writer: Writer) -> _Ticket:
        level = progress.report.level
        return cls(
            progress.name,
            writer,
            progress.interval,
            time.time() - (time.monotonic() - progress.report.began),
            progress.report.known_past,
            level.low,
            level.high,
            level.path,
            level.message,
        )

    def dumps(self) -> bytes:
        """Return the ticket as bytes, which are read only by a process that does not know the run yet.

        :raises JobtasticError: if the Celery configuration cannot be pickled.
        """
        try:
            return pickle.dumps(self)
        except JobtasticError:
            raise
        except Exception as error:
            raise JobtasticError(
                f"the progress of {self.name} cannot be passed to another process, because the Celery "
                f"configuration cannot be pickled: {error!r}. Name the functions in the configuration by "
                "strings, or report from the process of the task"
            ) from error

    def open(self) -> Progress:
        """Return the progress of the run as this process reports it."""
        level = Level(None, self.low, self.high, self.path, self.message, reached=self.low)
        is_whole = (self.low, self.high) == (0.0, 1.0)
        began = time.monotonic() - (time.time() - self.began)
        report = Report(began, lambda: self.past, clock=time.monotonic, level=None if is_whole else level)
        report.level.message = self.message
        progress = Progress(self.name, self.writer, interval=self.interval, report=report)
        progress.move_to_this_process()
        return progress
