"""Leaks are told from what only looks like one, in real workers."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobtastic_signals.memory.growth import WARM_UP
from jobtastic_signals.memory.middleware import UNATTRIBUTED
from tests.support.servers import wait_until
from tests.support.workers import project as project_module
from tests.support.workers.project import close, create_app, let_go
from tests.support.workers.projects import on, wait_until_ready, worker

RUNS, TIMEOUT = 20, 60
DETECTED = "Jobtastic:memleak memleak_detected. "


@pytest.fixture
def fresh(shared, tmp_path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Starts a worker whose processes nobody else uses, so that the first run is the first there."""
    with ExitStack() as stack:

        def start(concurrency: int = 1, **conf: Any) -> SimpleNamespace:
            places = {"broker_url": shared.redis(), "result_backend": shared.redis()}
            conf = {**places, "jobtastic_store": f"disk://{tmp_path}/store", **conf}
            made: dict[str, Any] = {"conf": conf, "journal": str(tmp_path / "journal")}
            project = create_app(**made)
            stack.callback(close, project.app)
            # Results that are still there want a connection when they go.
            stack.callback(gc.collect)
            project.log = tmp_path / "worker.log"
            stack.enter_context(worker(made, "prefork", project.log, concurrency))
            wait_until_ready(project.log)
            return project

        yield start


def run(task: Any, *args: Any, times: int = RUNS) -> list[str]:
    """The ids of so many runs, one after the other."""
    ids = []
    for _ in range(times):
        result = task.delay(*args)
        wait_until(result.ready, timeout=TIMEOUT, what="the end", every=0.005)
        ids.append(result.id)
    return ids


def said_of(project: SimpleNamespace, task_id: str) -> list[str]:
    """What the worker's log says of the memory in one run."""
    mark = f"[{task_id}]: "
    lines = (line.partition(mark)[2] for line in project.log.read_text().splitlines())
    return [line for line in lines if line.startswith("Jobtastic:memleak")]


def warned(project: SimpleNamespace, ids: list[str]) -> list[bool]:
    return [any(line.startswith(DETECTED) for line in said_of(project, each)) for each in ids]


AS_A_LEAK = [False] * WARM_UP + [True] * (RUNS - WARM_UP)


def settle(project: SimpleNamespace) -> None:
    """All that the runs before had to say is in the log."""
    project.double.delay("settled").get(timeout=TIMEOUT)


def test_a_task_that_leaks_is_warned_about_in_each_of_20_runs_but_the_first(fresh, token):
    project = fresh()
    ids = run(project.leaks, token)
    settle(project)
    assert warned(project, ids) == AS_A_LEAK
    last = said_of(project, ids[-1])
    assert [re.sub(r"\d{5,}", "0", line) for line in last] == [
        f"{DETECTED}memory_increase=0 unit=MB",
        "Jobtastic:memleak memory_usage_start=0 unit=MB",
        "Jobtastic:memleak memory_usage_end=0 unit=MB",
        "Jobtastic:memleak task_kwargs={'token': '[redacted]'}",
        "Jobtastic:memleak kind=leak growing_runs=20 of_runs=20 trend_bytes_per_run=0 peak_bytes=0",
    ]
    trend = int(re.search(r"trend_bytes_per_run=(\d+)", last[-1])[1])  # type: ignore[index]
    assert 1_800_000 < trend < 2_300_000


def test_a_task_that_only_looks_like_it_is_not_warned_about_in_20_runs(fresh, token):
    """A large warm-up, a cache that fills up, 50 MB that come and go, and a result of 3 MB."""
    project = fresh()
    ids = run(project.stays, token)
    settle(project)
    assert warned(project, ids) == [False] * RUNS
    assert "warm_up. memory_increase=000" in said_of(project, ids[0])[0]


@pytest.mark.thorough
def test_neither_is_misjudged_beside_the_other(fresh, token):
    """What the one has freed, the leak of the other fills before the process grows."""
    project = fresh()
    leaking, staying = [], []
    for _ in range(RUNS):
        staying += run(project.stays, token, times=1)
        leaking += run(project.leaks, token, times=1)
    settle(project)
    assert warned(project, staying) == [False] * RUNS
    assert warned(project, leaking) == AS_A_LEAK


@pytest.mark.thorough
def test_failing_runs_are_judged_alike(fresh, token):
    project = fresh()
    leaking = run(project.leaks, token, True)
    staying = run(project.stays, token, True)
    settle(project)
    assert warned(project, leaking) == AS_A_LEAK
    assert warned(project, staying) == [False] * RUNS


@pytest.mark.thorough
def test_each_process_has_a_warm_up_of_its_own(fresh, token):
    project = fresh(concurrency=2)
    ids = run(project.leaks, token)
    settle(project)
    runs: Counter[int] = Counter()
    expected = []
    for line in project.runs("leaks", token):
        runs[line["pid"]] += 1
        expected.append(runs[line["pid"]] > WARM_UP)
    # The line of each run is written once its own process has gone on.
    wait_until(lambda: sum(warned(project, ids)) >= sum(expected), what="all warnings")
    assert warned(project, ids) == expected


def test_the_run_after_a_warning_is_traced_to_the_line_that_leaks(fresh, token):
    project = fresh()
    ids = run(project.leaks_traced, token, times=6)
    settle(project)
    source = Path(project_module.__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if text.endswith("# The leak."))
    said = said_of(project, ids[4])
    assert said[0].startswith(
        f"Jobtastic:memleak trace=01 line={project_module.__file__}:{line} increase_bytes="
    )
    assert 1 <= len(said) <= 10
    assert warned(project, ids) == [False, False, False, True, False, True]


@pytest.mark.thorough
def test_arguments_are_shown_where_nothing_is_to_be_hidden(fresh, token):
    project = fresh(jobtastic_memleak_redact=False)
    ids = run(project.leaks, token, times=4)
    settle(project)
    assert f"Jobtastic:memleak task_kwargs={{'token': '{token}'}}" in said_of(project, ids[-1])


@on("redis-threads")
def test_where_runs_overlap_the_warning_says_that_nobody_knows_whose_growth_it_is(project, token):
    journal = Path(project.made["journal"])
    beside = project.told.delay(token, 1)
    wait_until(lambda: project.runs("told", token), what="the other run")
    ids = run(project.leaks, token, times=4 + WARM_UP)
    let_go(journal, token, 1)
    beside.get(timeout=TIMEOUT)
    wait_until(lambda: any(warned(project, ids)), what="a warning")
    warning = next(line for each in ids for line in said_of(project, each) if line.startswith(DETECTED))
    assert warning.endswith(f"unit=MB. {UNATTRIBUTED}")
