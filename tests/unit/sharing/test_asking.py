"""``cached`` and ``in_flight`` say what there is, and change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import Cached, InFlight, JobtasticError, UnkeyableError, cached, in_flight
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD
from tests.support.unit_apps import elsewhere, key_of, published, real, use_store, work_off


def same(self: Task, n: Any) -> Any:
    return n


def add_task(app: Celery, body: Any = same, **options: Any) -> Task:
    return real(app.task(body, bind=True, name="proj.task", shared=False, **options))


def test_cached_says_what_is_stored_and_for_how_long(app, clock):
    task = add_task(app, **CACHE)
    assert cached(task, 1) is None
    first = task.delay(1)
    work_off(app)
    clock.advance(7)
    expected = Cached(value=1, exception=None, age=7.0, owner=first.id, is_stale=False, expires_in=53.0)
    assert cached(task, n=1) == cached(task.s(1)) == expected
    clock.advance(53)
    assert cached(task, 1) is None


def test_what_is_cached_for_ever_does_not_expire(app):
    task = add_task(app, cache_duration=0)
    task.apply((1,))
    assert cached(task, 1).expires_in is None


def test_cached_has_the_exception_of_a_failure(app):
    def body(self, n):
        raise LookupError("gone")

    task = add_task(app, body, cache_failures_for={LookupError: 60}, **HERD)
    task.delay(1)
    work_off(app)
    found = cached(task, 1)
    assert (found.value, repr(found.exception), found.expires_in) == (None, "LookupError('gone')", 60.0)


def test_cached_says_that_a_result_is_stale(app, clock, memory):
    task = add_task(app, **BOTH)
    key = key_of(task, 1)
    memory.complete(key, "earlier", None, b'["application/json", "utf-8"]\n5', ttl=60, stale_for=60)
    clock.advance(61)
    found = cached(task, 1)
    assert (found.value, found.age, found.is_stale, found.expires_in) == (5, 61.0, True, 0.0)


def test_what_cannot_be_read_is_not_cached(app, memory, caplog):
    task = add_task(app, **CACHE)
    memory.complete(key_of(task, 1), "earlier", None, b"nonsense", ttl=60)
    assert cached(task, 1) is None
    assert "cannot be read" in caplog.text


def test_in_flight_shows_a_queued_message_and_who_joined_it(app, clock):
    task = add_task(app, **HERD)
    assert in_flight(task, 1) is None
    first = task.delay(1)
    for _ in range(3):
        task.delay(1)
    clock.advance(5)
    assert in_flight(task, 1) == InFlight(
        owner=first.id, is_running=False, since=5.0, worker=None, lease_left=25.0, joined=3
    )


def test_in_flight_shows_a_run_and_what_is_next(app, clock, memory):
    task = add_task(app, **HERD)
    key = key_of(task, 1)
    memory.claim(key, "running", "celery@web1~5f0c/5a1b", 60)
    clock.advance(5)
    memory.lookup_or_claim(key, "waiting", 60, rerun=True)
    clock.advance(1)
    following = InFlight("waiting", is_running=False, since=1.0, worker=None, lease_left=59.0, joined=0)
    assert in_flight(task, 1) == InFlight(
        "running", is_running=True, since=6.0, worker="celery@web1", lease_left=54.0, joined=1, next=following
    )


def test_a_run_that_its_caller_makes_is_on_no_worker(app):
    seen: list[Any] = []

    def body(self, n):
        seen.append(elsewhere(in_flight, task, 1))

    task = add_task(app, body, **HERD)
    task.delay(1)
    work_off(app)
    assert [(each.is_running, each.worker) for each in seen] == [(True, None)]


def test_asking_publishes_nothing_and_changes_nothing(app, memory):
    task = add_task(app, **BOTH)
    task.delay(1)
    before = list(memory.entries())
    cached(task, 1), in_flight(task, 1), cached(task, 2), in_flight(task, 2)
    assert list(memory.entries()) == before
    assert len(published(app)) == 1


def test_without_the_store_there_is_nothing(app):
    class Away(MemoryStore):
        def read(self, key):
            raise OSError("away")

    task = add_task(app, **BOTH)
    use_store(app, Away("memory://"))
    assert cached(task, 1) is None
    assert in_flight(task, 1) is None


@pytest.mark.parametrize("ask", [cached, in_flight])
def test_a_call_that_cannot_be_made_is_an_error(app, new_app, ask):
    task = add_task(app, **BOTH)
    with pytest.raises(TypeError):
        ask(task, 1, 2)
    with pytest.raises(TypeError, match="is the name of a task"):
        ask("proj.task", 1)
    with pytest.raises(UnkeyableError):
        ask(task, object())
    with pytest.raises(JobtasticError, match="shares nothing"):
        ask(add_task(new_app()), 1)
