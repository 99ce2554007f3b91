"""What a running task says of its progress, and what others see of it; without a worker."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import itertools
import logging
import os
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from jobtastic_signals import JobtasticError, events, phase, track, update_progress
from jobtastic_signals.progress.reporter import HELD_BACK, Past, Progress, current_progress

from . import unit_apps
from .unit_apps import deliver, is_changed, published, real, store_of, work_off
from .workers.servers import wait_until

new_app = unit_apps.new_app

NEVER = {"cache_duration": -1}
FIRST = {"progress_percent": 0, "time_remaining": -1, "completed": 0, "total": None, "message": None}


@pytest.fixture
def records():
    """All records that are written while the test runs."""
    seen: list[dict[str, Any]] = []

    def remember(task: Task, **info: Any) -> None:
        seen.append(info)

    with events.progress_updated.connected_to(remember):
        yield seen


def add(app: Celery, body: Any, **options: Any) -> Task:
    """A task of *body*, which is given the task first."""
    body.__name__ = "body"  # Celery makes a function of the same name, and a lambda's is none.
    return app.task(body, bind=True, shared=False, **{"name": "proj.task", **NEVER, **options})


def run(app: Celery, body: Any, **options: Any) -> Any:
    """The result of running *body* as a task, as a worker would."""
    result = add(app, body, **options).delay()
    work_off(app)
    return result


def seen_inside(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["progress_percent"], each["completed"], each["total"], each["message"]) for each in records]


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reported:
    """A progress with a clock, and what it wrote."""

    def __init__(self, interval: float = 0.1, past: Past | None = None) -> None:
        self.clock = Clock()
        self.records: list[dict[str, Any]] = []
        self.progress = Progress(
            "task", self._put, interval=interval, past=lambda: past or Past(), flushes=False, clock=self.clock
        )
        # The background thread lives by another clock.
        self.progress._later = lambda when, function: None
        self.progress.begin()

    def _put(self, record: Any, unasked: bool) -> bool:
        self.records.append(dict(record))
        return True

    def after(self, seconds: float, *update: Any) -> dict[str, Any]:
        """The latest record after an update so many seconds later."""
        self.clock.now += seconds
        self.progress.update(*update)
        return self.records[-1]


def test_the_first_record_is_written_when_the_run_starts(new_app, records):
    app = new_app()
    seen = []

    def body(self):
        result = self.AsyncResult(self.request.id)
        seen.append((result.state, result.result))

    run(app, body)
    assert seen == [("PROGRESS", FIRST)]


def test_it_comes_after_started(new_app):
    app = new_app(task_track_started=True)
    seen = []
    run(app, lambda self: seen.append(self.AsyncResult(self.request.id).state))
    assert seen == ["PROGRESS"]


def test_an_update_is_seen_at_once_by_a_raw_result(new_app):
    app = new_app(jobtastic_progress_interval=0)
    seen = []

    def body(self):
        update_progress(1, 4, message="reading")
        seen.append(app.AsyncResult(self.request.id).result)

    assert run(app, body).state == "SUCCESS"
    [record] = seen
    assert record["progress_percent"] == 25
    assert (record["completed"], record["total"], record["message"]) == (1, 4, "reading")
    assert record["time_remaining"] >= 0


def test_the_method_of_the_task_is_the_function(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    run(app, lambda self: self.update_progress(1, 2, update_frequency=1, message="x"))
    assert seen_inside(records) == [(0, 0, None, None), (50.0, 1, 2, "x")]


def test_a_task_with_such_a_method_keeps_its_own(new_app):
    app = new_app()

    class Base(Task):
        def update_progress(self):
            return "mine"

    task = add(app, lambda self: None, base=Base)
    assert real(task).update_progress() == "mine"


def test_uninstalling_takes_the_method_away(new_app):
    from jobtastic_signals import Jobtastic

    app = new_app()
    task = real(add(app, lambda self: None))
    assert hasattr(task, "update_progress")
    Jobtastic().uninstall(app)
    assert not hasattr(task, "update_progress")
    assert not is_changed(task)


@pytest.mark.parametrize("plugin", [True, False], ids=["with the plugin", "without it"])
def test_it_works_in_a_task_without_options(new_app, plugin):
    app = new_app(plugin=plugin)
    seen = []

    @app.task(bind=True, shared=False, name="proj.plain")
    def plain(self):
        seen.append(self.AsyncResult(self.request.id).state)
        update_progress(1, 4)
        seen.append(self.AsyncResult(self.request.id).result["progress_percent"])

    results = [plain.delay(), plain.delay()]
    work_off(app)
    assert seen == ["PENDING", 25.0] * 2
    assert [result.state for result in results] == ["SUCCESS"] * 2
    assert current_progress.get() is None


def test_it_does_nothing_outside_of_a_run(new_app, records):
    app = new_app()
    task = add(app, lambda self, n: [update_progress(n, 2), list(track("ab"))])
    assert task(1) == [None, ["a", "b"]]
    update_progress(1, 2)
    with phase("x"):
        assert list(track(iter("ab"))) == ["a", "b"]
    assert records == []


def test_a_function_that_is_called_directly_reports_for_the_run(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    inner = add(app, lambda self: update_progress(1, 2), name="proj.inner")

    def body(self):
        inner()
        inner.apply()

    result = run(app, body)
    assert [each["task_id"] for each in records] == [result.id] * 3


def test_a_thread_with_the_context_reports_for_the_run(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(update_progress, 1, 2))
        thread.start()
        thread.join()
        other = threading.Thread(target=update_progress, args=(2, 2))
        other.start()
        other.join()

    run(app, body)
    assert seen_inside(records[1:]) == [(50.0, 1, 2, None)]


@pytest.mark.parametrize("options", [NEVER, {}], ids=["with options", "without"])
def test_coroutines_report_for_the_run(new_app, records, options):
    app = new_app(jobtastic_progress_interval=0)

    async def work():
        update_progress(1, 4)
        await asyncio.to_thread(update_progress, 2, 4)

    @app.task(shared=False, name="proj.async", **options)
    def body():
        asyncio.run(work())
        update_progress(3, 4)

    body.delay()
    work_off(app)
    percents = [each["progress_percent"] for each in records if each["total"]]
    assert percents == [25.0, 50.0, 75.0]


def test_an_eager_run_leaves_no_progress(new_app, records):
    app = new_app()

    def body(self):
        update_progress(1, 2)
        raise KeyError("x")

    task = add(app, body)
    result = task.apply()
    assert records == []
    assert app.AsyncResult(result.id).state == "PENDING"


def test_an_eager_run_that_stores_its_result_shows_its_progress(new_app, records):
    app = new_app(task_store_eager_result=True, jobtastic_progress_interval=0)

    def body(self, fails):
        update_progress(1, 2)
        assert app.AsyncResult(self.request.id).state == "PROGRESS"
        if fails:
            raise KeyError("x")

    task = add(app, body)
    assert [app.AsyncResult(task.apply((fails,)).id).state for fails in (0, 1)] == ["SUCCESS", "FAILURE"]


@pytest.mark.parametrize("how", ["task", "call"])
def test_a_run_whose_result_is_ignored_leaves_no_progress(new_app, records, how):
    app = new_app()
    task = add(app, lambda self: update_progress(1, 2), ignore_result=how == "task")
    result = task.apply_async(ignore_result=True) if how == "call" else task.delay()
    work_off(app)
    assert records == []
    assert app.AsyncResult(result.id).state == "PENDING"


def test_without_a_result_backend_it_harms_nothing(new_app, records):
    app = new_app(result_backend=None)
    done = []
    run(app, lambda self: [update_progress(1, 2), done.append(1)])
    assert (done, records) == ([1], [])


def test_a_served_run_shows_no_progress(new_app, records):
    app = new_app()
    task = add(app, lambda self: 7, cache_duration=60)
    task.delay()
    work_off(app)
    del records[:]
    other = task.apply_async(task_id=str(uuid.uuid4()))
    work_off(app)
    assert records == []
    assert other.get(timeout=1) == 7


def test_a_waiting_run_shows_the_progress_of_the_one_that_it_waits_for(new_app):
    app = new_app(jobtastic_progress_interval=0)
    seen, waiting = [], str(uuid.uuid4())

    def body(self):
        update_progress(2, 5)
        # In a thread there is no run going on, as in another worker.
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()

    def meanwhile():
        task.apply_async(task_id=waiting)
        [message] = published(app)
        deliver(app, message)
        seen.append((app.AsyncResult(waiting).state, app.AsyncResult(waiting).result))

    task = add(app, body, herd_avoidance_timeout=60, cache_duration=60)
    task.delay()
    work_off(app)
    [(state, record)] = seen
    assert (state, record["progress_percent"]) == ("PROGRESS", 40.0)
    assert app.AsyncResult(waiting).state == "SUCCESS"


@pytest.mark.parametrize(
    ("ending", "state"), [(KeyError("x"), "FAILURE"), (SoftTimeLimitExceeded(), "FAILURE"), (None, "SUCCESS")]
)
def test_nothing_is_written_over_the_end(new_app, ending, state):
    """The background thread has something to write when the body ends."""
    app = new_app(jobtastic_progress_interval=0.05)

    def body(self):
        for n in range(10):
            update_progress(n, 10)
        if ending is not None:
            raise ending

    result = run(app, body)
    wait_until(lambda: not any(thread.name == "nobody" for thread in threading.enumerate()), what="nothing")
    time.sleep(0.2)
    assert result.state == state


def test_an_end_that_somebody_else_stored_is_not_written_over(new_app, records):
    """As the worker's main process does when a time limit strikes."""
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(1, 3)
        self.backend.mark_as_failure(self.request.id, KeyError("x"))
        update_progress(2, 3)
        assert self.AsyncResult(self.request.id).state == "FAILURE"
        raise Ignore

    result = run(app, body)
    assert [each["completed"] for each in records] == [0, 1]
    assert result.state == "FAILURE"


def test_a_retry_starts_anew(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(1, 2)
        if not self.request.retries:
            raise self.retry(countdown=0)

    run(app, body)
    assert seen_inside(records) == [(0, 0, None, None), (50.0, 1, 2, None)] * 2


def test_a_retry_of_a_task_without_options_tells_too(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    @app.task(bind=True, shared=False, name="proj.plain")
    def plain(self):
        update_progress(self.request.retries + 1, 4)
        if not self.request.retries:
            raise self.retry(countdown=0)

    plain.delay()
    work_off(app)
    assert [each["completed"] for each in records] == [1, 2]


def test_what_is_held_back_is_written_while_the_body_does_something_else(new_app, records):
    app = new_app(jobtastic_progress_interval=0.05)

    def body(self):
        for n in range(1000):
            update_progress(n, 1000)
        wait_until(lambda: records[-1]["completed"] == 999, what="the last update")

    run(app, body)


def test_a_thread_that_goes_on_to_tell_harms_nobody(new_app, records):
    app = new_app(jobtastic_progress_interval=0.05)
    stop = threading.Event()

    def talk():
        while not stop.is_set():
            update_progress(1, 3)

    def leaves_a_thread(self):
        threading.Thread(target=contextvars.copy_context().run, args=(talk,), daemon=True).start()

    def body(self):
        update_progress(1, 10)
        update_progress(2, 10)
        wait_until(lambda: records[-1]["completed"] == 2, what="what was held back")

    try:
        first = run(app, leaves_a_thread)
        second = run(app, body, name="proj.other")
    finally:
        stop.set()
    assert [first.state, second.state] == ["SUCCESS"] * 2
    assert [each["total"] for each in records if each["task_id"] == second.id] == [None, 10]


def test_a_soft_time_limit_that_strikes_while_a_record_is_written_is_the_tasks(new_app):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        def strike(task, **info):
            raise SoftTimeLimitExceeded

        def store(*args, **kwargs):
            raise SoftTimeLimitExceeded

        self.backend.store_result, before = store, self.backend.store_result
        try:
            update_progress(1, 2)
        except SoftTimeLimitExceeded:
            return "seen"
        finally:
            self.backend.store_result = before

    assert run(app, body).get(timeout=1) == "seen"


@pytest.mark.parametrize("where", ["get_task_meta", "store_result"])
def test_a_soft_time_limit_is_not_taken_for_a_failure_of_the_result_backend(new_app, monkeypatch, where):
    app = new_app(jobtastic_progress_interval=0)

    def strike(*args, **kwargs):
        raise SoftTimeLimitExceeded

    def body(self):
        with monkeypatch.context() as patch:
            patch.setattr(self.backend, where, strike)
            update_progress(1, 2)

    assert isinstance(run(app, body).result, SoftTimeLimitExceeded)
    assert current_progress.get() is None


def test_a_soft_time_limit_in_the_first_record_leaves_nothing_behind(new_app, monkeypatch):
    app = new_app(jobtastic_progress_interval=0)

    def strike(*args, **kwargs):
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr("jobtastic_signals.results.backend.start_progress", strike)
        assert isinstance(run(app, lambda self: 1).result, SoftTimeLimitExceeded)
    assert current_progress.get() is None


def test_a_soft_time_limit_that_strikes_at_the_end_does_not_let_a_record_come_after_it():
    """While the background thread writes, and the end waits for that."""
    writing, written = threading.Event(), []

    def put(record: Any, unasked: bool) -> bool:
        writing.set()
        time.sleep(0.5)
        written.append(time.monotonic())
        return True

    def strike(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    progress = Progress("task", put, interval=0)
    threading.Thread(target=progress.update, args=(1, 2)).start()
    assert writing.wait(10)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(SoftTimeLimitExceeded):
            progress.close()
        closed = time.monotonic()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(written) == 1
    assert written[0] <= closed


def test_a_receiver_can_report(new_app):
    app = new_app(jobtastic_progress_interval=0)
    told = []

    def report(task, completed, **info):
        told.append(completed)
        update_progress(completed + 10, 100)

    with events.progress_updated.connected_to(report):
        assert run(app, lambda self: update_progress(1, 100)).state == "SUCCESS"
    # Which of the two reports comes next is up to the threads.
    assert told[0] == 0
    assert told[1] in (1, 10)


@pytest.mark.parametrize("options", [NEVER, {}], ids=["with options", "without"])
def test_what_is_said_after_the_end_is_said_for_nothing(new_app, records, options):
    app = new_app(jobtastic_progress_interval=0)

    def late(**_: Any) -> None:
        update_progress(1, 3)

    @app.task(shared=False, name="proj.late", **options)
    def body():
        raise KeyError("x")

    signals.task_postrun.connect(late)
    try:
        results = [body.delay(), body.delay()]
        work_off(app)
    finally:
        signals.task_postrun.disconnect(late)
    assert [result.state for result in results] == ["FAILURE"] * 2
    assert [each["completed"] for each in records] == ([0, 0] if options else [])
    assert current_progress.get() is None


def test_a_child_that_the_body_forks_does_not_report_and_goes_on(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with held_by_another_thread(current_progress.get()._lock):  # as while something is written
            child = os.fork()
            if child == 0:
                try:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(10)
                    update_progress(1, 2)
                finally:
                    os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run(app, body).get(timeout=1) == 7
    assert [each["completed"] for each in records] == [0]


@contextmanager
def held_by_another_thread(lock):
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_what_is_said_before_the_body_is_said_for_nothing(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def early(**_: Any) -> None:
        update_progress(1, 3)

    signals.task_prerun.connect(early)
    try:
        run(app, lambda self: update_progress(2, 3))
    finally:
        signals.task_prerun.disconnect(early)
    assert [each["completed"] for each in records] == [0, 2]


def test_a_retry_that_is_announced_is_not_written_over(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        self.backend.mark_as_retry(self.request.id, KeyError("x"))
        update_progress(1, 3)
        return self.AsyncResult(self.request.id).state

    assert run(app, body).get(timeout=1) == "RETRY"


def test_where_the_state_cannot_be_read_nothing_is_written(new_app, records, caplog, monkeypatch):
    """It may be the end that a time limit has just stored."""
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        with monkeypatch.context() as patch:
            patch.setattr(self.backend, "get_task_meta", lambda *args, **kwargs: 1 / 0)
            update_progress(1, 2)

    run(app, body)
    assert [each["completed"] for each in records] == [0]
    assert "could not be written" in caplog.text


def test_with_rpc_nothing_fills_the_queue_of_the_caller(new_app, records):
    app = new_app(result_backend="rpc://")
    run(app, lambda self: update_progress(1, 2))
    assert records == []


def test_a_result_backend_that_fails_costs_one_warning_and_no_run(new_app, caplog):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        before = self.backend.store_result
        self.backend.store_result = lambda *args, **kwargs: 1 / 0
        try:
            for n in range(5):
                update_progress(n, 10)
        finally:
            self.backend.store_result = before
        return "well"

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).get(timeout=1) == "well"
    assert [record.message for record in caplog.records] == [
        f"{record.args[0]}: its progress could not be written: ZeroDivisionError('division by zero')"
        for record in caplog.records
    ]
    assert len(caplog.records) == 1


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
    [warning] = [record.getMessage() for record in caplog.records]
    assert "what it says of its progress is not used" in warning


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_other_numbers_and_messages_become_what_every_serializer_carries(new_app, records, caplog):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(decimal.Decimal("1.5"), 3, message=7)
        update_progress(True, 4, message=Unprintable())
        update_progress(3, 4, message="fine")

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        assert run(app, body).state == "SUCCESS"
    assert seen_inside(records[1:]) == [(50.0, 1.5, 3, "7"), (75.0, 3, 4, "fine")]


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


def test_completing_is_written_at_once_and_once():
    reported = Reported()
    reported.after(0.001, 10, 10)
    reported.after(0.001, 10, 10)
    assert [record["completed"] for record in reported.records] == [0, 10]
    assert reported.records[-1]["time_remaining"] == 0


def test_an_update_frequency_writes_each_so_many_items_and_the_last():
    reported = Reported()
    for n in range(1, 26):
        reported.after(0.2, n, 25, 10)
    assert [record["completed"] for record in reported.records] == [0, 10, 20, 25]


def test_counts_that_start_again_are_not_held_back_by_an_update_frequency():
    reported = Reported()
    for n in [5, 10, 15, 1, 5, 11]:
        reported.after(0.2, n, 100, 10)
    assert [record["completed"] for record in reported.records] == [0, 10, 1, 11]


def test_what_an_update_frequency_holds_back_is_written_in_a_while(new_app, records, monkeypatch):
    monkeypatch.setattr("jobtastic_signals.progress.reporter.HELD_BACK", 0.2)
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
    assert reported.after(0.0, 5, 10) == {**FIRST, "progress_percent": 50, "completed": 5, "total": 10}


def test_a_message_stays_until_there_is_another():
    reported = Reported(interval=0)
    said = [
        reported.after(1, n, 4, 1, message)["message"] for n, message in enumerate(["a", None, "b", None])
    ]
    assert said == ["a", "a", "b", "b"]


def changes(values: Any) -> list[Any]:
    """The values without those that repeat the one before."""
    return [value for value, _ in itertools.groupby(values)]


def percents_of(app: Celery, records: list[dict[str, Any]], body: Any) -> list[float]:
    run(app, lambda self: body())
    return changes(each["progress_percent"] for each in records)


def test_track_counts_the_items_that_are_done(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    run(app, lambda self: list(track("abcd", message="letters")))
    assert seen_inside(records)[1:] == [
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
    assert seen_inside(records)[1:] == [(0.0, n, None, None) for n in (0, 1, 2, 3, 3)]


def test_track_believes_a_total_that_it_is_given(new_app, records):
    app = new_app(jobtastic_progress_interval=0)
    assert percents_of(app, records, lambda: list(track(iter("ab"), total=4))) == [0, 25, 50]


def test_track_yields_all_with_a_wrong_total(new_app, records, caplog):
    app = new_app(jobtastic_progress_interval=0)
    assert run(app, lambda self: list(track("ab", total="many"))).get(timeout=1) == ["a", "b"]
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


def test_loops_that_are_left_early_are_throttled_too():
    reported = Reported()
    token = current_progress.set(reported.progress)
    for _ in range(100):
        reported.clock.now += 0.001
        for _ in track("abcd"):
            break
    current_progress.reset(token)
    assert len(reported.records) <= 3


def test_a_loop_over_a_loop_tells_the_further_one(new_app, records):
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
        update_progress("x", "y")
        with phase(Unprintable(), weight=Unnumbered()), phase("b", of=Unnumbered()):
            list(track("ab", total=Unnumbered(), message=Unprintable()))
        return "well"

    assert run(app, body).get(timeout=1) == "well"
    assert "is not used" in caplog.text


def test_phases_take_their_part(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body():
        with phase("load", of=4):
            update_progress(1, 2)
        with phase("render", weight=3):
            update_progress(1, 3, message="page 1")
            list(track("ab"))

    run(app, lambda self: body())
    assert changes(seen_inside(records)[1:]) == [
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
        with phase("b", of="all"):
            return "well"

    assert run(app, body).get(timeout=1) == "well"
    assert "what it says of its progress is not used" in caplog.text


def test_an_error_in_a_phase_or_a_loop_is_the_tasks(new_app):
    app = new_app()

    def body(self):
        with phase("a"):
            for _ in track("ab"):
                raise KeyError("x")

    assert isinstance(run(app, body).result, KeyError)


def test_counts_go_with_the_percent_so_those_of_the_outer_loop_are_told(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        for _ in track("ab", message="letters"):
            with phase("x"):
                list(track(range(10)))

    run(app, body)
    assert {each["total"] for each in records[1:-1]} == {2}
    assert {each["message"] for each in records[1:-1]} == {"letters", "x"}
