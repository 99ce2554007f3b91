"""Report progress from a running task.

Everything here works in any running task, and does nothing outside of one, so a function that reports can be
called from anywhere. These report as part of the run around them:

* a function that a task calls, another task that it calls directly, and one that it runs by ``apply()``;
* a thread with a copy of the context, for example by ``asyncio.to_thread``.

In the result backend a run that reports has the state ``PROGRESS``, with this meta:

* ``progress_percent``: from 0 to 100; 0 at the start, and 100 only when everything is completed;
* ``time_remaining``: in seconds; ``-1`` without a good estimate;
* ``completed`` and ``total``: the counts; ``total`` is ``None`` where it is not known;
* ``message``: text for people, or ``None``.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Task

from .. import celery_internals, events
from ..calls import run_of
from ..installation import installation_on, installed
from ..results import backend as backends
from ..settings import PROGRESS_INTERVAL
from ..support.time_limits import caught
from . import records
from .report import FIRST
from .reporter import Progress, Write, current_progress

if TYPE_CHECKING:
    from celery.app.task import Context

__all__ = ["end_report", "phase", "track", "update_progress", "writer_for"]

T = TypeVar("T")

# On the request of a task without options of ours, which has no run: its progress, and the mark that stands
# there once it has ended.
_PROGRESS, _ENDED = "_jobtastic_progress", "ended"


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
    progress = current_progress.get() or _progress_without_run()
    if progress is not None:
        progress.update(completed, total, update_frequency, message)


def track(iterable: Iterable[T], total: float | None = None, message: str | None = None) -> Iterator[T]:
    """Yield the items of *iterable*, and report how far the loop is, like :func:`update_progress`.

    Inside the body of a tracked loop, further loops and phases are parts of the current item.

    :param total: the number of items; by default their ``len()``, or unknown if they have none.

    >>> [2 * n for n in track([1, 2, 3])]
    [2, 4, 6]
    """
    progress = current_progress.get() or _progress_without_run()
    if progress is None:
        yield from iterable
        return
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
    progress = current_progress.get() or _progress_without_run()
    if progress is None:
        yield
        return
    with progress.phase(name, weight, of):
        yield


def _length_of(iterable: Iterable[Any]) -> int | None:
    length = -1
    # The iterable's own code may raise anything, and the loop does not need the length.
    with caught(lambda error: None):
        length = operator.length_hint(iterable, -1)
    return length if length >= 0 else None


def writer_for(task: Task, request: Context, key: str | None) -> Write | None:
    """Return what writes the records of the run under *request*; ``None`` if nobody can read them."""
    if not backends.shows_progress(task, request):
        return None

    is_first = True

    def write(record: Mapping[str, Any], is_estimate: bool) -> bool:
        nonlocal is_first
        if record is FIRST:
            records.write_first_record(task, request, record)
        elif not records.write_record(
            task, request, record, is_estimate=is_estimate, may_follow_retry=is_first
        ):
            return False
        is_first = False
        events.emit(events.progress_updated, task, key=key, task_id=request.id, **record)
        return True

    return write


def end_report(request: Context) -> None:
    """End the report of the run under *request*; what it still reports is dropped."""
    progress: Progress | str | None = getattr(request, _PROGRESS, None)
    if isinstance(progress, Progress):
        progress.close()
    setattr(request, _PROGRESS, _ENDED)


def _progress_without_run() -> Progress | None:
    """Return the progress of the innermost running task that can report, if it has no options of ours."""
    for task in reversed(celery_internals.running_tasks()):
        request = task.request
        if request.called_directly or (request.is_eager and not task.store_eager_result):
            continue
        if run_of(request) is not None:
            # Its own report has not begun yet, or has ended.
            return None
        progress: Progress | str | None = getattr(request, _PROGRESS, None)
        if isinstance(progress, str):
            return None
        return progress or _begin_progress(task, request)
    return None


def _begin_progress(task: Task, request: Context) -> Progress:
    installation = installation_on(task.app)
    progress = Progress(
        f"{task.name}[{request.id}]",
        writer_for(task, request, None),
        interval=PROGRESS_INTERVAL if installation is None else installation.settings.progress_interval,
        flushes=False,
    )
    setattr(request, _PROGRESS, progress)
    if installed:
        # Our handlers see the end of the run, so the progress need not be looked up for each update.
        progress.enter()
    return progress
