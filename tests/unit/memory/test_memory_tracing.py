"""The lines that allocate are found by tracing one run; the options are checked."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from jobtastic_signals import OptionError
from jobtastic_signals.memory import middleware as watch
from jobtastic_signals.memory.process import Trace
from tests.support.memory import MB, warm_up, warnings_in
from tests.support.unit_apps import real


@pytest.fixture
def hoarding(new_app, memory_of):
    """Return a function that makes a task whose runs each keep a megabyte, and seem to keep two."""
    app = new_app()
    hoard: list[Any] = []

    def keep():
        memory_of.resident += 2 * MB
        hoard.append([tracemalloc.is_tracing(), bytearray(MB)])  # This line.

    def make(**options: Any) -> Any:
        return real(app.task(keep, name="proj.keep", shared=False, memleak_threshold=1, **options)), lambda: [
            line[0] for line in hoard
        ]

    return make


def traced_in(lines: list[tuple[str, str]]) -> list[str]:
    return [text for text in warnings_in(lines) if "memleak trace=" in text]


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def test_the_run_after_a_warning_is_traced(hoarding, log):
    task, traced = hoarding(memleak_trace=True)
    for _ in range(6):
        task.apply()
    assert traced() == [False, False, False, False, True, False]
    [line] = traced_in(log())
    assert line.startswith(
        f"Jobtastic:memleak trace=01 line={__file__}:{line_of('# This' + ' line.')} increase_bytes=100"
    )
    assert line.endswith((" share=99%", " share=100%"))
    assert not tracemalloc.is_tracing()


def test_a_task_is_traced_once_an_hour(hoarding, log, monkeypatch):
    task, traced = hoarding(memleak_trace=True)
    now = 1000.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    for _ in range(8):
        task.apply()
    assert traced() == [False] * 4 + [True] + [False] * 3
    now += watch.BETWEEN_TRACES
    for _ in range(2):
        task.apply()
    # The first run after that hour has a warning, and the next is traced.
    assert traced()[8:] == [False, True]
    assert len(traced_in(log())) == 2


def hoard(new_app, memory_of, sizes: list[int]) -> Any:
    """A task whose lines keep so many bytes each."""
    kept: list[Any] = []
    bodies = "".join(f"    kept.append(bytearray({size}))\n" for size in sizes)
    names: dict[str, Any] = {"__name__": __name__, "kept": kept, "memory": memory_of}
    exec(compile(f"def keep():\n    memory.resident += 2000000\n{bodies}", "hoard.py", "exec"), names)
    return real(
        new_app().task(names["keep"], name="proj.keep", shared=False, memleak_threshold=1, memleak_trace=True)
    )


def test_only_lines_with_a_real_share_of_the_growth_are_logged(new_app, memory_of, log):
    task = hoard(new_app, memory_of, [1000, 900_000, 2000, 80_000, 3000])
    for _ in range(5):
        task.apply()
    lines = traced_in(log())
    assert [line.split()[2].partition("hoard.py")[2] for line in lines] == [":4", ":6"]
    assert [line.rpartition(" ")[2] for line in lines] == ["share=91%", "share=8%"]


def test_ten_lines_are_logged_at_most(new_app, memory_of, log):
    task = hoard(new_app, memory_of, [100_000 + 1000 * n for n in range(15)])
    for _ in range(5):
        task.apply()
    lines = traced_in(log())
    assert len(lines) == 10
    assert [f"hoard.py:{17 - n} " in lines[n] for n in range(10)] == [True] * 10


def test_nothing_is_traced_where_it_is_not_asked_for(hoarding, log):
    task, traced = hoarding()
    for _ in range(6):
        task.apply()
    assert traced() == [False] * 6
    assert traced_in(log()) == []


def test_tracing_that_somebody_else_started_goes_on(hoarding, log):
    task, _ = hoarding(memleak_trace=True)
    tracemalloc.start()
    try:
        for _ in range(5):
            task.apply()
        assert tracemalloc.is_tracing()
        assert f":{line_of('# This' + ' line.')} increase_bytes=100" in traced_in(log())[0]
    finally:
        tracemalloc.stop()


def test_a_traced_run_that_fails_stops_tracing(leaky):
    task = leaky(memleak_trace=True)
    warm_up(task)
    for _ in range(2):
        task.apply((), {"fails": True})
    assert not tracemalloc.is_tracing()


def test_two_runs_are_never_traced_at_once(hoarding):
    task, traced = hoarding(memleak_trace=True)
    warm_up(task)
    task.apply()
    other = Trace.begin()
    assert Trace.begin() is None
    task.apply()
    # The other's tracing went on, and ended with it alone.
    assert traced() == [False] * 4 + [True]
    assert tracemalloc.is_tracing()
    other.end(1)
    assert not tracemalloc.is_tracing()
    task.apply()
    assert traced()[-1]


def test_what_a_traced_run_adds_does_not_count(hoarding, log):
    """Tracing takes memory of its own."""
    task, _ = hoarding(memleak_trace=True)
    for _ in range(8):
        task.apply()
    # All from the fourth on but the fifth, which was traced.
    assert sum("memleak_detected" in text for text in warnings_in(log())) == 4


def test_growth_that_python_does_not_allocate_is_logged_so(leaky, log):
    task = leaky(memleak_trace=True)
    warm_up(task)
    task.apply()
    trace = Trace.begin()
    assert trace is not None
    trace.end = lambda lines, least_share=0.0: []  # type: ignore[method-assign]
    watch._log_trace(trace, True)
    Trace.end(trace, 1)
    assert traced_in(log()) == [f"Jobtastic:memleak trace=00 {watch.NO_LINE}"]


# Options.


@pytest.mark.parametrize("value", [True, False, "50", None, float("nan"), float("inf"), [1]])
def test_a_threshold_that_is_no_number_is_refused(leaky, value):
    with pytest.raises(OptionError, match=r"memleak_threshold=.*megabytes"):
        leaky(memleak_threshold=value)


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_a_trace_that_is_neither_true_nor_false_is_refused(leaky, value):
    with pytest.raises(OptionError, match=r"memleak_trace=.*True"):
        leaky(memleak_trace=value)


def test_a_misspelt_threshold_is_an_error(leaky):
    with pytest.raises(OptionError, match="did you mean 'memleak_threshold'"):
        leaky(memleak_treshold=3)
