"""What a run adds to its process is measured, judged, and told in words that operators know."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery.exceptions import Ignore

from jobtastic_signals import OptionError, SettingError, events
from jobtastic_signals.memory import middleware as watch
from jobtastic_signals.memory import process as memory
from jobtastic_signals.memory.process import WARM_UP, WINDOW, Growth, Trace, peak, resident, tidied

from . import unit_apps
from .unit_apps import deliver, entry_of, published, real, store_of, work_off

new_app = unit_apps.new_app

MB = 1_000_000
SEEN = f"memory_increase={2:05d} unit=MB"


# Measuring.


def in_a_process_of_its_own(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_resident_memory_is_what_psutil_says():
    assert abs(resident() - psutil.Process().memory_info().rss) < 2 * MB


def test_resident_memory_grows_with_what_is_used():
    before = resident()
    used = bytearray(b"x") * (50 * MB)
    assert 45 * MB < resident() - before < 60 * MB
    del used
    assert resident() - before < 10 * MB


def test_a_forked_child_measures_itself():
    in_a_process_of_its_own(
        """
import os, psutil
from jobtastic_signals.memory import resident
resident()
child = os.fork()
if not child:
    used = bytearray(b"x") * 100_000_000
    os._exit(abs(resident() - psutil.Process().memory_info().rss) > 2_000_000)
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_a_file_that_was_closed_is_opened_again():
    """What makes a daemon closes all files, and their numbers become those of others."""
    in_a_process_of_its_own(
        """
import os
from jobtastic_signals.memory import resident
before = resident()
os.closerange(3, 100)
assert abs(resident() - before) < 5_000_000
os.closerange(3, 100)
others = [os.open(os.__file__, os.O_RDONLY) for _ in range(20)]
assert abs(resident() - before) < 5_000_000
os.closerange(3, 100)
others = [os.pipe() for _ in range(20)]
assert abs(resident() - before) < 5_000_000
"""
    )


def test_psutil_measures_where_there_is_no_proc(monkeypatch):
    def refuse(*_: Any) -> int:
        raise FileNotFoundError("/proc/self/statm")

    monkeypatch.setattr(memory, "_reader", (0, lambda: 0))
    monkeypatch.setattr(memory.os, "open", refuse)
    monkeypatch.setattr(memory.os, "pread", refuse)
    before = resident()
    assert abs(before - psutil.Process().memory_info().rss) < 2 * MB
    used = bytearray(b"x") * (50 * MB)
    assert resident() - before > 45 * MB
    del used


@pytest.mark.parametrize("without_proc", [False, True])
def test_the_peak_remembers_what_was_given_back(monkeypatch, without_proc):
    if without_proc:

        def refuse(*_: Any) -> None:
            raise FileNotFoundError

        monkeypatch.setattr(memory, "open", refuse, raising=False)
    used = bytearray(b"x") * (50 * MB)
    high = resident()
    del used
    assert peak() >= high - MB
    assert peak() >= resident() - MB


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self
        self.held = bytearray(b"x") * (50 * MB)


def test_garbage_does_not_count_after_tidying():
    before = resident()
    Ring()
    assert resident() - before > 45 * MB
    assert tidied() - before < 10 * MB


def test_what_malloc_keeps_for_the_next_use_does_not_count_after_tidying():
    """Blocks of that size are not given back one by one."""
    before = tidied()
    many = [bytearray(b"x") * 100_000 for _ in range(500)]
    last = bytearray(b"x") * 100_000
    del many
    if memory._malloc_trim() is not None:
        assert tidied() - before < 10 * MB
    del last


def test_the_collector_rests_where_it_is_switched_off():
    gc.disable()
    try:
        Ring()
        before = resident()
        assert before - tidied() < 10 * MB
    finally:
        gc.enable()
        gc.collect()


def test_tidying_works_without_malloc_trim(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    assert abs(tidied() - resident()) < 2 * MB


# Judging.


def judge(*steps: float | tuple[float, float], limit: float = 1) -> list[str | None]:
    """What is said of runs that each add, and give back until the next one, so much."""
    growth, level, said = Growth(), 100.0, []
    for step in steps:
        added, given_back = step if isinstance(step, tuple) else (step, 0)
        growth.rests(int(level * 10))
        verdict = growth.ended(int(level * 10), int((level + added) * 10), limit * 10)
        said.append(verdict and verdict.kind)
        level += added - given_back
    return said


def test_a_leak_is_told_from_the_fourth_growing_run_on():
    assert judge(*[2] * 20) == ["warm-up"] * 3 + ["leak"] * 17


def test_a_leak_after_a_large_warm_up_is_told_from_the_fourth_growing_run_on():
    assert judge(30, *[2] * 19) == ["warm-up"] * 3 + ["leak"] * 17


def test_growth_of_as_much_as_the_threshold_is_not_told():
    assert judge(*[1] * 20) == [None] * 20


def test_a_warm_up_in_the_first_run_is_no_leak():
    assert judge(30, *[0] * 19) == ["warm-up"] + [None] * 19


def test_a_cache_that_fills_up_in_three_runs_is_no_leak():
    assert judge(10, 10, 10, *[0] * 17) == ["warm-up"] * 3 + [None] * 17


def test_a_cache_that_is_full_is_not_told_any_more():
    assert judge(*[5] * 8, *[0] * 12)[8:] == [None] * 12


def test_results_that_are_given_back_between_runs_are_no_leak():
    assert judge(*[(50, 50)] * 60) == ["warm-up"] + [None] * 59


def test_results_of_all_sizes_are_no_leak():
    sizes = [37, 5, 48, 12, 50, 3, 29, 41, 8, 22]
    said = judge(*[(size, size) for size in sizes * 6])
    assert "leak" not in said
    assert "jump" not in said


def test_a_leak_beneath_large_results_is_told():
    said = judge(*[(52, 50)] * 20)
    assert said[4:] == ["leak"] * 16


def test_memory_that_comes_and_goes_is_no_leak():
    assert judge(*[50, -50] * 20) == ["warm-up", *[None] * 39]


def test_a_leak_in_every_third_run_is_told():
    said = judge(*[2, 0, 0] * 10)
    assert said[9::3] == ["leak"] * 7


def test_growth_of_a_task_that_was_settled_for_long_is_told_at_once():
    assert judge(30, *[0] * 30, 50, *[0] * 30)[31:] == ["jump", *[None] * 30]


def test_what_other_tasks_do_in_between_is_theirs():
    growth, level, said = Growth(), 1000, []
    for _ in range(20):
        growth.rests(level)
        said.append(growth.ended(level, level, 10))
        # The next watched run begins before it does.
        growth.rests(level)
        level += 500
    assert said == [None] * 20


def test_the_trend_is_what_each_run_adds():
    growth, level, verdicts = Growth(), 1000, []
    for added in [30 * MB, *[2 * MB] * 29]:
        verdicts.append(growth.ended(level, level + added, MB))
        level += added
    assert verdicts[3].trend == 2 * MB
    assert verdicts[-1].trend == 2 * MB
    assert (verdicts[3].growing, verdicts[3].runs) == (WARM_UP + 1, WARM_UP + 1)
    assert (verdicts[-1].growing, verdicts[-1].runs) == (WINDOW, WINDOW)


def test_what_is_remembered_of_a_task_does_not_grow():
    growth = Growth()
    for n in range(1000):
        growth.ended(n * MB, (n + 1) * MB, 0)
    assert len(growth._curve) <= WINDOW + 1
    assert len(growth._rises) < WINDOW
    assert len(growth._given_back) < WINDOW


# In runs. The memory is not real, so that each byte is accounted for.


class Memory:
    """What the process seems to have."""

    def __init__(self) -> None:
        self.resident = 100 * MB
        self.garbage = 0
        self.asked = self.tidied = 0

    def measure(self) -> int:
        self.asked += 1
        return self.resident + self.garbage

    def tidy(self) -> int:
        self.tidied += 1
        self.garbage = 0
        return self.resident


@pytest.fixture
def memory_of(monkeypatch) -> Memory:
    made = Memory()
    monkeypatch.setattr(watch, "resident", made.measure)
    monkeypatch.setattr(watch, "tidied", made.tidy)
    return made


class Secret:
    def __repr__(self) -> str:
        raise RuntimeError("not for you")


@pytest.fixture
def leaky(new_app, memory_of):
    """Makes a task whose every run adds so many megabytes."""

    def make(*, conf: dict[str, Any] | None = None, **options: Any) -> Any:
        app = new_app(**(conf or {}))

        def leak(megabytes=2, fails=False, **more):
            memory_of.resident += int(megabytes * MB)
            if fails:
                raise ValueError("as told")
            return megabytes

        return real(app.task(leak, name="proj.leak", shared=False, **({"memleak_threshold": 1, **options})))

    return make


@pytest.fixture
def heard():
    """The events."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def hear(task, **info):
        found.append((task, info))

    with events.memory_leak_detected.connected_to(hear):
        yield found


@pytest.fixture
def log(caplog):
    """The lines with their levels."""
    caplog.set_level(logging.INFO)

    def lines() -> list[tuple[str, str]]:
        return [
            (record.levelname, record.getMessage())
            for record in caplog.records
            if "Jobtastic:memleak" in record.getMessage()
        ]

    return lines


def warnings_in(lines: list[tuple[str, str]]) -> list[str]:
    return [text for level, text in lines if level == "WARNING"]


def warm_up(task: Any, *args: Any, **kwargs: Any) -> None:
    for _ in range(WARM_UP):
        task.apply(args, kwargs)


def test_the_warning_has_the_lines_that_operators_of_jobtastic_look_for(leaky, log):
    task = leaky(memleak_threshold=5)
    warm_up(task, 10)
    before = len(log())
    task.apply((), {"megabytes": 10})
    assert log()[before:][:4] == [
        ("WARNING", "Jobtastic:memleak memleak_detected. memory_increase=00010 unit=MB"),
        ("INFO", "Jobtastic:memleak memory_usage_start=00130 unit=MB"),
        ("INFO", "Jobtastic:memleak memory_usage_end=00140 unit=MB"),
        ("INFO", "Jobtastic:memleak task_kwargs={'megabytes': 10}"),
    ]
    kind, peak_bytes = log()[before:][4][1].rsplit("=", 1)
    assert kind == (
        "Jobtastic:memleak kind=leak growing_runs=4 of_runs=4 trend_bytes_per_run=10000000 peak_bytes"
    )
    assert int(peak_bytes) > 10 * MB
    assert len(log()) == before + 5


def test_it_is_logged_as_celerys_tasks_log(leaky, caplog):
    task = leaky()
    warm_up(task)
    task.apply()
    logging.getLogger("jobtastic_signals")
    loggers = {record.name for record in caplog.records if "memleak" in record.getMessage()}
    assert loggers == {watch.logger.name}
    assert watch.logger.parent.name == "celery.task"


def test_growth_below_a_megabyte_is_told_in_bytes(leaky, log):
    task = leaky(memleak_threshold=0.25)
    warm_up(task, 0.5)
    task.apply((0.5,))
    assert warnings_in(log()) == [
        "Jobtastic:memleak memleak_detected. memory_increase=00000 unit=MB memory_increase_bytes=500000"
    ]


def test_a_warm_up_is_told_as_information(leaky, log, heard):
    task = leaky()
    task.apply((30,))
    task.apply((0,))
    assert log() == [
        (
            "INFO",
            "Jobtastic:memleak warm_up. memory_increase=00030 unit=MB memory_increase_bytes=30000000 "
            "growing_runs=1",
        )
    ]
    assert heard == []


@pytest.mark.parametrize("threshold", [-1, -0.5])
def test_a_negative_threshold_measures_nothing(leaky, log, memory_of, threshold):
    task = leaky(memleak_threshold=threshold)
    for _ in range(10):
        task.apply((500,))
    assert (log(), memory_of.asked) == ([], 0)


def test_a_task_with_other_options_alone_is_not_measured(new_app, memory_of):
    app = new_app()

    def other():
        pass

    task = real(app.task(other, name="proj.other", shared=False, cache_duration=-1))
    task.apply()
    assert memory_of.asked == 0


def test_a_threshold_of_zero_tells_any_growth(leaky, log):
    task = leaky(memleak_threshold=0)
    warm_up(task, 0.001)
    task.apply((0.001,))
    task.apply((0,))
    assert len(warnings_in(log())) == 1


def test_a_failed_run_is_compared_too(leaky, log):
    task = leaky()
    warm_up(task, fails=True)
    task.apply((), {"fails": True})
    assert warnings_in(log()) == [f"Jobtastic:memleak memleak_detected. {SEEN}"]


def test_a_run_as_a_worker_makes_it_is_compared_in_postrun(leaky, log, heard):
    task = leaky()
    ids = []
    for _ in range(5):
        ids.append(task.delay().id)
        work_off(task.app)
    assert len(warnings_in(log())) == 2
    assert [info["task_id"] for _, info in heard] == ids[3:]


def test_a_served_run_is_not_measured(leaky, memory_of):
    task = leaky(cache_duration=60)
    task.delay()
    work_off(task.app)
    assert memory_of.asked == 2
    task.apply_async(task_id="served")
    work_off(task.app)
    assert memory_of.asked == 2


def test_a_run_that_waits_is_not_measured(leaky, memory_of):
    task = leaky(herd_avoidance_timeout=60)
    task.apply_async(task_id="first")
    first = published(task.app)[0]
    task.apply_async(task_id="second")
    deliver(task.app, published(task.app)[0])
    assert memory_of.asked == 0
    deliver(task.app, first)
    assert memory_of.asked == 2


def test_a_run_that_is_ignored_is_measured(new_app, memory_of, log):
    app = new_app()

    def ignored():
        memory_of.resident += 2 * MB
        raise Ignore

    task = real(app.task(ignored, name="proj.ignored", shared=False, memleak_threshold=1))
    for _ in range(4):
        task.delay()
        work_off(app)
    assert len(warnings_in(log())) == 1


def test_a_threshold_alone_shares_nothing(leaky):
    task = leaky()
    first, second = task.delay(3), task.delay(3)
    assert first.id != second.id
    assert entry_of(task, 3) is None
    assert len(work_off(task.app)) == 2
    assert entry_of(task, 3) is None
    assert store_of(task.app) is not None


def test_garbage_is_no_leak(new_app, memory_of, log):
    """A failed run leaves a traceback that holds all its variables until the collector comes."""
    app = new_app()

    def litter():
        memory_of.garbage += 50 * MB
        raise ValueError("as told")

    task = real(app.task(litter, name="proj.litter", shared=False, memleak_threshold=1))
    for _ in range(40):
        task.apply()
    assert warnings_in(log()) == []


def test_growth_is_told_without_the_garbage(new_app, memory_of, heard):
    app = new_app()

    def leak():
        memory_of.garbage += 50 * MB
        memory_of.resident += 2 * MB

    task = real(app.task(leak, name="proj.leak", shared=False, memleak_threshold=1))
    for _ in range(20):
        task.apply()
    assert [info["growth"] for _, info in heard] == [2 * MB] * 17


def test_nothing_is_tidied_after_runs_that_do_not_grow(leaky, memory_of):
    task = leaky()
    for _ in range(50):
        task.apply((0.5,))
        memory_of.resident -= MB // 2
    assert memory_of.tidied == 0


def test_tidying_ends_when_a_task_has_settled(leaky, memory_of):
    task = leaky()
    task.apply((30,))
    for _ in range(WINDOW + 5):
        task.apply((0,))
    settled = memory_of.tidied
    for _ in range(50):
        task.apply((0,))
    assert memory_of.tidied == settled


# What was asked for.


def test_arguments_are_shown_by_name_however_they_were_given(leaky, log):
    task = leaky()
    warm_up(task)
    task.apply((2,), {"user": "ada"})
    assert ("INFO", "Jobtastic:memleak task_kwargs={'megabytes': 2, 'user': 'ada'}") in log()


@pytest.mark.parametrize(
    ("redact", "shown"),
    [
        (["password"], "{'megabytes': 2, 'password': '[redacted]', 'user': 'ada'}"),
        (("megabytes", "user"), "{'megabytes': '[redacted]', 'password': 'x', 'user': '[redacted]'}"),
        (["more"], "{'megabytes': 2, 'password': '[redacted]', 'user': '[redacted]'}"),
        (True, "{'megabytes': '[redacted]', 'password': '[redacted]', 'user': '[redacted]'}"),
        (False, "{'megabytes': 2, 'password': 'x', 'user': 'ada'}"),
        ([], "{'megabytes': 2, 'password': 'x', 'user': 'ada'}"),
    ],
)
def test_values_can_be_redacted(leaky, log, heard, redact, shown):
    task = leaky(conf={"jobtastic_memleak_redact": redact})
    warm_up(task)
    task.apply((2,), {"password": "x", "user": "ada"})
    assert ("INFO", f"Jobtastic:memleak task_kwargs={shown}") in log()
    assert repr(heard[0][1]["task_kwargs"]) == shown


def test_arguments_that_do_not_fit_are_redacted_too(leaky, log, memory_of):
    """Nobody can say which value is the password."""
    task = leaky(conf={"jobtastic_memleak_redact": ["megabytes"]})
    run = watch.Run(task, None, "some-id", (1, 2, "secret"), {"megabytes": "secret"})
    assert watch._arguments(run, frozenset(["megabytes"])) == {"megabytes": "[redacted]"}


@pytest.mark.parametrize("value", ["password", 1, [1], 1.5])
def test_a_wrong_setting_is_told(new_app, value):
    with pytest.raises(SettingError, match=r"jobtastic_memleak_redact=.*\['password'\], or True"):
        assert unit_apps.installation_on(new_app(jobtastic_memleak_redact=value)).settings


def test_an_argument_that_cannot_be_shown_harms_nothing(leaky, log):
    task = leaky()
    warm_up(task)
    assert task.apply((2,), {"key": Secret()}).get() == 2
    assert len(warnings_in(log())) == 1
    shown = next(text for _, text in log() if "task_kwargs" in text)
    assert "key" in shown
    assert "Secret" in shown


def test_large_arguments_are_cut(leaky, log):
    task = leaky()
    warm_up(task)
    task.apply((2,), {"text": "x" * 100_000, "numbers": list(range(100_000))})
    assert len(next(text for _, text in log() if "task_kwargs" in text)) < 2000


# The event.


def test_the_event_has_all_that_is_known(leaky, heard):
    task = leaky()
    warm_up(task)
    result = task.apply((3,))
    [(sender, info)] = heard
    assert sender is task
    assert info.pop("peak") > 10 * MB
    assert info == {
        "key": None,  # It shares nothing.
        "task_id": result.id,
        "task_kwargs": {"megabytes": 3},
        "growth": 3 * MB,
        "start": 106 * MB,
        "end": 109 * MB,
        "leak": True,
        "trend": pytest.approx(2 * MB, abs=MB),
        "growing": 4,
        "runs": 4,
        "attributed": True,
    }


def test_a_single_jump_of_a_settled_task_is_warned_about_as_no_leak(leaky, log, heard):
    task = leaky()
    for _ in range(WINDOW):
        task.apply((0,))
    task.apply((500,))
    assert warnings_in(log()) == ["Jobtastic:memleak memleak_detected. memory_increase=00500 unit=MB"]
    assert [(info["leak"], info["growing"], info["trend"]) for _, info in heard] == [(False, 1, 0)]


def test_a_receiver_that_raises_harms_nothing(leaky, log):
    def fail(task, **info):
        raise RuntimeError("in a receiver")

    task = leaky()
    warm_up(task)
    with events.memory_leak_detected.connected_to(fail):
        assert task.apply().get() == 2
    assert len(warnings_in(log())) == 1


# Runs side by side.


def test_growth_is_not_attributed_where_runs_overlap(new_app, memory_of, heard, log):
    app = new_app()
    both, go = threading.Barrier(2), threading.Event()

    def long():
        both.wait(10)
        go.wait(10)
        memory_of.resident += 2 * MB

    def short():
        both.wait(10)
        memory_of.resident += 2 * MB

    slow = real(app.task(long, name="proj.long", shared=False, memleak_threshold=1))
    fast = real(app.task(short, name="proj.short", shared=False, memleak_threshold=1))
    for _ in range(4):
        go.clear()
        thread = threading.Thread(target=lambda: (fast.apply(), go.set()))
        thread.start()
        slow.apply()
        thread.join(10)
    assert {task.name: info["attributed"] for task, info in heard} == {
        "proj.long": False,
        "proj.short": False,
    }
    assert warnings_in(log()) == [
        f"Jobtastic:memleak memleak_detected. {SEEN}. {watch.UNATTRIBUTED}",
        f"Jobtastic:memleak memleak_detected. memory_increase=00004 unit=MB. {watch.UNATTRIBUTED}",
    ]


def test_growth_in_another_thread_than_the_main_one_is_not_attributed(leaky, heard):
    """What else goes on there cannot be seen: runs of tasks without the option, requests to a web server."""
    task = leaky()
    warm_up(task)
    thread = threading.Thread(target=task.apply)
    thread.start()
    thread.join(10)
    task.apply()
    assert [info["attributed"] for _, info in heard] == [False, True]


def test_a_run_within_a_run_is_a_part_of_it(leaky, heard):
    inner = leaky()
    app = inner.app

    def around():
        inner.apply()

    outer = real(app.task(around, name="proj.outer", shared=False, memleak_threshold=1))
    for _ in range(4):
        outer.apply()
    assert [(task.name, info["growth"], info["attributed"]) for task, info in heard] == [
        ("proj.leak", 2 * MB, True),
        ("proj.outer", 2 * MB, True),
    ]


def test_each_task_is_judged_by_itself(new_app, memory_of, heard):
    app = new_app()

    def grow():
        memory_of.resident += 2 * MB

    def stay():
        pass

    tasks = [
        real(app.task(body, name=f"proj.{body.__name__}s", shared=False, memleak_threshold=1))
        for body in (grow, stay)
    ]
    for _ in range(10):
        for task in tasks:
            task.apply()
    assert {task.name for task, _ in heard} == {"proj.grows"}
    assert len(heard) == 7


def test_a_large_result_that_is_given_back_is_no_leak_though_another_task_leaks(new_app, memory_of, heard):
    """The memory never falls back, but what is left at the start of the next run is not the former's."""
    app = new_app()

    def returns():
        memory_of.resident += 50 * MB

    def grow():
        memory_of.resident += 2 * MB

    large = real(app.task(returns, name="proj.large", shared=False, memleak_threshold=1))
    grows = real(app.task(grow, name="proj.grows", shared=False, memleak_threshold=1))
    for _ in range(20):
        large.apply()
        memory_of.resident -= 50 * MB
        grows.apply()
    assert {task.name for task, _ in heard} == {"proj.grows"}


def test_a_forked_process_begins_anew(leaky, monkeypatch):
    task = leaky()
    warm_up(task)
    [middleware] = [
        each for each in unit_apps.installation_on(task.app).middleware if isinstance(each, watch.MemoryWatch)
    ]
    before = middleware._process
    before.lock.acquire()
    monkeypatch.setattr(watch.os, "getpid", lambda: -1)
    try:
        task.apply()
    finally:
        before.lock.release()
    assert middleware._process is not before
    assert middleware._process.tasks.keys() == {"proj.leak"}
    assert middleware._process.tasks["proj.leak"].growth._runs == 1


# Tracing.


@pytest.fixture
def hoarding(new_app, memory_of):
    """A task that keeps a megabyte of real memory more from each run, of which two are seen."""
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
    for _ in range(7):
        task.apply()
    assert traced() == [False, False, False, False, True, False, True]
    first = traced_in(log())[0]
    assert first.startswith(
        f"Jobtastic:memleak trace=01 line={__file__}:{line_of('# This' + ' line.')} increase_bytes=100"
    )
    assert not tracemalloc.is_tracing()


def test_ten_lines_are_told_at_most(new_app, memory_of, log):
    app = new_app()
    kept: list[Any] = []
    bodies = [f"    kept.append(bytearray({1000 * (n + 1)}))\n" for n in range(15)]
    names: dict[str, Any] = {"__name__": __name__, "kept": kept, "memory": memory_of}
    source = "def keep():\n    memory.resident += 2000000\n" + "".join(bodies)
    exec(compile(source, "hoard.py", "exec"), names)
    task = real(
        app.task(names["keep"], name="proj.keep", shared=False, memleak_threshold=1, memleak_trace=True)
    )
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


def test_what_a_traced_run_adds_is_not_judged(hoarding, log):
    """Tracing takes memory of its own."""
    task, _ = hoarding(memleak_trace=True)
    for _ in range(8):
        task.apply()
    # The fourth, sixth and eighth; the runs between them were traced.
    assert sum("memleak_detected" in text for text in warnings_in(log())) == 3


def test_growth_that_python_does_not_allocate_is_told_so(leaky, log):
    task = leaky(memleak_trace=True)
    warm_up(task)
    task.apply()
    trace = Trace.begin()
    trace.end = lambda lines: []  # type: ignore[method-assign]
    watch._tell_trace(trace, True)
    Trace.end(trace, 1)
    assert traced_in(log()) == [
        "Jobtastic:memleak trace=00 no line grew: it is not Python that allocates the memory"
    ]


# Options.


@pytest.mark.parametrize("value", [True, False, "50", None, float("nan"), float("inf"), [1]])
def test_a_threshold_that_is_no_number_is_refused(leaky, value):
    with pytest.raises(OptionError, match=r"memleak_threshold=.*megabytes"):
        leaky(memleak_threshold=value)


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_a_trace_that_is_neither_true_nor_false_is_refused(leaky, value):
    with pytest.raises(OptionError, match=r"memleak_trace=.*True"):
        leaky(memleak_trace=value)


def test_a_misspelt_threshold_is_told(leaky):
    with pytest.raises(OptionError, match="did you mean 'memleak_threshold'"):
        leaky(memleak_treshold=3)
