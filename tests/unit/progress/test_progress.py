"""What a running task reports, and what others see of it; without a worker."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import uuid

import pytest
from celery import Task
from celery.exceptions import Ignore, SoftTimeLimitExceeded

from jobtastic_signals import phase, track, update_progress
from jobtastic_signals.progress.lazy import reporting
from tests.support.progress import NEVER, add, run, seen_inside
from tests.support.servers import wait_until
from tests.support.unit_apps import deliver, is_changed, published, real, work_off


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
    assert seen_inside(records) == [(50.0, 1, 2, "x")]


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
    assert reporting.get() is None


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
    assert [each["task_id"] for each in records] == [result.id] * 2


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
    assert seen_inside(records) == [(50.0, 1, 2, None)]


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


def test_a_waiting_run_that_was_revoked_meanwhile_stays_revoked(new_app):
    """The progress of the run that it waits for is not written over that end."""
    app = new_app(jobtastic_progress_interval=0)
    waiting, states = str(uuid.uuid4()), []

    def body(self):
        update_progress(2, 5)
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()

    def meanwhile():
        task.apply_async(task_id=waiting)
        [message] = published(app)
        app.backend.mark_as_revoked(waiting)
        deliver(app, message)
        states.append(app.AsyncResult(waiting).state)

    task = add(app, body, herd_avoidance_timeout=60)
    task.delay()
    [message] = published(app)
    deliver(app, message)
    assert states == ["REVOKED"]
    assert len(published(app)) == 1


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
    """As by the worker's main process when a time limit strikes."""
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(1, 3)
        self.backend.mark_as_failure(self.request.id, KeyError("x"))
        update_progress(2, 3)
        assert self.AsyncResult(self.request.id).state == "FAILURE"
        raise Ignore

    result = run(app, body)
    assert [each["completed"] for each in records] == [1]
    assert result.state == "FAILURE"


def test_a_retry_starts_anew(new_app, records):
    app = new_app(jobtastic_progress_interval=0)

    def body(self):
        update_progress(1, 2)
        if not self.request.retries:
            raise self.retry(countdown=0)

    run(app, body)
    assert seen_inside(records) == [(50.0, 1, 2, None)] * 2


def test_a_retry_of_a_task_without_options_reports_too(new_app, records):
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


def test_a_thread_that_goes_on_to_report_does_no_harm(new_app, records):
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
    assert {each["total"] for each in records if each["task_id"] == second.id} == {10}
