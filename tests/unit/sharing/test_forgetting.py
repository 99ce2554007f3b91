"""``forget``, ``forget_all``, ``forget_tag`` and ``release``; see also the tests with real workers."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import (
    Jobtastic,
    JobtasticError,
    StoreError,
    cached,
    forget,
    forget_all,
    forget_tag,
    in_flight,
    release,
)
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD
from tests.support.unit_apps import elsewhere, execute, key_of, published, real, receive, use_store, work_off

DAY = 24 * 3600.0


def same(self: Task, n: Any) -> Any:
    return n


def add_task(app: Celery, body: Any = same, **options: Any) -> Task:
    defaults = {"name": "proj.task", "cache_tags": ["n:{n}"]}
    return real(app.task(body, bind=True, shared=False, **{**defaults, **options}))


def by_arguments(task: Task) -> None:
    forget(task, 1)


def by_signature(task: Task) -> None:
    forget(task.s(1))


def by_task(task: Task) -> None:
    forget_all(task)


def by_name(task: Task) -> None:
    forget_all("proj.task", app=task.app)


def by_tag(task: Task) -> None:
    forget_tag("n:1", app=task.app)


each_way = pytest.mark.parametrize("forgets", [by_arguments, by_signature, by_task, by_name, by_tag])


@each_way
def test_what_is_stored_answers_no_later_call(app, clock, forgets):
    task = add_task(app, **CACHE)
    for n in (1, 2):
        task.apply((n,))
    clock.advance(1)
    forgets(task)
    assert cached(task, 1) is None
    assert (cached(task, 2) is None) == (forgets in (by_task, by_name))
    clock.advance(1)
    task.apply((1,))
    assert cached(task, 1).value == 1


@each_way
@pytest.mark.parametrize("options", [CACHE, BOTH], ids=["cache", "both"])
def test_neither_the_caller_nor_the_worker_answers_a_later_call(app, clock, forgets, options):
    runs: list[str] = []

    def body(self, n):
        runs.append(self.request.id)
        return n

    task = add_task(app, body, **options)
    ids = []
    for task_id in (None, None, "dependent"):
        ids.append(task.apply_async((1,), task_id=task_id).id)
        work_off(app)
        clock.advance(1)
        forgets(task)
        clock.advance(1)
    assert runs == ids
    assert len(set(ids)) == 3


@each_way
def test_the_result_of_a_run_that_goes_on_answers_no_later_call(app, clock, forgets):
    def body(self, n):
        clock.advance(1)
        forgets(task)
        clock.advance(1)
        return n

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    work_off(app)
    assert first.get(timeout=1) == 1
    assert cached(task, 1) is None
    assert task.delay(1).id != first.id


@each_way
def test_the_result_of_such_a_run_answers_calls_from_before_it_began(app, clock, forgets):
    runs: list[str] = []

    def body(self, n):
        runs.append(self.request.id)
        clock.advance(1)
        forgets(task)
        clock.advance(1)
        return n

    task = add_task(app, body, **BOTH)
    first, second = task.delay(1), task.apply_async((1,), task_id="dependent")
    clock.advance(1)
    for message in published(app):
        execute(receive(app, message))
    assert runs == [first.id]
    assert second.get(timeout=1) == 1


def test_a_prefix_names_all_tasks_that_share_it(app, clock):
    tasks = [add_task(app, name=f"proj.{n}", cache_prefix="family", **CACHE) for n in (1, 2)]
    other = add_task(app, **CACHE)
    for task in (tasks[0], other):
        task.apply((1,))
    assert cached(tasks[1], 1).value == 1
    clock.advance(1)
    forget_all("family", app=app)
    assert [cached(task, 1) for task in tasks] == [None, None]
    assert cached(other, 1).value == 1


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"cache_duration": 60}, DAY + 60),
        ({"cache_duration": 60, "herd_avoidance_timeout": 3 * DAY}, 3 * DAY + 60),
        ({"cache_duration": 60, "cache_failures_for": {ValueError: 600, KeyError: None}}, DAY + 600),
        ({"cache_duration": 0}, None),
    ],
    ids=str,
)
def test_the_store_knows_it_for_as_long_as_there_can_be_a_result(app, options, seconds):
    class Noting(MemoryStore):
        def forget_scope(self, scope: str, *, ttl: float | None) -> None:
            ttls.append(ttl)
            super().forget_scope(scope, ttl=ttl)

    ttls: list[float | None] = []
    use_store(app, Noting("memory://"))
    task = add_task(app, **options)
    add_task(app, name="proj.without", cache_tags=None, **CACHE)
    forget_all(task)
    forget_tag("n:1", app=app)
    assert ttls == [seconds, seconds]


def test_a_name_or_a_tag_that_no_task_can_have_is_an_error(app, new_app):
    add_task(app, cache_tags=None, **CACHE)
    with pytest.raises(JobtasticError, match=r"no task of .* has the name or the cache_prefix 'proj.tsak'"):
        forget_all("proj.tsak", app=app)
    with pytest.raises(JobtasticError, match=r"no task of .* has the option cache_tags"):
        forget_tag("n:1", app=app)
    with pytest.raises(JobtasticError, match="the plugin is not enabled"):
        forget_tag("n:1", app=new_app(plugin=False))
    with pytest.raises(TypeError, match="a tag is a text"):
        forget_tag(5)  # type: ignore[arg-type]


def test_the_current_app_is_meant_where_none_is_given(new_app):
    app = new_app()
    add_task(app, **CACHE).apply((1,))
    app.set_current()
    try:
        forget_tag("n:1")
        forget_all("proj.task")
    finally:
        Jobtastic().uninstall(app)
        app.set_default()


@pytest.mark.parametrize("forgets", [by_arguments, by_task, by_tag, lambda task: release(task, 1)])
def test_it_is_an_error_if_the_store_does_not_answer(app, forgets):
    class Away(MemoryStore):
        def exchange(self, key, decide):
            raise OSError("away")

        def read(self, key):
            raise OSError("away")

    task = add_task(app, **CACHE)
    use_store(app, Away("memory://"))
    with pytest.raises(StoreError, match="does not answer, so nothing was dropped"):
        forgets(task)


# Release.


def test_release_frees_a_queued_claim(app):
    task = add_task(app, cache_tags=None, **HERD)
    lost = task.delay(1)
    assert release(task, 1)
    assert not release(task, 1)
    assert in_flight(task, 1) is None
    assert task.delay(1).id != lost.id


def test_release_frees_a_running_claim_and_the_run_goes_on(app, schedule):
    seen: list[Any] = []

    def body(self, n):
        seen.append(elsewhere(release, task, 1))
        seen.append(in_flight(task, 1))
        schedule.advance(10)
        seen.append(in_flight(task, 1).owner)
        return n

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    work_off(app)
    # The worker claims the key again.
    assert seen == [True, None, first.id]
    assert cached(task, 1).value == 1


def test_release_frees_the_next_claim_too(app, memory):
    task = add_task(app, cache_tags=None, **HERD)
    key = key_of(task, 1)
    memory.claim(key, "lost", "worker/1", 60)
    memory.lookup_or_claim(key, "waiting", 60, rerun=True)
    assert in_flight(task, 1).next.owner == "waiting"
    assert release(task, 1)
    assert in_flight(task, 1) is None
