"""Report progress from a running task.

Everything here works in any running task, and does nothing outside of one, so a function that reports can be
called from anywhere. These report as part of the run around them:

* a function that a task calls, another task that it calls directly, and one that it runs by ``apply()``;
* a coroutine that it runs, and a thread with a copy of the context, for example by ``asyncio.to_thread``;
* any other thread or process to which the task passes the handle of :func:`current_progress`.

In the result backend a run that reports has the state ``PROGRESS``, with this meta:

* ``progress_percent``: from 0 to 100; 0 at the start, and 100 only when everything is completed;
* ``time_remaining``: in seconds; ``-1`` without a good estimate;
* ``completed`` and ``total``: the counts; ``total`` is ``None`` where it is not known;
* ``message``: text for people, or ``None``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, overload

from celery.exceptions import SoftTimeLimitExceeded

from .current import progress_here
from .handle import ProgressHandle
from .lazy import reporting

__all__ = ["current_progress", "phase", "track", "update_progress"]

T = TypeVar("T")

# Python would make an object of ``reporting.get`` for each call of it.
_lazy_here = reporting.get


def update_progress(
    completed: float, total: float | None, update_frequency: float = 1, message: str | None = None
) -> None:
    """Report that the running task has completed *completed* of *total*.

    Call it as often as you like. What comes too soon after the last record is held back, and the latest of it
    is written when the time has come. It never raises; what is not a number is left out, with a warning.

    :param total: ``None`` where it is not known.
    :param update_frequency: by how many *completed* has to grow until it is worth a record.
    :param message: text for people; it stays until there is another one.

    >>> from celery import Celery
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> @app.task(bind=True)
    ... def count(self, total):
    ...     for n in range(total):
    ...         update_progress(n + 1, total, message=f"number {n}")
    >>> count.apply((3,)).state
    'SUCCESS'
    """
    lazy = _lazy_here()
    schedule = None if lazy is None else lazy.schedule
    # Loops make millions of updates, so most are only noted here, with no call and no look at the clock.
    if schedule is not None and (level := schedule.level) is not None and message is None:
        level.completed = completed
        level.total = total
        try:
            # In this order: the record that ends the holding back says what was noted before.
            if schedule.is_held_back and update_frequency == 1 and completed != total and schedule.unseen > 0:
                schedule.unseen -= 1
                return
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            schedule.level = None  # These are no numbers. The update fails once more, and warns.
    progress = progress_here() if lazy is None else lazy.progress or lazy.open()
    if progress is not None:
        progress.update(completed, total, update_frequency, message)


def current_progress() -> ProgressHandle:
    """Return a handle of the running task's progress, to pass to threads and to other processes.

    Its methods are ``update``, ``track`` and ``phase``. They do nothing if this is called outside of a run,
    or once the run has ended. The handle can be pickled.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> def convert(progress, pages):
    ...     return [page.upper() for page in progress.track(pages)]
    >>> with ThreadPoolExecutor() as pool:
    ...     pool.submit(convert, current_progress(), ["a", "b"]).result()
    ['A', 'B']
    """
    return ProgressHandle(progress_here())


@overload
def track(iterable: Iterable[T], total: float | None = None, message: str | None = None) -> Iterator[T]: ...


@overload
def track(
    iterable: AsyncIterable[T], total: float | None = None, message: str | None = None
) -> AsyncIterator[T]: ...


def track(
    iterable: Iterable[T] | AsyncIterable[T], total: float | None = None, message: str | None = None
) -> Iterator[T] | AsyncIterator[T]:
    """Yield the items of *iterable*, and report how far the loop is, like :func:`update_progress`.

    Inside the body of a tracked loop, further loops and phases are parts of the current item.

    :param iterable: for an asynchronous one, loop with ``async for``.
    :param total: the number of items; by default their ``len()``, or unknown if they have none.

    >>> [2 * n for n in track([1, 2, 3])]
    [2, 4, 6]
    """
    return ProgressHandle(progress_here()).track(iterable, total, message)


@contextmanager
def phase(name: str, weight: float = 1, *, of: float | None = None) -> Iterator[None]:
    """Make what is reported inside this block a part of the whole, as large as its *weight*.

    Phases can be nested: those inside a phase share it among themselves.

    :param name: the message, until there is another one.
    :param of: the sum of the weights of this phase and those beside it. It is enough to
        give it in the first phase. Without it, the sum of an earlier run counts. In the first run each phase
        takes half of what is left.

    >>> with phase("load", of=4):
    ...     update_progress(1, 2)         # 12.5 percent
    >>> with phase("render", weight=3):   # from 25 percent on
    ...     pages = list(track(["1", "2"]))
    """
    with ProgressHandle(progress_here()).phase(name, weight, of=of):
        yield
