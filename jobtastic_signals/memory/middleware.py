"""Memory as a middleware: warnings about tasks whose runs keep growing the process."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from celery.utils.log import get_task_logger
from celery.utils.saferepr import saferepr

from .. import events
from ..calls import Run
from ..installation import Installation
from ..keys.binding import OMITTED, binder_of, catch_all_in, parameters_of
from ..middleware import Middleware
from ..options import Option
from ..support.redaction import REDACTED, redacted_arguments
from ..support.shown import one_line
from ..support.time_limits import caught
from .growth import Growth, GrowthReport
from .options import OPTIONS
from .process import Trace, peak, resident, tidied

__all__ = ["MemoryWatch"]

#: Formats the task's id and name into each line, like every logger under ``celery.task``. It has to have that
#: name: a parent that is set would be replaced once somebody asks for the logger ``jobtastic_signals``.
logger: logging.Logger = get_task_logger("celery.task.jobtastic")

MEGABYTE = 1_000_000

#: How many lines of code a trace shows, and the least share of the whole growth that each of them has.
TRACED_LINES, LEAST_SHARE = 10, 0.05

#: Seconds between two traces of a task in one process, since a traced run is several times slower.
BETWEEN_TRACES = 3600.0

#: How many characters of the arguments a warning shows.
SHOWN = 1024

NO_LINE = (
    f"no line has {LEAST_SHARE:.0%} of what Python allocated: the memory comes from many places, or Python "
    "does not allocate it"
)

UNATTRIBUTED = (
    "Other runs may go on in this process at the same time, so this cannot be attributed to this run."
)


@dataclass(eq=False, repr=False)
class _Measurement:
    """The memory before the body of a run, and what else goes on meanwhile.

    :ivar start: the bytes that were resident.
    :ivar thread: the thread of the run.
    :ivar alone: whether nothing else is known to run in this process.
    :ivar trace: traces the run, if one was asked for.
    """

    start: int
    thread: int
    alone: bool
    trace: Trace | None = None


@dataclass(eq=False, repr=False)
class _TaskMemory:
    """What one task has added to the memory of this process.

    :ivar trace_next: whether to trace the next run.
    :ivar no_trace_before: the earliest time of the next trace, by the monotonic clock.
    """

    growth: Growth = field(default_factory=Growth)
    trace_next: bool = False
    no_trace_before: float = -math.inf


class _ProcessMemory:
    """What the watched tasks have added to the memory of this process.

    :ivar tasks: by the names of the tasks.
    :ivar running: the runs that go on.
    :ivar last: what the task of the latest run has added; ``None`` once another run has begun.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tasks: dict[str, _TaskMemory] = {}
        self.running: set[_Measurement] = set()
        self.last: Growth | None = None

    def begin(self) -> _Measurement:
        """Measure before the body of a run."""
        thread = threading.current_thread()
        now = resident()
        with self.lock:
            needs_cleanup = self.last is not None and self.last.needs_cleanup(now)
        # A failed run leaves garbage that holds all its variables, and that may not be collected for long.
        if needs_cleanup:
            now = tidied()
        # A run outside the main thread is never alone: we see neither runs of tasks without the option nor
        # requests that a web server answers.
        measure = _Measurement(now, thread.ident or 0, thread is threading.main_thread())
        with self.lock:
            if self.last is not None:
                self.last.close_run(now)
                self.last = None
            for other in self.running:
                # A run in the same thread is a part of this one, or this one of it.
                if other.thread != measure.thread:
                    other.alone = measure.alone = False
            self.running.add(measure)
        return measure

    def end(self, measure: _Measurement, task: _TaskMemory, limit: float) -> GrowthReport | None:
        """Measure after a run, and return a report if it grew by more than *limit* bytes."""
        now = resident()
        with self.lock:
            self.running.discard(measure)
            if measure.trace is not None:
                # Tracing takes memory of its own.
                return None
            self.last = task.growth
            report = task.growth.end_run(measure.start, now, limit)
        if report is None or report.kind == "warm-up":
            return report
        now = tidied()
        with self.lock:
            # Once another run has begun, it is known already what was left of this one.
            return task.growth.report(now) if self.last is task.growth else report


class MemoryWatch(Middleware):
    """Warns of runs that add more than ``memleak_threshold`` to the resident memory of their process.

    It measures right before the body, and again when the run has ended. By then Celery has stored the result,
    and has let go of what the frames of a failed body held. Eager runs are measured as well, in the process
    that calls them.
    """

    options: ClassVar[tuple[Option, ...]] = OPTIONS

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._known: tuple[int, _ProcessMemory] = (os.getpid(), _ProcessMemory())

    @property
    def _process(self) -> _ProcessMemory:
        pid, process = self._known
        if pid != os.getpid():
            # A forked child begins anew: this is about its parent, and the lock may stay locked for ever.
            process = _ProcessMemory()
            self._known = (os.getpid(), process)
        return process

    def before_body(self, run: Run) -> None:
        """Measure, and trace the run if there was a warning about the one before."""
        # Some tasks measure their runs themselves: see :mod:`.compat`.
        if run.policy["memleak_threshold"] < 0 or getattr(run.task, "measures_its_memory", False):
            return
        process = self._process
        measure = process.begin()
        run.keep(measure)
        task = process.tasks.get(run.task.name)
        if task is not None and task.trace_next:
            measure.trace = Trace.begin()
            if measure.trace is not None:
                task.trace_next, task.no_trace_before = False, time.monotonic() + BETWEEN_TRACES

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Measure again, also after a failure, and warn if the run grew."""
        measure = run.drop(_Measurement)
        if measure is None:
            return  # Its body did not run, or its task is not watched.
        process = self._process
        task = process.tasks.get(run.task.name)
        if task is None:
            task = process.tasks.setdefault(run.task.name, _TaskMemory())
        try:
            report = process.end(measure, task, run.policy["memleak_threshold"] * MEGABYTE)
        finally:
            if measure.trace is not None:
                _log_trace(measure.trace, measure.alone)
        if report is None:
            return
        if report.kind == "warm-up":
            _log_warm_up(report)
        else:
            task.trace_next = run.policy["memleak_trace"] and time.monotonic() >= task.no_trace_before
            self._warn(run, measure, report)

    def _warn(self, run: Run, measure: _Measurement, report: GrowthReport) -> None:
        arguments = _arguments(run, self._installation.settings.memleak_redact)
        end, highest = measure.start + report.growth, peak()
        logger.warning("Jobtastic:memleak memleak_detected. %s", _increase(report.growth, measure.alone))
        logger.info("Jobtastic:memleak memory_usage_start=%05d unit=MB", measure.start // MEGABYTE)
        logger.info("Jobtastic:memleak memory_usage_end=%05d unit=MB", end // MEGABYTE)
        if logger.isEnabledFor(logging.INFO):
            logger.info("Jobtastic:memleak task_kwargs=%s", _shown(arguments))
        logger.info(
            "Jobtastic:memleak kind=%s growing_runs=%d of_runs=%d trend_bytes_per_run=%d peak_bytes=%s",
            report.kind,
            report.growing,
            report.runs,
            report.trend,
            highest,
        )
        events.emit(
            events.memory_leak_detected,
            run.task,
            key=run.key,
            task_id=run.id,
            task_kwargs=arguments,
            growth=report.growth,
            start=measure.start,
            end=end,
            leak=report.kind == "leak",
            trend=report.trend,
            growing=report.growing,
            runs=report.runs,
            peak=highest,
            attributed=measure.alone,
        )


def _increase(growth: int, alone: bool) -> str:
    text = f"memory_increase={growth // MEGABYTE:05d} unit=MB"
    if growth < MEGABYTE:
        text += f" memory_increase_bytes={growth}"
    return text if alone else f"{text}. {UNATTRIBUTED}"


def _log_warm_up(report: GrowthReport) -> None:
    logger.info(
        "Jobtastic:memleak warm_up. memory_increase=%05d unit=MB memory_increase_bytes=%d growing_runs=%d",
        report.growth // MEGABYTE,
        report.growth,
        report.growing,
    )


def _log_trace(trace: Trace, alone: bool) -> None:
    lines = trace.end(TRACED_LINES, LEAST_SHARE)
    for number, line in enumerate(lines, 1):
        logger.warning(
            "Jobtastic:memleak trace=%02d %s%s", number, line, "" if alone else f". {UNATTRIBUTED}"
        )
    if not lines:
        logger.warning("Jobtastic:memleak trace=00 %s", NO_LINE)


def _arguments(run: Run, redact: bool | frozenset[str]) -> dict[str, Any]:
    """Return the arguments of the run by name, without what is secret.

    If they do not fit the task, positional ones are left out.
    """
    parameters = parameters_of(type(run.task))
    catch_all = catch_all_in(parameters)
    try:
        values = binder_of(parameters.values(), "run")(*run.args, **run.kwargs)
    except TypeError:
        given, caught = dict(run.kwargs), {}
    else:
        given = {name: value for name, value in zip(parameters, values, strict=True) if value is not OMITTED}
        caught = given.pop(catch_all, {})
    if not isinstance(redact, bool) and catch_all in redact:
        caught = dict.fromkeys(caught, REDACTED)
    given.update(caught)
    return redacted_arguments(given, redact)


def _shown(arguments: Mapping[str, Any]) -> str:
    # The __repr__ of an argument may raise.
    with caught(lambda error: None):
        return one_line(str(saferepr(arguments, maxlen=SHOWN)), SHOWN)
    kinds = {name: type(value).__name__ for name, value in arguments.items()}
    return one_line(str(saferepr(kinds, maxlen=SHOWN)), SHOWN)
