"""Memory: runs that leave this process larger than it was, and tasks that go on doing so."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from celery.utils.saferepr import saferepr

from .. import events
from ..calls import Run
from ..keys.binding import OMITTED, binder_of, catch_all_in, parameters_of
from ..middleware import Middleware
from ..options import Option, boolean_free_number
from .process import Growth, Trace, Verdict, peak, resident, tidied

if TYPE_CHECKING:
    from ..settings import Settings

__all__ = ["MemoryWatch"]

#: Formats the task's id and name into each line, as everything under ``celery.task``. It is that by name: a
#: parent that was set would be another one once somebody asks for the logger ``jobtastic_signals``.
logger = get_task_logger("celery.task.jobtastic")

MEGABYTE = 1_000_000

#: How many lines of code a trace tells, and how many characters of the arguments are shown.
TRACED_LINES, SHOWN = 10, 1024

REDACTED = "[redacted]"

UNATTRIBUTED = (
    "Other runs may go on in this process at the same time, so this cannot be attributed to this run."
)

# On the request, as it is of one run.
_MEASURE = "_jobtastic_memory"


def _parse_trace(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")
    return value


MEMLEAK_THRESHOLD = Option(
    "memleak_threshold",
    default=-1,
    accepts="the megabytes (10^6 bytes) that a run may add to the memory of its process without a warning, "
    "as 50; negative for no warnings",
    parse=boolean_free_number,
)

MEMLEAK_TRACE = Option(
    "memleak_trace",
    default=False,
    accepts="True to trace the run after a warning with tracemalloc, or False",
    parse=_parse_trace,
)


@dataclass(eq=False)
class _Measure:
    """Of one run, while its body goes on."""

    start: int
    thread: int
    alone: bool
    trace: Trace | None = None


@dataclass
class _Watched:
    """What is known of one task in this process."""

    growth: Growth = field(default_factory=Growth)
    trace_next: bool = False


class _Process:
    """What is known of the runs of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tasks: dict[str, _Watched] = {}
        self.running: set[_Measure] = set()
        self.last: Growth | None = None

    def begin(self) -> _Measure:
        thread = threading.current_thread()
        # Only what runs in the main thread has the process for itself: runs of tasks without the option,
        # and requests that a web server answers, are not seen.
        now = resident()
        with self.lock:
            doubtful = self.last is not None and self.last.is_doubtful(now)
        # A failed run leaves garbage that holds all its variables, and that nobody may collect for long.
        if doubtful:
            now = tidied()
        measure = _Measure(now, thread.ident or 0, thread is threading.main_thread())
        with self.lock:
            if self.last is not None:
                self.last.rests(now)
                self.last = None
            for other in self.running:
                # A run in the same thread is a part of this one, or this one of it.
                if other.thread != measure.thread:
                    other.alone = measure.alone = False
            self.running.add(measure)
        return measure

    def end(self, measure: _Measure, task: _Watched, limit: float) -> Verdict | None:
        now = resident()
        with self.lock:
            self.running.discard(measure)
            if measure.trace is not None:
                # Tracing takes memory of its own.
                return None
            self.last = task.growth
            verdict = task.growth.ended(measure.start, now, limit)
        if verdict is None or verdict.kind == "warm-up":
            return verdict
        now = tidied()
        with self.lock:
            # Unless another run has begun in the meantime, and told what was left of this one.
            return task.growth.judged(now) if self.last is task.growth else verdict


class MemoryWatch(Middleware):
    """Warns of runs that add more than ``memleak_threshold`` to the resident memory of their process.

    Measured right before the body and in postrun: by then Celery has stored the result, and let go of what
    the frames of a failed body held. Eager runs are measured as well, in the process that calls them.
    """

    options = (MEMLEAK_THRESHOLD, MEMLEAK_TRACE)

    def __init__(self, get_settings: Callable[[], Settings]) -> None:
        self._get_settings = get_settings
        self._known: tuple[int, _Process] = (os.getpid(), _Process())

    @property
    def _process(self) -> _Process:
        pid, process = self._known
        if pid != os.getpid():
            # Forked: what the parent knows is of another process, and its lock may be held by nobody.
            process = _Process()
            self._known = (os.getpid(), process)
        return process

    def before_body(self, run: Run) -> None:
        """Measure, and trace the run if the one before was warned about."""
        if run.policy["memleak_threshold"] < 0:
            return
        process = self._process
        measure = process.begin()
        setattr(run.request, _MEASURE, measure)
        task = process.tasks.get(run.task.name)
        if task is not None and task.trace_next:
            measure.trace = Trace.begin()
            task.trace_next = measure.trace is None

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        """Measure again, also after a failure. A run whose body did not run was not measured before."""
        measure: _Measure | None = getattr(run.request, _MEASURE, None)
        if measure is None:
            return
        delattr(run.request, _MEASURE)
        process = self._process
        task = process.tasks.get(run.task.name)
        if task is None:
            task = process.tasks.setdefault(run.task.name, _Watched())
        try:
            verdict = process.end(measure, task, run.policy["memleak_threshold"] * MEGABYTE)
        finally:
            if measure.trace is not None:
                _tell_trace(measure.trace, measure.alone)
        if verdict is None:
            return
        if verdict.kind == "warm-up":
            _tell_warm_up(verdict)
        else:
            task.trace_next = run.policy["memleak_trace"]
            self._warn(run, measure, verdict)

    def _warn(self, run: Run, measure: _Measure, verdict: Verdict) -> None:
        arguments = _arguments(run, self._get_settings().memleak_redact)
        end, highest = measure.start + verdict.growth, peak()
        logger.warning("Jobtastic:memleak memleak_detected. %s", _increase(verdict.growth, measure.alone))
        logger.info("Jobtastic:memleak memory_usage_start=%05d unit=MB", measure.start // MEGABYTE)
        logger.info("Jobtastic:memleak memory_usage_end=%05d unit=MB", end // MEGABYTE)
        if logger.isEnabledFor(logging.INFO):
            logger.info("Jobtastic:memleak task_kwargs=%s", _shown(arguments))
        logger.info(
            "Jobtastic:memleak kind=%s growing_runs=%d of_runs=%d trend_bytes_per_run=%d peak_bytes=%s",
            verdict.kind,
            verdict.growing,
            verdict.runs,
            verdict.trend,
            highest,
        )
        events.emit(
            events.memory_leak_detected,
            run.task,
            key=run.key,
            task_id=run.id,
            task_kwargs=arguments,
            growth=verdict.growth,
            start=measure.start,
            end=end,
            leak=verdict.kind == "leak",
            trend=verdict.trend,
            growing=verdict.growing,
            runs=verdict.runs,
            peak=highest,
            attributed=measure.alone,
        )


def _increase(growth: int, alone: bool) -> str:
    text = f"memory_increase={growth // MEGABYTE:05d} unit=MB"
    if growth < MEGABYTE:
        text += f" memory_increase_bytes={growth}"
    return text if alone else f"{text}. {UNATTRIBUTED}"


def _tell_warm_up(verdict: Verdict) -> None:
    logger.info(
        "Jobtastic:memleak warm_up. memory_increase=%05d unit=MB memory_increase_bytes=%d growing_runs=%d",
        verdict.growth // MEGABYTE,
        verdict.growth,
        verdict.growing,
    )


def _tell_trace(trace: Trace, alone: bool) -> None:
    lines = trace.end(TRACED_LINES)
    for number, line in enumerate(lines, 1):
        logger.warning(
            "Jobtastic:memleak trace=%02d %s%s", number, line, "" if alone else f". {UNATTRIBUTED}"
        )
    if not lines:
        logger.warning("Jobtastic:memleak trace=00 no line grew: it is not Python that allocates the memory")


def _arguments(run: Run, redacted: bool | frozenset[str]) -> dict[str, Any]:
    """What the run was called with, by name. Where it does not fit, those without a name are left out."""
    parameters = parameters_of(type(run.task))
    catch_all = catch_all_in(parameters)
    try:
        values = binder_of(parameters.values(), "run")(*run.args, **run.kwargs)
    except TypeError:
        given, caught = dict(run.kwargs), {}
    else:
        given = {name: value for name, value in zip(parameters, values, strict=True) if value is not OMITTED}
        caught = given.pop(catch_all, {})
    if _is_redacted(catch_all, redacted):
        caught = dict.fromkeys(caught, REDACTED)
    given.update(caught)
    return {name: REDACTED if _is_redacted(name, redacted) else value for name, value in given.items()}


def _is_redacted(name: str | None, redacted: bool | frozenset[str]) -> bool:
    return redacted if isinstance(redacted, bool) else name in redacted


def _shown(arguments: Mapping[str, Any]) -> str:
    try:
        return str(saferepr(arguments, maxlen=SHOWN))
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        # One of them has a __repr__ that raises.
        kinds = {name: type(value).__name__ for name, value in arguments.items()}
        return str(saferepr(kinds, maxlen=SHOWN))
