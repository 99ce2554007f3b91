"""What counts as a leak."""

from __future__ import annotations

from typing import Any

from jobtastic_signals.memory.growth import WARM_UP, WINDOW, Growth
from tests.support.memory import MB


def judge(*steps: float | tuple[float, float], limit: float = 1) -> list[Any]:
    """What is said of runs that each add, and give back until the next one, so much."""
    growth, level, said = Growth(), 100.0, []
    for step in steps:
        added, given_back = step if isinstance(step, tuple) else (step, 0)
        growth.close_run(int(level * 10))
        verdict = growth.end_run(int(level * 10), int((level + added) * 10), limit * 10)
        said.append(verdict and verdict.kind)
        level += added - given_back
    return said


def test_a_leak_is_reported_from_the_fourth_growing_run_on():
    assert judge(*[2] * 20) == ["warm-up"] * 3 + ["leak"] * 17


def test_a_leak_after_a_large_warm_up_is_reported_from_the_fourth_growing_run_on():
    assert judge(30, *[2] * 19) == ["warm-up"] * 3 + ["leak"] * 17


def test_growth_of_as_much_as_the_threshold_is_not_reported():
    assert judge(*[1] * 20) == [None] * 20


def test_a_warm_up_in_the_first_run_is_no_leak():
    assert judge(30, *[0] * 19) == ["warm-up"] + [None] * 19


def test_a_cache_that_fills_up_in_three_runs_is_no_leak():
    assert judge(10, 10, 10, *[0] * 17) == ["warm-up"] * 3 + [None] * 17


def test_a_cache_that_is_full_is_not_reported_any_more():
    assert judge(*[5] * 8, *[0] * 12)[8:] == [None] * 12


def test_results_that_are_given_back_between_runs_are_no_leak():
    assert judge(*[(50, 50)] * 60) == ["warm-up"] + [None] * 59


def test_results_of_all_sizes_are_no_leak():
    sizes = [37, 5, 48, 12, 50, 3, 29, 41, 8, 22]
    said = judge(*[(size, size) for size in sizes * 6])
    assert "leak" not in said
    assert "jump" not in said


def test_a_leak_beneath_large_results_is_reported():
    said = judge(*[(52, 50)] * 20)
    assert said[4:] == ["leak"] * 16


def test_memory_that_comes_and_goes_is_no_leak():
    assert judge(*[50, -50] * 20) == ["warm-up", *[None] * 39]


def test_a_leak_in_every_third_run_is_reported():
    said = judge(*[2, 0, 0] * 10)
    assert said[9::3] == ["leak"] * 7


def test_growth_of_a_task_that_had_stopped_growing_is_reported_at_once():
    assert judge(30, *[0] * 30, 50, *[0] * 30)[31:] == ["jump", *[None] * 30]


def test_what_other_tasks_do_in_between_is_theirs():
    growth, level, said = Growth(), 1000, []
    for _ in range(20):
        growth.close_run(level)
        said.append(growth.end_run(level, level, 10))
        # The next watched run begins before it does.
        growth.close_run(level)
        level += 500
    assert said == [None] * 20


def test_the_trend_is_what_each_run_adds():
    growth, level, verdicts = Growth(), 1000, []
    for added in [30 * MB, *[2 * MB] * 29]:
        verdicts.append(growth.end_run(level, level + added, MB))
        level += added
    assert verdicts[3].trend == 2 * MB
    assert verdicts[-1].trend == 2 * MB
    assert (verdicts[3].growing, verdicts[3].runs) == (WARM_UP + 1, WARM_UP + 1)
    assert (verdicts[-1].growing, verdicts[-1].runs) == (WINDOW, WINDOW)


def test_what_is_remembered_of_a_task_does_not_grow():
    growth = Growth()
    for n in range(1000):
        growth.end_run(n * MB, (n + 1) * MB, 0)
    assert len(growth._curve) <= WINDOW + 1
    assert len(growth._rises) < WINDOW
    assert len(growth._given_back) < WINDOW
