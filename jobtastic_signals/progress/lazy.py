"""The progress of the run in a context, which is made when it is first needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, Token, copy_context

from ..support import timers
from ..support.shown import shown
from . import background
from .reporter import Progress
from .schedule import CallAt, Schedule

__all__ = ["LazyProgress", "reporting"]

logger: logging.Logger = logging.getLogger(__name__)

#: The progress of the run whose body goes on in this context.
reporting: ContextVar[LazyProgress | None] = ContextVar("jobtastic_reporting", default=None)

#: Makes the progress of a run that began at this time, by the clock, and goes on in this context.
Make = Callable[[float, Context | None], Progress]


class LazyProgress:
    """The progress of one run, if it needs one.

    Most runs report nothing, and end before they are shown. They cost no more than this.

    :ivar progress: the progress; ``None`` until it is needed.
    :ivar schedule: that of the progress.
    :ivar took: how many seconds the run took, once this is closed.
    """

    def __init__(
        self, make: Make, *, clock: Callable[[], float] = time.monotonic, call_at: CallAt | None = None
    ) -> None:
        self.progress: Progress | None = None
        self.schedule: Schedule | None = None
        self.took: float = 0.0
        self._clock, self._call_at, self._began = clock, call_at or timers.call_at, clock()
        self._make: Make | None = make
        self._made: list[Progress] = []
        self._is_shared = self._is_forked = False
        self._timer: timers.Timer | None = None
        self._token: Token[LazyProgress | None] | None = None
        self._context: Context | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes may report for the run as well."""
        return self._is_shared or (self.progress is not None and self.progress.is_shared)

    @property
    def weights(self) -> Mapping[str, float]:
        """The sum of the weights of the phases in each level, by the path of the level."""
        return {} if self.progress is None else self.progress.report.weights

    def enter(self) -> None:
        """Let the run go on in this context, until :meth:`close`."""
        self._token = reporting.set(self)
        # Receivers of our event see it in other threads, too.
        self._context = copy_context()
        background.watch_forks(_forked, _began_as_fork)

    def begin(self, after: float) -> None:
        """Show in so many seconds that the run goes on. Later, estimate the time left from earlier runs."""
        if not after:
            self._show_start(waits=True)
            return
        try:
            self._timer = self._call_at(self._began + after, self._show_start)
        except RuntimeError as error:  # Such as when the interpreter shuts down.
            logger.warning("nothing is written in the background: %s", shown(error))

    def open(self) -> Progress | None:
        """Return the progress, which may be made now; ``None`` for a run that has ended without one."""
        make = self._make
        if self.progress is None and make is not None:
            # Where two threads make it at once, both go on with the first.
            self._made.append(make(self._began, self._context))
            self.progress = self._made[0]
            self.schedule = self.progress.schedule
            if self._is_forked:
                self.progress.move_to_this_process()
            if self._make is None:
                self.progress.close()
        return self.progress

    def close(self) -> None:
        """Write nothing from now on. Wait for what is being written, where it would replace the end."""
        if self._token is not None:
            try:
                reporting.reset(self._token)
            except ValueError:
                # A first update within asyncio.run() came from a copy of the context, which is gone.
                self._token = None
        self.took = self._clock() - self._began
        if self._timer is not None:
            self._timer.cancel()
        # In this order, since another thread may be making it.
        self._make = self._context = None
        if self.progress is not None:
            self.progress.close()

    def fork(self, *, is_child: bool) -> None:
        """Note that another process may report, which is this one if it *is_child*."""
        if not is_child:
            self._is_shared = True
        elif self.progress is not None:
            self.progress.move_to_this_process()
        else:
            self._is_forked = True

    def _show_start(self, *, waits: bool = False) -> None:
        progress = self.open()
        if progress is not None:
            progress.show_start(waits=waits)


def _forked() -> None:
    if (lazy := reporting.get()) is not None:
        lazy.fork(is_child=False)


def _began_as_fork() -> None:
    if (lazy := reporting.get()) is not None:
        lazy.fork(is_child=True)
