"""Percent and time left: tables, with a clock that the tests turn."""

from __future__ import annotations

import pytest

from jobtastic_signals.progress.eta import Pace, blended, left_by_history, percent_by_history, percent_of


@pytest.mark.parametrize(
    ("completed", "total", "percent"),
    [
        (0, 10, 0.0),
        (1, 3, 33.33),
        (2, 3, 66.67),
        (57, 100, 57.0),
        (10, 10, 100.0),
        (11, 10, 100.0),
        (10**9 - 1, 10**9, 99.99),
        (-1, 10, 0.0),
        (0, 0, 100.0),
        (5, 0, 100.0),
        (0, -3, 100.0),
        (0.25, 0.5, 50.0),
    ],
)
def test_percent_is_never_beyond_0_and_100_and_100_only_when_nothing_is_missing(completed, total, percent):
    assert percent_of(completed, total) == percent


def pace_after(*seen: tuple[float, float]) -> Pace:
    """Return a pace that began at 100 and saw these pairs of seconds since then and counts."""
    pace = Pace(began=100.0)
    for seconds, completed in seen:
        pace.see(100.0 + seconds, completed)
    return pace


@pytest.mark.parametrize(
    ("seen", "total", "left"),
    [
        pytest.param([], 10, None, id="nothing yet"),
        pytest.param([(5, 0)], 10, None, id="0 of N"),
        pytest.param([(5, 0), (7, 1)], 10, 18.0, id="0 of N starts the clock"),
        pytest.param([(2, 1)], 10, 18.0, id="a first update counts from the start"),
        pytest.param([(1, 1), (2, 2), (5, 5)], 10, 5.0, id="a steady rate"),
        pytest.param([(10, 10)], 10, 0.0, id="N of N"),
        pytest.param([(10, 12)], 10, 0.0, id="beyond N"),
        pytest.param([(10, 0)], 0, 0.0, id="total 0"),
        pytest.param([(0, 3)], 10, None, id="a paused clock from the start on"),
        pytest.param([(1, 1), (1, 5)], 10, 9.0, id="a paused clock: what was done meanwhile counts later"),
        pytest.param([(1, 1), (1, 5), (5, 5)], 10, 5.0, id="a paused clock that goes on"),
        pytest.param([(1, 5), (3, 2)], 10, None, id="descending counts begin anew"),
        pytest.param([(1, 5), (3, 2), (5, 4)], 10, 6.0, id="and have a rate of their own"),
        pytest.param([(1, 1), (100, 1)], 10, 9.0, id="no items for a while"),
        pytest.param([(1, 1), (100, 1), (120, 2)], 10, 8 * 119.0, id="which counts when there are more"),
        pytest.param([(1, 1e-320)], 1e308, None, id="beyond what numbers can tell"),
        pytest.param([(0.5, 0.5)], 2.5, 2.0, id="fractions of items"),
    ],
)
def test_time_left(seen, total, left):
    found = pace_after(*seen).left(total)
    assert found == (left if left is None else pytest.approx(left, rel=1e-2))


def test_a_slow_start_is_forgotten_when_the_run_is_twice_as_long():
    pace = Pace(began=0.0)
    pace.see(60.0, 1)
    for second in range(61, 121):
        pace.see(second, 1 + (second - 60) * 10)
    # Truly 100 s are left; the mean over the whole run would say 200.
    assert pace.left(1601) == pytest.approx(100, rel=0.1)


def test_how_often_it_is_looked_at_does_not_change_the_rate():
    often, seldom = Pace(began=0.0), Pace(began=0.0)
    for tenth in range(1, 1001):
        often.see(tenth / 10, tenth / 2)
    seldom.see(10.0, 50)
    seldom.see(100.0, 500)
    assert often.left(1000) == pytest.approx(seldom.left(1000))


@pytest.mark.parametrize(
    ("elapsed", "durations", "left"),
    [
        (0.0, [], None),
        (0.0, [10.0], 10.0),
        (0.0, [10.0, 12.0, 50.0], 12.0),
        (4.0, [10.0, 12.0], 7.0),
        (11.0, [10.0, 12.0, 50.0], 20.0),
        (60.0, [10.0, 12.0, 50.0], None),
    ],
)
def test_history_knows_the_median_of_the_runs_that_took_longer(elapsed, durations, left):
    assert left_by_history(elapsed, durations) == left


@pytest.mark.parametrize(
    ("elapsed", "left", "percent"),
    [(0.0, 10.0, 0.0), (5.0, 5.0, 50.0), (10.0, 0.0, 99.99), (0.0, 0.0, 99.99)],
)
def test_history_never_says_100_percent(elapsed, left, percent):
    assert percent_by_history(elapsed, left) == percent


@pytest.mark.parametrize(
    ("done", "left", "expected", "blend"),
    [
        (0.0, None, None, None),
        (0.0, 10.0, None, 10.0),
        (0.5, None, 20.0, 20.0),
        (0.0, 10.0, 20.0, 20.0),
        (0.5, 10.0, 20.0, 15.0),
        (1.0, 0.0, 20.0, 0.0),
    ],
)
def test_the_pace_of_this_run_counts_the_more_the_more_is_done(done, left, expected, blend):
    assert blended(done, left, expected) == blend
