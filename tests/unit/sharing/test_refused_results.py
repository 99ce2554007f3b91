"""Results that ``cache_when`` or ``cache_max_bytes`` refuses answer earlier calls, and no later ones."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import cached, events
from tests.support.calls import BOTH, CACHE
from tests.support.unit_apps import execute, published, real, receive, work_off

SMALL, LARGE = "x" * 10, "x" * 1000

REFUSING: dict[str, dict[str, Any]] = {
    "cache_when": {"cache_when": lambda text: len(text) < 100},
    "cache_max_bytes": {"cache_max_bytes": 100},
}

each_way = pytest.mark.parametrize("refusing", REFUSING.values(), ids=REFUSING)


def add_task(app: Celery, **options: Any) -> tuple[Task, list[str]]:
    runs: list[str] = []

    def body(self, text):
        runs.append(self.request.id)
        return text

    return real(app.task(body, bind=True, name="proj.task", shared=False, **options)), runs


@each_way
@pytest.mark.parametrize("options", [CACHE, BOTH], ids=["cache", "both"])
def test_a_result_that_is_refused_answers_no_later_call(app, refusing, options):
    task, runs = add_task(app, **options, **refusing)
    for text in (SMALL, LARGE):
        for _ in range(2):
            task.delay(text)
            work_off(app)
    assert len(runs) == 3
    assert cached(task, SMALL).value == SMALL
    assert cached(task, LARGE) is None


@each_way
def test_a_result_that_is_refused_answers_a_call_that_was_made_before_the_run(app, clock, refusing):
    task, runs = add_task(app, **BOTH, **refusing)
    first = task.delay(LARGE)
    second = task.apply_async((LARGE,), task_id=uuid.uuid4().hex)
    one, other = published(app)
    clock.advance(1)
    execute(receive(app, one))
    clock.advance(600)
    execute(receive(app, other))
    assert runs == [first.id]
    assert second.get(timeout=1) == LARGE
    assert task.delay(LARGE).id not in (first.id, second.id)


@each_way
def test_the_claim_of_a_run_whose_result_is_refused_is_released(app, memory, refusing):
    stored: list[object] = []
    task, _ = add_task(app, **BOTH, **refusing)
    with events.result_stored.connected_to(lambda task, **info: stored.append(info)):
        task.delay(LARGE)
        work_off(app)
    assert list(memory.entries()) == []
    assert stored == []


@each_way
@pytest.mark.parametrize("stale_for", [0, 60])
def test_a_result_that_is_refused_never_replaces_one_that_others_still_get(app, clock, refusing, stale_for):
    texts = iter([SMALL, LARGE, LARGE])

    def body():
        return next(texts)

    options = {"cache_duration": 60, "herd_avoidance_timeout": 60, "cache_stale_for": stale_for}
    task = real(app.task(body, name="proj.task", shared=False, **options, **refusing))
    task.apply()
    clock.advance(61 if stale_for else 1)
    own = [task.apply_async(task_id=uuid.uuid4().hex, refresh=True) for _ in range(2)]
    work_off(app)
    assert [result.get(timeout=1) for result in own] == [LARGE, LARGE]
    assert cached(task).value == SMALL


def test_the_limit_is_the_size_that_the_serializer_writes(app):
    body = b'["application/json", "utf-8"]\n"%s"' % SMALL.encode()
    for limit, is_kept in ((len(body), True), (len(body) - 1, False)):
        task, _ = add_task(app, cache_max_bytes=limit, cache_prefix=str(limit), **CACHE)
        task.apply((SMALL,))
        assert (cached(task, SMALL) is not None) == is_kept
        app.tasks.unregister(task.name)


def test_an_error_of_cache_when_is_logged_and_costs_only_the_caching(app, caplog):
    def fail(text):
        raise ValueError("no idea")

    task, runs = add_task(app, cache_when=fail, **CACHE)
    with caplog.at_level(logging.ERROR):
        assert [task.apply((SMALL,)).get() for _ in range(2)] == [SMALL, SMALL]
    assert len(runs) == 2
    assert "the cache_when of proj.task failed" in caplog.text
    assert "no idea" in caplog.text
