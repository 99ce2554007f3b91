"""Notes under a task id: its run goes on, its host is lost, or its result is ignored."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore

from jobtastic_signals import task_status, update_progress
from jobtastic_signals.results import index, notes
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.testing import Clock
from tests.support.unit_apps import (
    deliver,
    execute,
    installed_on,
    published,
    receive,
    store_of,
    use_store,
    work_off,
)

LEASE = 30.0


class Timers:
    """Stands in for the thread of a process: what is due is called as the clock advances."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pid = 1
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        heapq.heappush(self.due, (when, next(self._numbers), function))

    def lose_host(self) -> None:
        """Drop what the process would have done; from now on it is another one."""
        self.due.clear()
        self.pid += 1

    def advance(self, seconds: float) -> None:
        end = self._clock.now + seconds
        while self.due and self.due[0][0] <= end:
            self._clock.now, _, function = heapq.heappop(self.due)
            function()
        self._clock.now = end


class CountingStore(MemoryStore):
    """Counts what is asked of it."""

    reads = writes = 0

    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Any:
        self.reads += 1
        return super().lookup(key, scopes=scopes)

    def exchange(self, key: str, decide: Any) -> Any:
        self.writes += 1
        return super().exchange(key, decide)


@pytest.fixture
def timers(clock, monkeypatch) -> Timers:
    timers = Timers(clock)
    monkeypatch.setattr(notes, "timers", timers)
    monkeypatch.setattr(notes, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(notes, "os", SimpleNamespace(getpid=lambda: timers.pid))
    return timers


@pytest.fixture
def app(new_app) -> Celery:
    return new_app(jobtastic_lease=LEASE, jobtastic_progress_interval=0)


@pytest.fixture
def store(app, clock) -> CountingStore:
    return use_store(app, CountingStore("memory://", clock=clock))


def add_task(app: Celery, body: Callable[[Task], Any], **options: Any) -> Task:
    options = {"herd_avoidance_timeout": 600, **options}

    @app.task(bind=True, shared=False, name="proj.task", **options)
    def task(self: Task) -> Any:
        return body(self)

    return app.tasks["proj.task"]


def notice_of(app: Celery, task_id: str) -> str | None:
    notice: str | None = task_status(app, task_id)["task"].get("notice")
    return notice


def test_a_run_that_goes_on_has_no_notice_and_one_whose_host_is_lost_has(app, store, timers):
    seen = []

    def body(self):
        update_progress(1, 2)
        for _ in range(20):
            timers.advance(LEASE / 2)
            seen.append(notice_of(app, self.request.id))
        timers.lose_host()
        timers.advance(LEASE / 2)
        seen.append(notice_of(app, self.request.id))
        timers.advance(LEASE)
        status = task_status(app, self.request.id)["task"]
        assert (status["status"], status["result"]["completed"]) == ("PROGRESS", 1)
        seen.append(status["notice"])

    add_task(app, body).delay()
    work_off(app)
    assert seen == [None] * 21 + ["host_lost"]


def test_a_run_is_noted_beyond_its_herd_avoidance_timeout(app, store, timers):
    seen = []

    def body(self):
        timers.advance(10 * LEASE)
        seen.append(notice_of(app, self.request.id))
        timers.lose_host()
        timers.advance(LEASE)
        seen.append(notice_of(app, self.request.id))

    add_task(app, body, herd_avoidance_timeout=5).delay()
    work_off(app)
    assert seen == [None, "host_lost"]


@pytest.mark.parametrize("how", ["value", "exception", "ignore", "retry"])
def test_no_end_leaves_a_note(app, store, timers, how):
    def body(self):
        timers.advance(2 * LEASE)
        assert store.lookup(f"task:{self.request.id}").state == "STARTED"
        if how == "ignore":
            raise Ignore
        if how == "exception":
            raise ValueError
        if how == "retry":
            raise self.retry(countdown=3600)

    result = add_task(app, body).delay()
    for message in published(app):
        deliver(app, message)
    timers.advance(10 * LEASE)
    assert store.lookup(f"task:{result.id}") is None
    assert "notice" not in task_status(app, result.id)["task"]
    assert timers.due == []


def test_a_cached_result_takes_the_place_of_the_note(app, store, timers):
    task = add_task(app, lambda self: timers.advance(2 * LEASE), cache_duration=60)
    result = task.delay()
    work_off(app)
    assert store.lookup(f"task:{result.id}").state == "SUCCESS"
    result.forget()
    assert task_status(app, result.id)["task"]["status"] == "SUCCESS"


def test_an_end_that_came_after_the_backend_was_read_is_shown(app, store, timers, monkeypatch):
    seen = []

    def body(self):
        task_id = self.request.id
        timers.advance(2)
        timers.lose_host()
        timers.advance(LEASE)
        lookup = store.lookup

        def interposed(key: str, **options: Any) -> Any:
            app.backend.store_result(task_id, 7, "SUCCESS")
            return lookup(key, **options)

        monkeypatch.setattr(store, "lookup", interposed)
        seen.append(task_status(app, task_id)["task"])
        monkeypatch.undo()
        raise Ignore

    add_task(app, body).delay()
    work_off(app)
    [task] = seen
    assert (task["status"], task["result"]) == ("SUCCESS", 7)
    assert "notice" not in task


def test_a_run_that_another_host_takes_up_has_no_notice_any_more(app, store, timers):
    """The broker delivers the message again."""
    seen = []

    def body(self):
        timers.advance(2)
        if not seen:
            timers.lose_host()
            timers.advance(LEASE)
            seen.append(notice_of(app, self.request.id))
            execute(receive(app, message))
            raise Ignore  # Nothing more is stored, as by a host that is lost.
        seen.append(notice_of(app, self.request.id))
        timers.advance(2 * LEASE)
        seen.append(notice_of(app, self.request.id))

    result = add_task(app, body).delay()
    [message] = published(app)
    execute(receive(app, message))
    assert seen == ["host_lost", None, None]
    assert notice_of(app, result.id) is None


def test_a_delivery_that_waits_has_no_notice(app, store, timers):
    """Its first one was lost, and somebody else runs meanwhile."""
    seen = []
    task = add_task(app, lambda self: None)

    result = task.delay()
    [message] = published(app)
    index.note_running(store_of(app), result.id, LEASE)
    timers.advance(LEASE)
    seen.append(notice_of(app, result.id))
    key = message.headers["jobtastic"]["key"]
    store.claim(key, "another", "another/1", 600, lapsed=store.lookup(key))
    execute(receive(app, message))
    seen.append(notice_of(app, result.id))
    assert seen == ["host_lost", None]


@pytest.mark.parametrize("what", ["queued", "short", "unshared", "store away"])
def test_where_nothing_is_known_there_is_no_notice(app, store, timers, what):
    def body(self):
        if what == "short":
            timers.advance(0.9)
        else:
            timers.advance(5)
        timers.lose_host()
        timers.advance(LEASE)
        if what == "store away":
            store_of(app).close()
            use_store(app, FailingStore("memory://"))
        assert notice_of(app, self.request.id) is None

    task = (
        add_task(app, body, herd_avoidance_timeout=None, cache_duration=-1)
        if what == "unshared"
        else (add_task(app, body))
    )
    result = task.delay()
    if what == "queued":
        timers.advance(3 * LEASE)
        assert notice_of(app, result.id) is None
    else:
        work_off(app)


class FailingStore(MemoryStore):
    def lookup(self, key: str, *, scopes: Sequence[str] = ()) -> Any:
        raise TimeoutError


def test_a_poll_reads_once_from_the_store(app, store, timers):
    reads = []

    def body(self):
        timers.advance(5)
        before = store.reads
        task_status(app, self.request.id)
        reads.append(store.reads - before)

    result = add_task(app, body).delay()
    before = store.reads
    task_status(app, result.id)
    assert store.reads == before + 1
    work_off(app)
    before = store.reads
    task_status(app, result.id)
    assert reads == [1]
    assert store.reads == before + 1


def test_short_runs_cost_the_store_nothing(app, store, timers):
    task = add_task(app, lambda self: timers.advance(0.5))
    task.delay()
    before = store.writes
    work_off(app)
    timers.advance(10 * LEASE)
    assert [key for key, _ in store.entries("task:")] == []
    assert store.writes == before + 2, "a claim and a release"
    assert timers.due == []


def test_a_forked_child_leaves_the_notes_to_its_parent(app, store, timers):
    beats = notes._Beats()
    parents, childs = (notes._Beat(store_of(app), name, LEASE) for name in ("parents", "childs"))
    beats.add(parents)
    timers.lose_host()
    beats.add(childs)
    timers.advance(2)
    assert [key for key, _ in store.entries("task:")] == ["task:childs"]


# Ignored results


def test_a_run_that_ignores_its_result_says_so(app, store, timers):
    seen = []

    def body(self):
        timers.advance(0.1)
        seen.append(notice_of(app, self.request.id))

    result = add_task(app, body, ignore_result=True).delay()
    assert notice_of(app, result.id) is None, "nobody knows yet"
    work_off(app)
    assert [*seen, notice_of(app, result.id)] == ["ignored", "ignored"]
    assert task_status(app, result.id)["task"]["status"] == "PENDING"
    timers.advance(index.IGNORED_NOTED_FOR)
    assert notice_of(app, result.id) is None


@pytest.mark.parametrize("how", ["call", "configuration"])
def test_it_counts_wherever_it_is_set(new_app, clock, timers, how):
    app = new_app(task_ignore_result=how == "configuration")
    use_store(app, CountingStore("memory://", clock=clock))
    options = {"ignore_result": True} if how == "call" else {}
    result = add_task(app, lambda self: None).apply_async(**options)
    work_off(app)
    timers.advance(1)
    assert notice_of(app, result.id) == "ignored"


def test_many_ignored_results_cost_the_store_little(app, store, timers):
    task = add_task(app, lambda self: None, ignore_result=True)
    [middleware] = [each for each in installed_on(app).stack if isinstance(each, notes.Notes)]
    middleware._ignored.fill_rate = 0.0  # However long this takes.
    for _ in range(2 * notes.BURST):
        task.apply_async()
        work_off(app)
    timers.advance(1)
    assert notes.BURST <= len(list(store.entries("task:"))) < 2 * notes.BURST


def test_statuses_with_notices_are_json(app, store, timers):
    result = add_task(app, lambda self: None, ignore_result=True).delay()
    work_off(app)
    timers.advance(1)
    assert json.loads(json.dumps(task_status(app, result.id)))["task"] == {
        "id": result.id,
        "status": "PENDING",
        "result": None,
        "notice": "ignored",
    }
