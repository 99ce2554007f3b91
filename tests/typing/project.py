"""A user's project, for type checkers only: nothing here runs. ``tox -e user-types`` checks it."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery import shared_task as celerys_shared_task
from celery.result import AsyncResult
from typing_extensions import assert_type

from jobtastic_signals import (
    Jobtastic,
    async_or_eager,
    async_or_fail,
    delay_or_eager,
    delay_or_fail,
    explain,
    explain_difference,
    forget,
    phase,
    task_status,
    track,
    update_progress,
)
from jobtastic_signals.events import memory_leak_detected
from jobtastic_signals.typing import Task, shared_task

app = Celery("proj", broker="redis://localhost/0", task_cls=Task)
Jobtastic(app)

plain_app = Celery("other")
Jobtastic(plain_app)


@app.task(herd_avoidance_timeout=60)
def report(customer: str, year: int = 2026) -> str:
    return f"{customer}, {year}"


@app.task(bind=True, cache_duration=3600, memleak_threshold=50)
def count(self: Task, total: int) -> int:
    for n in track(range(total)):
        self.update_progress(n + 1, total, message=f"number {n}")
    return total


@plain_app.task(herd_avoidance_timeout=60)
def simple(customer: str) -> str:
    update_progress(1, 2)
    return customer


@shared_task(herd_avoidance_timeout=60, cache_duration=3600)
def double(n: int) -> int:
    with phase("load", of=2):
        return 2 * n


@shared_task(bind=True, cache_duration=60)
def greet(self: Task[[str], str], name: str) -> str:
    self.update_progress(1, 1)
    return f"hello {name}"


@shared_task
def bare(n: int) -> list[int]:
    return [n]


@celerys_shared_task(name="proj.triple")
def triple(n: int) -> int:
    return 3 * n


@memory_leak_detected.connect
def show(task: Task, growth: int, **info: Any) -> None:
    print(task.name, growth)


def call() -> None:
    # Of an app's tasks celery-types knows no results.
    assert_type(report.delay("acme"), AsyncResult[Any])
    assert_type(report.delay_or_fail("acme", year=2026), AsyncResult[Any])
    assert_type(report.delay_or_eager("acme"), AsyncResult[Any])
    assert_type(delay_or_fail(report, "acme"), AsyncResult[Any])
    assert_type(delay_or_eager(simple, "acme"), AsyncResult[Any])

    # Shared tasks are generic, and so are our functions and methods.
    assert_type(double.delay(1), AsyncResult[int])
    assert_type(double.delay_or_fail(1), AsyncResult[int])
    assert_type(double.delay_or_eager(n=1), AsyncResult[int])
    assert_type(double.async_or_fail((1,), countdown=3), AsyncResult[int])
    assert_type(double.async_or_eager((1,)), AsyncResult[int])
    assert_type(delay_or_fail(double, 1), AsyncResult[int])
    assert_type(delay_or_eager(double, 1), AsyncResult[int])
    assert_type(async_or_fail(double, (1,)), AsyncResult[int])
    assert_type(async_or_eager(double, kwargs={"n": 1}), AsyncResult[int])
    assert_type(greet.delay_or_fail("ada"), AsyncResult[str])
    assert_type(delay_or_fail(greet, "ada"), AsyncResult[str])
    assert_type(bare.delay_or_fail(1), AsyncResult[list[int]])
    assert_type(delay_or_fail(triple, 1), AsyncResult[int])
    assert_type(double(1), int)

    # What does not fit is an error, as with delay().
    double.delay_or_fail("one")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    delay_or_fail(double, "one")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    delay_or_fail(triple, m=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    explain(report, "acme")
    explain_difference(double, double.s(1), double.s(2))
    forget(report, "acme")
    forget(double, 1)
    task_status(app, "some-id")
