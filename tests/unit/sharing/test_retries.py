"""Retries: the claim stays for one that is due soon, and an intermediate value is never a result."""

from __future__ import annotations

import uuid

import pytest
from celery import states

from jobtastic_signals import Claim
from tests.support.calls import BOTH, CACHE, HERD
from tests.support.unit_apps import entry_of, execute, published, real, receive, work_off


def deliver_one(app):
    (message,) = published(app)
    return execute(receive(app, message))


def add_task(app, body, **options):
    return real(app.task(body, bind=True, name="proj.task", shared=False, **options))


def retrying(countdown, runs, **how):
    def body(self, n):
        runs.append(self.request.retries)
        if self.request.retries == 0:
            self.retry(countdown=countdown, **how)
        return ["value", n]

    return body


@pytest.mark.parametrize("countdown", [0, 5, 29])
@pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])
def test_a_retry_within_the_lease_keeps_a_queued_claim_that_callers_join(app, clock, options, countdown):
    runs = []
    task = add_task(app, retrying(countdown, runs), **options)
    first = task.delay(1)
    clock.advance(7)
    deliver_one(app)
    assert entry_of(task, 1) == Claim(first.id, clock.now + 30, since=clock.now)
    assert task.delay(1).id == first.id
    clock.advance(countdown)
    assert work_off(app) == [first.id]
    assert (runs, first.get(timeout=1)) == ([0, 1], ["value", 1])


@pytest.mark.parametrize("countdown", [40, 3600])
def test_a_later_retry_releases_the_claim_and_does_not_hold_up_callers(app, clock, countdown):
    runs = []
    task = add_task(app, retrying(countdown, runs), **HERD)
    first = task.delay(1)
    deliver_one(app)
    assert entry_of(task, 1) is None
    (retry,) = published(app)
    second = task.delay(1)
    assert second.id != first.id
    assert len(published(app)) == 1
    assert retry.headers["id"] == first.id


def test_a_claim_that_other_messages_rely_on_is_still_awaited_after_a_retry(app, clock):
    runs = []
    task = add_task(app, retrying(5, runs), **HERD)
    first = task.delay(1)
    own = task.apply_async((1,), task_id=uuid.uuid4().hex)
    head, behind = published(app)
    clock.advance(1)
    execute(receive(app, head))
    assert entry_of(task, 1).awaited
    clock.advance(1)
    assert work_off(app) == [first.id]
    execute(receive(app, behind))
    assert runs == [0, 1]
    assert own.get(timeout=1) == ["value", 1]


@pytest.mark.parametrize("countdown", [5, 3600])
def test_the_stamp_of_a_retry_says_when_the_call_was_made(app, clock, countdown):
    task = add_task(app, retrying(countdown, []), **HERD)
    task.delay(1)
    (message,) = published(app)
    clock.advance(7)
    execute(receive(app, message))
    (retry,) = published(app)
    assert retry.headers["retries"] == 1
    assert retry.headers["jobtastic"]["called"] == message.headers["jobtastic"]["called"]


def test_a_retry_that_waited_before_goes_on_to_count_from_the_call(app, clock):
    """A run that began after the call was made answers the retry, too."""
    runs = []
    task = add_task(app, retrying(3600, runs), **HERD)
    first = task.delay(1)
    clock.advance(1)
    deliver_one(app)
    (retry,) = published(app)
    second = task.apply_async((1,), retries=1, task_id=uuid.uuid4().hex)
    third = task.apply_async((1,), retries=1, task_id=uuid.uuid4().hex)
    clock.advance(1)
    assert work_off(app) == [second.id, third.id]
    execute(receive(app, retry))
    assert runs == [0, 1]
    assert first.get(timeout=1) == ["value", 1]


def test_a_retry_with_other_arguments_leaves_nothing_that_callers_of_the_first_could_join(app):
    runs = []

    def body(self, n):
        runs.append(n)
        if n == 1:
            raise self.retry(args=(2,), countdown=5)
        return n

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    deliver_one(app)
    assert entry_of(task, 1) is None
    assert task.delay(1).id != first.id


# ``retry(throw=False)``.


@pytest.mark.parametrize("countdown", [0, 5, 3600])
@pytest.mark.parametrize("options", [BOTH, CACHE], ids=["with herd avoidance", "without"])
def test_the_value_that_a_run_returns_beside_its_retry_is_no_result(app, memory, options, countdown):
    runs = []
    task = add_task(app, retrying(countdown, runs, throw=False), **options)
    first = task.delay(1)
    ended = deliver_one(app)
    assert ended.retval == ["value", 1]
    assert [entry for _, entry in memory.entries("v1:") if entry.result is not None] == []
    (retry,) = published(app)
    execute(receive(app, retry))
    assert runs == [0, 1]
    assert entry_of(task, 1).owner == first.id


@pytest.mark.parametrize("countdown", [5, 3600])
def test_its_claim_is_that_of_any_retry(app, clock, countdown):
    task = add_task(app, retrying(countdown, [], throw=False), **HERD)
    first = task.delay(1)
    deliver_one(app)
    expected = Claim(first.id, clock.now + 30, since=clock.now) if countdown == 5 else None
    assert entry_of(task, 1) == expected


def test_the_last_retry_releases_the_claim(app):
    def body(self, n):
        raise self.retry(countdown=0, exc=KeyError(n))

    task = add_task(app, body, max_retries=2, **BOTH)
    first = task.delay(1)
    assert len(work_off(app)) == 3
    assert first.state == states.FAILURE
    assert entry_of(task, 1) is None


def test_a_retry_that_cannot_be_published_releases_the_claim(app, monkeypatch):
    def body(self, n):
        with monkeypatch.context() as broken:
            broken.setattr(app.amqp, "send_task_message", lambda *_, **__: 1 / 0)
            raise self.retry(countdown=5)

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    deliver_one(app)
    assert first.state != states.SUCCESS
    assert entry_of(task, 1) is None
