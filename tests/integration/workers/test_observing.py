"""``jobtastic_observe`` with a real worker: it changes nothing, and forecasts what sharing saves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import group

from jobtastic_signals import stats
from tests.support.servers import wait_until
from tests.support.workers.observed import TIMEOUT, call_all, observed_project, records

#: Seconds that a run of the load takes.
RUN = 0.25


def test_observing_changes_no_message_and_no_state(shared: Any, tmp_path: Path):
    """Compared with plain Celery, one by one, but for ids and times."""
    plain, observing, broker = tmp_path / "plain", tmp_path / "observing", shared.redis()
    with (
        observed_project(plain, broker, plugin=False) as one,
        observed_project(observing, broker, jobtastic_observe=True) as other,
    ):
        for project in (one, other):
            call_all(project)
        assert stats(other.app)[other.slow.name].observed_hits == 1
    for expected, found in zip(records(plain), records(observing), strict=True):
        assert found == expected
        assert len(found) > 40


def numbers(project: SimpleNamespace, task: str) -> dict[str, Any]:
    return vars(stats(project.app)[project.__dict__[task].name])


def burst(project: SimpleNamespace) -> None:
    """Make calls that share, on a worker with two processes, and wait for the end of each."""
    # The calls of a burst find the first of them queued.
    blocks = [project.wait_for.delay("go") for _ in range(2)]
    wait_until(lambda: project.app.control.inspect(timeout=1).active(), what="the processes")
    results = [project.herd.delay(n % 2, RUN) for n in range(8)]
    results += [project.cached.delay(n % 2, RUN) for n in range(6)]
    results.append(group(project.cached.s(7, RUN) for _ in range(3)).delay())
    (project.folder / "go").touch()
    for result in [*blocks, *results]:
        result.get(timeout=TIMEOUT, interval=0.02)
    # The results of these are stored, or nobody joins them any more.
    for call in ((project.cached, 0), (project.cached, 1), (project.cached, 1), (project.herd, 0)):
        call[0].delay(call[1], RUN).get(timeout=TIMEOUT, interval=0.02)


@pytest.mark.parametrize("task", ["herd", "cached"])
def test_the_forecast_is_what_sharing_then_saves(loads: tuple[Any, Any], task: str):
    observed, shared = loads[0][task], loads[1][task]
    assert observed["observed_calls"] == shared["calls"]
    for avoided in ("hits", "joins", "served"):
        assert observed[f"observed_{avoided}"] == shared[avoided]
    assert observed["observed_runs"] == pytest.approx(shared["runs"], rel=0.1)
    assert observed["observed_saved_seconds"] == pytest.approx(shared["saved_seconds"], rel=0.1)
    assert (observed["runs"], shared["observed_runs"]) == (0, 0)


@pytest.fixture(scope="module", params=["disk", pytest.param("redis", marks=pytest.mark.thorough)])
def loads(
    request: pytest.FixtureRequest, shared: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    """The numbers of the same calls, first observed and then shared."""
    found = []
    for name, observes in (("observed", True), ("shared", False)):
        folder = tmp_path_factory.mktemp("load") / name
        store = shared.redis() if request.param == "redis" else f"disk://{folder}/store"
        conf: dict[str, Any] = {"jobtastic_store": store, "jobtastic_observe": observes}
        with observed_project(folder, shared.redis(), concurrency=2, **conf) as project:
            burst(project)
            found.append(settled(project, observes))
    return found[0], found[1]


def settled(project: SimpleNamespace, observes: bool) -> dict[str, dict[str, Any]]:
    """The numbers of both tasks, once all processes have handed theirs over."""
    runs = {"herd": 3, "cached": 3}
    field = "observed_runs" if observes else "runs"

    def have_come() -> bool:
        if any(numbers(project, task)[field] < number for task, number in runs.items()):
            return False
        # Of an avoided run as well.
        avoided = {"herd": 6, "cached": 9}
        return not observes or all(
            numbers(project, task)["observed_saved_seconds"] >= number * RUN
            for task, number in avoided.items()
        )

    wait_until(have_come, what="the numbers")
    return {task: numbers(project, task) for task in runs}
