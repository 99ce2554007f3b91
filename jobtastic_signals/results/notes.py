"""Notes in the store for people who watch: a run goes on, or its result is ignored.

A run leaves no trace when its host is lost, and one that ignores its result leaves none at all. The status of
a task knows nothing but its id, so what is noted is kept under that.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial

from kombu.utils.limits import TokenBucket

from ..calls import Run
from ..installation import Installation
from ..middleware import Middleware
from ..sharing.leases import RENEWALS, timers
from ..sharing.waiting import Wait
from ..stores.guard import GuardedStore
from . import backend, index

__all__ = ["Notes"]

#: Seconds that a run takes at least to be noted, and between two looks at what is due.
WORTH_NOTING = 1.0

#: How many ignored results a process notes in a second, and in a burst. People start few tasks, and other
#: tasks that ignore their results can be many.
IGNORED_NOTES, BURST = 10, 100


class Notes(Middleware):
    """Notes the runs of tasks that share, in the store of *installation*. No run waits for its note."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._beats = _Beats()
        self._ignored = TokenBucket(IGNORED_NOTES, BURST)

    def before_run(self, run: Run) -> None:
        """Drop the note of an earlier delivery of a run that now waits: it is not lost any more."""
        if isinstance(run.decision, Wait) and not run.stamp.get("waits"):
            index.drop_note(self._installation.store, run.id)

    def before_body(self, run: Run) -> None:
        """Note later that the run goes on, or at once that its result is ignored."""
        if not run.policy.shares or run.request is None:
            return
        store = self._installation.store
        if backend.shows_progress(run.task, run.request):
            beat = _Beat(store, run.id, self._installation.settings.lease)
            run.keep(beat)
            self._beats.add(beat)
        elif self._may_note_ignored(run):
            timers.call_at(time.monotonic(), partial(index.note_ignored, store, run.id))

    def after_body(self, run: Run) -> None:
        """Drop the note. The result backend is about to know how the run ended."""
        beat = run.drop(_Beat)
        if beat is not None:
            self._beats.remove(beat)
            beat.end()

    def _may_note_ignored(self, run: Run) -> bool:
        """Return whether the result of *run* is ignored, and may be noted."""
        assert run.request is not None
        ignores = backend.ignores_result(run.task, run.request) and not run.is_eager
        return ignores and bool(self._ignored.can_consume())


class _Beat:
    """The note of one run that goes on.

    :ivar due: when it has to be written next, by ``time.monotonic()``.
    """

    def __init__(self, store: GuardedStore, task_id: str, lease: float) -> None:
        self.due = time.monotonic() + WORTH_NOTING
        self._store, self._task_id = store, task_id
        self._lease = max(lease, RENEWALS * WORTH_NOTING)
        self._writing = threading.Lock()
        self._is_noted = self._has_ended = False

    def write(self, now: float) -> None:
        """Write the note, unless the run has ended."""
        with self._writing:
            if not self._has_ended:
                self._is_noted = True
                self.due = now + self._lease / RENEWALS
                index.note_running(self._store, self._task_id, self._lease)

    def end(self) -> None:
        """Drop the note, and write it no more. Waits for what is being written."""
        self._has_ended = True
        with self._writing:
            if self._is_noted:
                index.drop_note(self._store, self._task_id)


class _Beats:
    """The notes of all runs that go on in this process. A run that ends soon costs no more than an entry."""

    def __init__(self) -> None:
        self._beats: dict[_Beat, None] = {}
        self._ticking: tuple[int, object] | None = None

    def add(self, beat: _Beat) -> None:
        """Write *beat* whenever it is due, until :meth:`remove`."""
        ticking = self._ticking
        if ticking is not None and ticking[0] != os.getpid():
            # This is a forked child, and those runs are the parent's.
            self._beats, ticking = {}, None
        self._beats[beat] = None
        if ticking is None:
            self._tick_later()

    def remove(self, beat: _Beat) -> None:
        """Write *beat* no more."""
        self._beats.pop(beat, None)

    def _tick_later(self) -> None:
        # If two threads come here at once, the ticking of the first one ends.
        self._ticking = ticking = (os.getpid(), object())
        timers.call_at(time.monotonic() + WORTH_NOTING, partial(self._tick, ticking))

    def _tick(self, ticking: tuple[int, object]) -> None:
        if ticking is not self._ticking:
            return
        now = time.monotonic()
        for beat in list(self._beats):
            if beat.due <= now:
                beat.write(now)
        # In this order, so that a run that comes in between is not missed.
        self._ticking = None
        if self._beats:
            self._tick_later()
