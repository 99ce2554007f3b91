"""Progress from threads, coroutines and handles, without another process."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery

from jobtastic_signals import (
    JobtasticError,
    ProgressHandle,
    current_progress,
    phase,
    track,
    update_progress,
)
from jobtastic_signals.progress import current
from tests.support.progress import NEVER, add, run, seen_inside
from tests.support.unit_apps import work_off

BOTH = pytest.mark.parametrize("options", [NEVER, {}], ids=["with options", "without"])


@pytest.fixture
def app(new_app) -> Celery:
    return new_app(jobtastic_progress_interval=0)


@pytest.fixture(autouse=True)
def not_yet_warned(monkeypatch):
    monkeypatch.setattr(current, "_warned_in", set())


def run_it(app, body, options):
    """Run *body* as a task with these options, or with none."""
    body.__name__ = "body"  # Celery makes a function of the same name, and a lambda's is none.
    task = app.task(body, name="proj.it", shared=False, **options)
    result = task.delay()
    work_off(app)
    return result


@BOTH
def test_threads_with_a_handle_report_for_the_run(app, records, options):
    def part(progress: ProgressHandle, n: int) -> None:
        progress.update(n, 4, message=f"part {n}")

    def body():
        progress = current_progress()
        for n in (1, 2):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(part, progress, n).result()

    run_it(app, body, options)
    assert seen_inside(records) == [(25.0, 1, 4, "part 1"), (50.0, 2, 4, "part 2")]


def test_a_handle_tracks_and_has_phases(app, records):
    def part(progress: ProgressHandle) -> None:
        with progress.phase("load", of=2):
            assert list(progress.track("ab")) == ["a", "b"]

    def body():
        progress = current_progress()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(part, progress).result()

    run_it(app, body, NEVER)
    assert {each["progress_percent"] for each in records} == {0.0, 25.0, 50.0}


def test_a_handle_from_outside_of_a_run_does_nothing(app, records):
    progress = current_progress()
    for handle in (progress, copy.copy(progress), pickle.loads(pickle.dumps(progress))):
        handle.update(1, 2)
        with handle.phase("x"):
            assert list(handle.track("ab")) == ["a", "b"]
    assert records == []


@BOTH
def test_a_handle_does_nothing_after_the_end_of_its_run(app, records, options):
    handles: list[ProgressHandle] = []
    result = run_it(app, lambda: handles.append(current_progress()), options)
    for handle in (handles[0], pickle.loads(pickle.dumps(handles[0]))):
        handle.update(1, 2)
        assert list(handle.track("ab")) == ["a", "b"]
    assert records == []
    assert result.state == "SUCCESS"


def test_a_handle_that_returns_to_its_process_is_one_of_the_same_run(app, records):
    def body():
        pickle.loads(pickle.dumps(current_progress())).update(1, 4)
        update_progress(2, 4)

    run_it(app, body, NEVER)
    assert seen_inside(records) == [(25.0, 1, 4, None), (50.0, 2, 4, None)]


def test_a_configuration_that_cannot_be_pickled_is_named(app):
    app.conf.of_its_own = lambda: None

    def body():
        with pytest.raises(JobtasticError, match=r"proj.it.*configuration cannot be pickled.*strings"):
            pickle.dumps(current_progress())
        return "well"

    assert run_it(app, body, NEVER).get(timeout=5) == "well"


async def numbers(count: int) -> AsyncIterator[int]:
    for n in range(count):
        await asyncio.sleep(0)
        yield n


@BOTH
def test_track_takes_an_asynchronous_iterator(app, records, options):
    seen: list[int] = []

    async def work() -> None:
        async for n in track(numbers(3), total=4, message="numbers"):
            seen.append(n)

    run_it(app, lambda: asyncio.run(work()), options)
    assert seen == [0, 1, 2]
    assert [each["progress_percent"] for each in records if each["total"]] == [0.0, 25.0, 50.0, 75.0, 75.0]


def test_track_of_an_asynchronous_iterator_is_one_outside_of_a_run():
    async def work() -> list[int]:
        return [n async for n in track(numbers(3))]

    assert asyncio.run(work()) == [0, 1, 2]


def test_an_asynchronous_loop_that_is_left_early_ends(app, records):
    async def work() -> None:
        loop = track(numbers(10), total=10)
        async for _ in loop:
            break
        await loop.aclose()  # type: ignore[attr-defined]

    def body(self):
        asyncio.run(work())
        update_progress(1, 2)

    run(app, body)
    assert seen_inside(records)[-1] == (50.0, 1, 2, None)


def test_phases_of_coroutines_at_the_same_time_do_no_harm(app, records):
    async def work(name: str) -> None:
        with phase(name):
            await asyncio.to_thread(update_progress, 1, 2)

    async def both() -> None:
        await asyncio.gather(work("a"), work("b"))

    result = run_it(app, lambda: asyncio.run(both()), NEVER)
    assert result.state == "SUCCESS"
    assert {each["task_id"] for each in records} == {result.id}


def in_thread(function, *arguments) -> None:
    thread = threading.Thread(target=function, args=arguments, name="helper")
    thread.start()
    thread.join()


@BOTH
def test_a_thread_that_belongs_to_no_run_is_warned_of_once(app, caplog, records, options):
    def body():
        for n in range(3):
            in_thread(update_progress, n, 3)
        in_thread(lambda: list(track("ab")))

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        run_it(app, body, options)
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith("thread 'helper' reports progress, but belongs to no run")
    assert "copy_context().run" in warning
    assert "current_progress()" in warning
    assert records == []


def test_nobody_is_warned_outside_of_a_worker(app, caplog):
    """Neither where no run goes on, nor beside an eager run, nor by a task that reports for itself."""
    task = add(app, lambda self: in_thread(update_progress, 1, 2))
    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        update_progress(1, 2)
        in_thread(update_progress, 1, 2)
        task.apply()
        run(app, lambda self: update_progress(1, 2), name="proj.other")
        in_thread(update_progress, 1, 2)
    assert caplog.records == []


def test_threads_with_a_run_of_their_own_are_not_warned_of(app, caplog):
    inner = add(app, lambda self: update_progress(1, 2), name="proj.inner")

    def body(self):
        in_thread(lambda: (inner.delay(), work_off(app)))

    with caplog.at_level(logging.WARNING, logger="jobtastic_signals"):
        run(app, body)
    assert caplog.records == []
