"""Loops that are tracked, and phases, add up to one percentage."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from celery import Celery

from jobtastic_signals import phase, track, update_progress
from jobtastic_signals.progress.lazy import reporting
from tests.support.progress import Reported, Unprintable, run, seen_inside
from tests.support.servers import wait_until
from tests.support.timetable import Timetable


def changes(values: Any) -> list[Any]:
    """Return the values without those that repeat the one before."""
    return [value for value, _ in itertools.groupby(values)]


def percents_of(app: Celery, records: list[dict[str, Any]], body: Any) -> list[float]:
    run(app, lambda self: body())
    return changes(each["progress_percent"] for each in records)


def test_track_counts_the_items_that_are_done(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    run(app, lambda self: list(track("abcd", message="letters")))
    assert seen_inside(records) == [
        (0.0, 0, 4, "letters"),
        (25.0, 1, 4, "letters"),
        (50.0, 2, 4, "letters"),
        (75.0, 3, 4, "letters"),
        (100.0, 4, 4, "letters"),
        (100.0, 4, 4, None),
    ]


def test_track_counts_what_has_no_length(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    run(app, lambda self: list(track(n for n in range(3))))
    assert seen_inside(records) == [(0.0, n, None, None) for n in (0, 1, 2, 3, 3)]


def test_track_believes_a_total_that_it_is_given(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    assert percents_of(app, records, lambda: list(track(iter("ab"), total=4))) == [0, 25, 50]


def test_track_yields_all_with_a_wrong_total(new_app, records, caplog):
    app = new_app(jobtastic_progress_interval=0)
    assert run(app, lambda self: list(track("ab", total="many"))).get(timeout=1) == ["a", "b"]  # type: ignore[call-overload]
    assert "'many' is not a number" in caplog.text


def test_track_in_track_is_a_part_of_the_item(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for _ in track("ab"):
            for _ in track("cd"):
                pass

    percents = percents_of(app, records, body)
    assert sorted(set(percents)) == [0.0, 25.0, 50.0, 75.0, 100.0]
    assert percents == sorted(percents)


def test_updates_in_track_are_a_part_of_the_item(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for _ in track("ab"):
            update_progress(1, 2)

    assert percents_of(app, records, body) == [0.0, 25.0, 50.0, 75.0, 100.0]


def test_one_loop_after_the_other_has_its_own_bar(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        list(track("ab"))
        list(track("abcd"))

    assert percents_of(app, records, body) == [0.0, 50.0, 100.0, 0.0, 25.0, 50.0, 75.0, 100.0]


def test_leaving_a_loop_early_leaves_it(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for _ in track("abcd"):
            break
        update_progress(1, 10)

    assert percents_of(app, records, body)[-1] == 10.0


def test_a_loop_that_becomes_slow_is_seen(new_app, records):
    """After a hundred thousand items in no time, the next ones do not wait for as many again."""
    app = new_app(jobtastic_progress_interval=0.02)

    def body(self):
        for n in track(range(100_002)):
            if n == 100_000:
                wait_until(lambda: records[-1]["completed"] == 100_000, what="the fast items")
            if n == 100_001:
                wait_until(lambda: records[-1]["completed"] == 100_001, what="the slow item")

    run(app, body)


def test_a_loop_that_becomes_slow_right_after_a_record_is_seen():
    hours = Timetable()
    reported = Reported(clock=hours, call_at=hours.call_at)
    reported.progress.schedule.flushes = True
    token = reporting.set(reported.run)
    for n in track(range(1000)):
        hours.let_pass({0: 0.3, 500: 1.0}.get(n, 0.0))
        if n == 500:
            assert reported.records[-1]["completed"] == 500
    reporting.reset(token)


def test_loops_that_are_left_early_are_throttled_too():
    reported = Reported()
    token = reporting.set(reported.run)
    for _ in range(100):
        reported.clock.now += 0.001
        for _ in track("abcd"):
            break
    reporting.reset(token)
    assert len(reported.records) <= 3


def test_a_loop_over_a_loop_shows_the_further_one(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for _ in track((item for item in track("abcd")), total=4):
            pass

    percents = percents_of(app, records, body)
    assert percents == sorted(percents)
    assert {25.0, 50.0, 75.0, 100.0} <= set(percents)


class Strange:
    """Its length is nobody's business."""

    def __iter__(self):
        return iter("ab")

    def __len__(self):
        raise NotImplementedError


@pytest.mark.parametrize("iterable", [Strange(), range(10**20)], ids=["no length", "a length beyond all"])
def test_track_takes_what_a_loop_takes(new_app, iterable):
    app = new_app()
    assert run(app, lambda self: list(zip(track(iterable), range(2), strict=False))).state == "SUCCESS"


class Unnumbered:
    def __index__(self) -> int:
        raise RuntimeError("no")


def test_a_phase_takes_what_a_task_gives_it(new_app, caplog):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress("x", "y")  # type: ignore[arg-type]
        with phase(Unprintable(), weight=Unnumbered()), phase("b", of=Unnumbered()):  # type: ignore[arg-type]
            list(track("ab", total=Unnumbered(), message=Unprintable()))  # type: ignore[call-overload]
        return "well"

    assert run(app, body).get(timeout=1) == "well"
    assert "cannot be used" in caplog.text


def test_phases_take_their_part(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        with phase("load", of=4):
            update_progress(1, 2)
        with phase("render", weight=3):
            update_progress(1, 3, message="page 1")
            list(track("ab"))

    run(app, lambda self: body())
    assert changes(seen_inside(records)) == [
        (0.0, 0, None, "load"),
        (12.5, 1, 2, "load"),
        (25.0, 0, None, None),
        (25.0, 0, None, "render"),
        (50.0, 1, 3, "page 1"),
        (25.0, 0, 2, "page 1"),
        (62.5, 1, 2, "page 1"),
        (100.0, 2, 2, "page 1"),
        (100.0, 0, None, None),
    ]


def test_a_loop_after_a_phase_takes_what_is_left(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        with phase("load", of=2):
            pass
        list(track("ab"))

    assert percents_of(app, records, body) == [0, 50.0, 75.0, 100.0]


def test_phases_in_phases_share_their_part(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        with phase("a", weight=1, of=2):
            with phase("a1", weight=1, of=4):
                update_progress(1, 1)
            with phase("a2", weight=3):
                update_progress(1, 2)
        with phase("b", weight=1):
            update_progress(1, 2)

    percents = percents_of(app, records, body)
    assert percents == sorted(percents)
    assert {12.5, 31.25, 50.0, 75.0} <= set(percents)


def test_phases_in_a_loop_share_the_item(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for _ in track("ab"):
            with phase("a", of=4):
                pass
            with phase("b", weight=3):
                update_progress(1, 3)

    percents = percents_of(app, records, body)
    assert percents == sorted(percents)
    assert {0.0, 12.5, 25.0, 50.0, 62.5, 75.0, 100.0} == set(percents)


def test_phases_that_nobody_summed_take_half_of_what_is_left(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        for name in "abc":
            with phase(name):
                pass

    assert sorted(set(percents_of(app, records, body))) == [0.0, 50.0, 75.0, 87.5]


@pytest.mark.parametrize("weight", ["much", -1, None, float("nan")])
def test_a_wrong_weight_harms_nothing(new_app, records, caplog, weight):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with phase("a", weight=weight):
            update_progress(1, 2)
        with phase("b", of="all"):  # type: ignore[arg-type]
            return "well"

    assert run(app, body).get(timeout=1) == "well"
    assert "the progress that it reports cannot be used" in caplog.text


def test_an_error_in_a_phase_or_a_loop_is_the_tasks(new_app):
    app = new_app()

    def body(self):
        with phase("a"):
            for _ in track("ab"):
                raise KeyError("x")

    assert isinstance(run(app, body).result, KeyError)


def test_counts_go_with_the_percent_so_those_of_the_outer_loop_are_shown(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        for _ in track("ab", message="letters"):
            with phase("x"):
                list(track(range(10)))

    run(app, body)
    assert {each["total"] for each in records[:-1]} == {2}
    assert {each["message"] for each in records[:-1]} == {"letters", "x"}
