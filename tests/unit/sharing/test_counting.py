"""The numbers of tasks: what is counted, and that it reaches the store once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals

from jobtastic_signals import JobtasticError, TaskStats, UnkeyableError, stats
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.support import counters
from jobtastic_signals.support.timers import Timers
from tests.support.calls import BOTH, CACHE, HERD, add_tasks
from tests.support.timetable import Timetable
from tests.support.unit_apps import (
    deliver,
    elsewhere,
    installed_on,
    key_of,
    published,
    store_of,
    use_store,
    work_off,
)

NAME = "proj.double"


def numbers(app: Any) -> dict[str, Any]:
    """What has been counted of the task, but for times and zeros."""
    found = vars(stats(app).get(NAME, TaskStats()))
    return {name: value for name, value in found.items() if value and not name.endswith("seconds")}


def test_calls_hits_joins_and_runs_are_counted(app):
    double = add_tasks(app, **BOTH)
    double.delay(1)
    double.delay(1)
    assert numbers(app) == {"calls": 2, "joins": 1}
    work_off(app)
    double.delay(1)
    assert numbers(app) == {"calls": 3, "joins": 1, "hits": 1, "runs": 1}


def test_served_runs_and_waits_are_counted(app):
    waits = []

    @app.task(name=NAME, bind=True, shared=False, **BOTH)
    def double(self, n):
        if not waits:
            waits.append(elsewhere(deliver, app, message))

    double.apply_async((1,), task_id="one")
    (message,) = published(app)
    double.apply_async((1,), task_id="other")
    deliver(app, message)
    work_off(app)
    assert numbers(app) == {"calls": 2, "runs": 1, "waits": 1, "served": 2}


def test_a_claim_that_another_id_takes_counts_as_taken_over(app):
    double = add_tasks(app, **HERD)
    double.apply_async((1,), task_id="one")
    double.apply_async((1,), task_id="other")
    *_, later = published(app)
    deliver(app, later)
    assert numbers(app)["takeovers"] == 1


def test_a_message_that_is_sent_again_is_no_call(app):
    @app.task(name=NAME, bind=True, shared=False, max_retries=2, **HERD)
    def double(self, n):
        if not self.request.retries:
            raise self.retry(countdown=0)

    double.delay(1)
    work_off(app)
    assert numbers(app) == {"calls": 1, "runs": 2}


def test_failed_runs_count_and_eager_ones(app):
    @app.task(name=NAME, shared=False, **CACHE)
    def double(n):
        if n < 0:
            raise ValueError

    double.apply((-1,))
    double.apply((1,))
    double.apply((1,))
    assert numbers(app) == {"runs": 2, "served": 1}


def test_a_failure_that_is_served_counts_as_served(app):
    @app.task(name=NAME, shared=False, cache_failures_for={LookupError: 60}, **BOTH)
    def double(n):
        raise LookupError(n)

    for _ in range(3):
        double.apply_async((1,), task_id=uuid.uuid4().hex)
    work_off(app)
    assert numbers(app) == {"calls": 3, "runs": 1, "served": 2}


def test_saved_seconds_are_runs_avoided_times_their_usual_duration(app):
    add_tasks(app, **BOTH)
    installed_on(app).counters.add(NAME, runs=4, run_seconds=10.0, hits=1, joins=2, served=3)
    assert stats(app)[NAME].saved_seconds == 15.0


def test_calls_without_a_key_are_counted_by_the_argument(new_app):
    app = new_app()

    @app.task(name=NAME, shared=False, **BOTH)
    def double(n, **more): ...

    for kwargs in ({"n": object()}, {"n": 1, "a": object()}, {"n": 1, "b": object()}):
        with pytest.raises(UnkeyableError):
            double.delay(**kwargs)
    assert numbers(app) == {"no_key": {"n": 1, "**": 2}}


def test_what_the_store_did_not_answer_is_counted_when_it_is_back(app, memory):
    double = add_tasks(app, **BOTH)
    failing = Failing(clock=memory._clock)
    use_store(app, failing, always_tried=True)
    failing.fails = True
    double.delay(1)
    assert stats(app) == {}
    failing.fails = False
    assert numbers(app) == {"calls": 1, "store_failures": 1}


class Failing(MemoryStore):
    """Fails while it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__("memory://failing", **options)
        self.fails = False

    def exchange(self, *args: Any, **kwargs: Any) -> Any:
        if self.fails:
            raise ConnectionError
        return super().exchange(*args, **kwargs)


def test_a_task_about_memory_alone_is_not_counted(app):
    double = add_tasks(app, memleak_threshold=1000)
    double.delay(1)
    work_off(app)
    assert stats(app) == {}


def test_without_the_plugin_there_are_no_numbers(new_app):
    with pytest.raises(JobtasticError, match="the plugin is not enabled"):
        stats(new_app(plugin=False))


def test_numbers_of_a_later_version_are_left_out(app):
    store_of(app).count(f"counts:{NAME}", {"calls": 1, "leaps": 7}, ttl=60)
    assert numbers(app) == {"calls": 1}


def test_they_are_kept_for_ninety_days_after_the_last_one(app, clock):
    add_tasks(app, **BOTH).delay(1)
    assert numbers(app) == {"calls": 1}
    clock.now += 90 * 24 * 3600 - 1
    assert numbers(app) == {"calls": 1}
    clock.now += 1
    assert stats(app) == {}


# The counters of a process.


class Sums:
    """Where counters are handed over."""

    def __init__(self) -> None:
        self.handed: list[tuple[str, dict[str, float]]] = []
        self.works = True

    def __call__(self, name: str, amounts: Mapping[str, float]) -> bool:
        if self.works:
            self.handed.append((name, dict(amounts)))
        return self.works


@pytest.fixture
def sums():
    return Sums()


@pytest.fixture
def timetable(monkeypatch):
    timetable = Timetable()
    monkeypatch.setattr(counters, "time", SimpleNamespace(monotonic=timetable))
    return timetable


@pytest.fixture
def counted(sums, timetable):
    return counters.Counters(sums, timetable)


def test_increments_are_handed_over_after_a_while_and_once(counted, sums, timetable):
    counted.add("a", hits=1)
    counted.add("a", hits=1, calls=2)
    counted.add("b", calls=1)
    assert sums.handed == []
    timetable.let_pass(counters.HANDED_OVER_AFTER)
    assert sums.handed == [("a", {"hits": 2, "calls": 2}), ("b", {"calls": 1})]
    timetable.let_pass(60)
    assert len(sums.handed) == 2, "nothing changed"
    assert len(timetable.timers) == 1


def test_what_could_not_be_handed_over_is_handed_over_later_and_once(counted, sums, timetable):
    sums.works = False
    counted.add("a", hits=1)
    timetable.let_pass(counters.HANDED_OVER_AFTER)
    counted.add("a", hits=1)
    sums.works = True
    timetable.let_pass(counters.HANDED_OVER_AFTER)
    timetable.let_pass(60)
    assert sums.handed == [("a", {"hits": 2})]


def test_an_error_loses_nothing(counted, sums, timetable, monkeypatch):
    counted.add("a", hits=1)
    counted.add("b", hits=1)
    monkeypatch.setattr(counted, "_write", lambda name, amounts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        counted.flush()
    monkeypatch.undo()
    counted.flush()
    assert dict(sums.handed) == {"a": {"hits": 1}, "b": {"hits": 1}}


def test_an_app_that_has_gone_is_not_kept_alive(sums, timetable):
    counted = counters.Counters(sums, timetable)
    counted.add("a", hits=1)
    del counted
    timetable.let_pass(60)
    assert sums.handed == []


def test_a_process_of_the_pool_hands_over_before_it_ends(app):
    add_tasks(app, **BOTH).delay(1)
    assert store_of(app).counts("counts:") == []
    signals.worker_process_shutdown.send(sender=None, pid=1, exitcode=0)
    assert dict(store_of(app).counts("counts:")) == {f"counts:{NAME}": {"calls": 1}}


def test_the_thread_that_hands_over_starts_with_the_first_increment():
    started = []

    class Watched(Timers):
        def call_at(self, when, function):
            started.append(when)
            return super().call_at(when, function)

    counted = counters.Counters(Sums(), Watched("test"))
    assert started == []
    counted.add("a", hits=1)
    counted.add("a", hits=1)
    assert len(started) == 1


def test_numbers_are_no_entries_of_calls(app):
    double = add_tasks(app, **BOTH)
    double.delay(1)
    stats(app)
    assert [key for key, _ in store_of(app).entries()] == [key_of(double, 1)]
