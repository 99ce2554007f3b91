"""What an update may contain, and how often it is written."""

from __future__ import annotations

import decimal
import logging
import sys
from types import FrameType

import pytest

from jobtastic_signals import JobtasticError, phase, update_progress
from jobtastic_signals.progress.current import progress_here
from jobtastic_signals.progress.lazy import reporting
from jobtastic_signals.progress.schedule import HELD_BACK
from tests.support.progress import NEVER, NOTHING, Reported, Unprintable, run, seen_inside
from tests.support.servers import wait_until
from tests.support.timetable import Timetable
from tests.support.unit_apps import store_of, work_off


class NotComparable:
    def __ne__(self, other: object) -> bool:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "arguments",
    [
        ("1", 2),
        (1, "2"),
        (None, 2),
        (float("nan"), 2),
        (1, float("inf")),
        ([1], 2),
        (1, 2, "often"),
        (1, 2, None),
        (1j, 2),
    ],
    ids=repr,
)
def test_what_is_no_number_is_left_out_with_a_warning(new_app, records, caplog, arguments):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(*arguments)
        update_progress(*arguments)
        update_progress(1, 4)

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).state == "SUCCESS"
    assert seen_inside(records)[-1] == (25.0, 1, 4, None)
    ours = [record for record in caplog.records if record.name.startswith("jobtastic_signals")]
    [warning] = [record.getMessage() for record in ours]
    assert "the progress that it reports cannot be used" in warning


def test_other_numbers_and_messages_become_what_every_serializer_carries(new_app, records, caplog):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(decimal.Decimal("1.5"), 3, message=7)  # type: ignore[arg-type]
        update_progress(True, 4, message=Unprintable())  # type: ignore[arg-type]
        update_progress(3, 4, message="fine")

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).state == "SUCCESS"
    assert seen_inside(records) == [(50.0, 1.5, 3, "7"), (75.0, 3, 4, "fine")]


@pytest.mark.parametrize("value", [-1, True, "0.1", float("inf")])
def test_a_wrong_interval_is_refused(new_app, value):
    app = new_app(jobtastic_progress_interval=value)
    with pytest.raises(JobtasticError, match=r"jobtastic_progress_interval.*seconds"):
        store_of(app)


def test_a_loop_of_many_updates_costs_a_handful_of_records():
    reported = Reported()
    for n in range(10_000):
        reported.after(0.0001, n, 10_000)
    assert 9 <= len(reported.records) <= 11
    assert reported.after(0.0001, 10_000, 10_000)["progress_percent"] == 100


@pytest.mark.parametrize(
    ("options", "needed"),
    [(NEVER, ["update_progress"]), ({}, ["update_progress", "update"])],
    ids=["with options", "without"],
)
def test_an_update_that_is_held_back_costs_one_call_or_two(new_app, options, needed):
    """A loop makes millions of them. Without options and Redis, nothing but the update sees what is due."""
    app = new_app(jobtastic_progress_interval=3600)
    calls: list[str] = []

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    @app.task(shared=False, name="proj.counts", **options)
    def body() -> None:
        update_progress(1, 1000)
        update_progress(2, 1000)
        update_progress(3, 1000)
        sys.setprofile(watch)
        update_progress(4, 1000)
        sys.setprofile(None)

    body.delay()
    work_off(app)
    assert calls == needed


def test_updates_that_become_slow_are_seen_in_time():
    """Those that pass without a look at the clock are written by the timers."""
    hours = Timetable()
    reported = Reported(interval=1.0, clock=hours, call_at=hours.call_at)
    reported.progress.schedule.flushes = True
    token = reporting.set(reported.run)
    for n in range(400):
        hours.let_pass(0.0001)
        update_progress(n, 1000)
    assert [record["completed"] for record in reported.records] == [0]
    assert reported.progress.schedule.unseen > 0
    for n in range(400, 403):
        update_progress(n, 1000)
        hours.let_pass(2.0)
        assert reported.records[-1]["completed"] == n
    reporting.reset(token)


def test_updates_that_pass_without_a_look_at_the_clock_are_noted_where_the_run_is(new_app, records):
    app = new_app(jobtastic_progress_interval=3600)

    def body(self):
        for n in range(10):
            update_progress(n, 100)
        with phase("load", of=2):
            update_progress(1, 2)
            level = progress_here().report.level
            assert (level.completed, level.total) == (1, 2)
            for n in range(10):
                update_progress(n, 100)
            assert (level.completed, level.total) == (9, 100)
        update_progress(7, 100)
        level = progress_here().report.level
        assert (level.parent, level.completed) == (None, 7)

    assert run(app, body).state == "SUCCESS"


@pytest.mark.parametrize("value", ["many", Unprintable(), NotComparable()])
def test_what_is_no_number_is_warned_of_where_updates_are_only_noted(new_app, caplog, value):
    app = new_app(jobtastic_progress_interval=0.1)

    def body(self):
        schedule = progress_here().schedule
        for n in range(10_000):
            update_progress(n, 100_000)
            if schedule.is_held_back and schedule.unseen > 1:
                break
        update_progress(value, 100_000)
        wait_until(lambda: "cannot be used" in caplog.text, what="the warning")
        return "well"

    assert run(app, body).get(timeout=5) == "well"


def test_completing_is_written_at_once_and_once():
    reported = Reported()
    reported.after(0.001, 10, 10)
    reported.after(0.001, 10, 10)
    assert [record["completed"] for record in reported.records] == [10]
    assert reported.records[-1]["time_remaining"] == 0


def test_an_update_frequency_writes_each_so_many_items_and_the_last():
    reported = Reported()
    for n in range(26):
        reported.after(0.2, n, 25, 10)
    assert [record["completed"] for record in reported.records] == [10, 20, 25]


def test_counts_that_start_again_are_not_held_back_by_an_update_frequency():
    reported = Reported()
    for n in [5, 10, 15, 1, 5, 11]:
        reported.after(0.2, n, 100, 10)
    assert [record["completed"] for record in reported.records] == [10, 1, 11]


def test_what_an_update_frequency_holds_back_is_written_in_a_while(new_app, records, monkeypatch):
    monkeypatch.setattr("jobtastic_signals.progress.schedule.HELD_BACK", 0.2)
    assert HELD_BACK > 1
    app = new_app(jobtastic_progress_interval=0.01)

    def body(self):
        update_progress(3, 10, update_frequency=5)
        wait_until(lambda: records[-1]["completed"] == 3, what="what was held back")

    run(app, body)


@pytest.mark.parametrize(
    ("updates", "percent", "left"),
    [
        pytest.param([(0, 10)], 0, -1, id="0 of N"),
        pytest.param([(10, 10)], 100, 0, id="N of N"),
        pytest.param([(5, 10)], 50, 1, id="half"),
        pytest.param([(12, 10)], 100, 0, id="beyond N"),
        pytest.param([(0, 0)], 100, 0, id="total 0"),
        pytest.param([(3, 10), (2, 10)], 20, -1, id="descending"),
        pytest.param([(3, None)], 0, -1, id="unknown total"),
        pytest.param([(5, 10), (6, None)], 50, -1, id="a total that is not known any more"),
        pytest.param([(5, 10), (6, 20)], 30, 11.2, id="a total that grows"),
    ],
)
def test_percent_and_time_that_are_written(updates, percent, left):
    reported = Reported()
    for update in updates:
        record = reported.after(1.0, *update)
    assert record["progress_percent"] == percent
    assert record["time_remaining"] == pytest.approx(left, abs=0.3)


def test_a_paused_clock_gives_no_estimate_and_no_error():
    reported = Reported(interval=0)
    assert reported.after(0.0, 3, 10)["time_remaining"] == -1
    assert reported.after(0.0, 5, 10) == {**NOTHING, "progress_percent": 50, "completed": 5, "total": 10}


def test_a_message_stays_until_there_is_another():
    reported = Reported(interval=0)
    messages = [
        reported.after(1, n, 4, 1, message)["message"] for n, message in enumerate(["a", None, "b", None])
    ]
    assert messages == ["a", "a", "b", "b"]
