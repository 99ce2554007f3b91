"""What a running task says of its progress, and what its callers see of several tasks.

Everything here works in any running task, and does nothing outside of one, so that a function which reports
can be called from anywhere. A function that a task calls, another task that it calls directly, and one that
it runs by ``apply()`` report as part of the run that goes on. So does a thread to which the context was
carried, as ``asyncio.to_thread`` and ``contextvars.copy_context().run`` do.

In the result backend a run that says something has the state ``PROGRESS``, with the meta

* ``progress_percent``: from 0 to 100; 0 at the start, and 100 only when everything is completed;
* ``time_remaining``: in seconds; ``-1`` without a good estimate;
* ``completed`` and ``total``: the counts, ``total`` being ``None`` where it is not known;
* ``message``: text for people, or ``None``.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Task
from celery._state import _task_stack
from celery.exceptions import SoftTimeLimitExceeded

from .. import events
from ..calls import run_of
from ..registry import installation_on, installed
from ..results import backend as backends
from ..settings import PROGRESS_INTERVAL
from .reporter import FIRST, Progress, Write, current_progress

if TYPE_CHECKING:
    from celery.app.task import Context

__all__ = ["end_report", "phase", "track", "update_progress", "writer_for"]

T = TypeVar("T")

# On the request of a task without options of ours, and what stands there when its run is over.
_PROGRESS, _OVER = "_jobtastic_progress", "over"


def update_progress(
    completed: float, total: float | None, update_frequency: float = 1, message: str | None = None
) -> None:
    """Tell those who wait for the running task that *completed* of *total* are done.

    Call it as often as you like: what comes too soon after the last record is held back, and the latest of
    it is written when the time has come. It never raises; what is no number is left out, with a warning.

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
    progress = current_progress.get() or _of_task_without_options()
    if progress is not None:
        progress.update(completed, total, update_frequency, message)


def track(iterable: Iterable[T], total: float | None = None, message: str | None = None) -> Iterator[T]:
    """Yield the items of *iterable*, and tell how far the loop is, as with :func:`update_progress`.

    Inside of the body of a tracked loop, further loops and phases are parts of the item that is worked on.

    :param total: the number of items; by default their ``len()``, or unknown if they have none.

    >>> [2 * n for n in track([1, 2, 3])]
    [2, 4, 6]
    """
    progress = current_progress.get() or _of_task_without_options()
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
                progress.count(level, time.monotonic() - began)


@contextmanager
def phase(name: str, weight: float = 1, *, of: float | None = None) -> Iterator[None]:
    """What is reported inside of this block is a part of the whole, as large as its *weight*.

    Phases can be nested: those inside of a phase share it among themselves.

    :param name: the message, until there is another one.
    :param of: the sum of the weights of this phase and those beside it; it is enough that the first one tells
        it. Where none does, it is known from earlier runs, or, in the first one, half of what is left is
        taken.

    >>> with phase("load", of=4):
    ...     update_progress(1, 2)         # 12.5 percent
    >>> with phase("render", weight=3):   # from 25 percent on
    ...     pages = list(track(["1", "2"]))
    """
    progress = current_progress.get() or _of_task_without_options()
    if progress is None:
        yield
        return
    with progress.phase(name, weight, of):
        yield


def _length_of(iterable: Iterable[Any]) -> int | None:
    try:
        length = operator.length_hint(iterable, -1)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        # It is the iterable's own, and may be anything; the loop needs it for nothing.
        return None
    return length if length >= 0 else None


def writer_for(task: Task, request: Context, key: str | None) -> Write | None:
    """Writes records of the run under *request* where those who wait see them; ``None`` if nobody can."""
    if not backends.shows_progress(task, request):
        return None

    again = True

    def write(record: Mapping[str, Any], unasked: bool) -> bool:
        nonlocal again
        if record is FIRST:
            backends.start_progress(task, request, record)
        elif not backends.store_progress(task, request, record, unasked=unasked, again=again):
            return False
        again = False
        events.emit(events.progress_updated, task, key=key, task_id=request.id, **record)
        return True

    return write


def end_report(request: Context) -> None:
    """The run under *request* is over; what is said from now on is said for nothing."""
    progress: Progress | str | None = getattr(request, _PROGRESS, None)
    if isinstance(progress, Progress):
        progress.close()
    setattr(request, _PROGRESS, _OVER)


def _of_task_without_options() -> Progress | None:
    for task in reversed(_task_stack.stack):
        request = task.request
        if request.called_directly or (request.is_eager and not task.store_eager_result):
            continue
        if run_of(request) is not None:
            # Its own report is not open yet, or not any more.
            return None
        progress: Progress | str | None = getattr(request, _PROGRESS, None)
        if isinstance(progress, str):
            return None
        return progress or _made_for(task, request)
    return None


def _made_for(task: Task, request: Context) -> Progress:
    installation = installation_on(task.app)
    progress = Progress(
        f"{task.name}[{request.id}]",
        writer_for(task, request, None),
        interval=PROGRESS_INTERVAL if installation is None else installation.settings.progress_interval,
        flushes=False,
    )
    setattr(request, _PROGRESS, progress)
    if installed:
        # Somebody hears when it ends, so that it need not be looked for each time.
        progress.enter()
    return progress
