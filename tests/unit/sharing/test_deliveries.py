"""Deliveries: one message can arrive twice, and only one of them runs; and who may release what."""

from __future__ import annotations

import datetime

import pytest
from celery import Task, signals, states

from jobtastic_signals.calls import DELIVERY
from tests.support.calls import BOTH, HERD, add_tasks
from tests.support.unit_apps import (
    Consumer,
    deliver,
    elsewhere,
    entry_of,
    execute,
    key_of,
    published,
    receive,
    store_of,
    work_off,
)


def token_of(request) -> str:
    return request.request_dict[DELIVERY]["token"]


# The same id, twice at once.


@pytest.mark.parametrize("received", [True, False], ids=["in a worker", "without a main process"])
@pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])
def test_a_message_that_is_delivered_twice_at_once_runs_once(app, options, received):
    runs, waits = [], []

    def arrive(message):
        return execute(receive(app, message)) if received else deliver(app, message)

    @app.task(bind=True, shared=False, **options)
    def slow(self, n):
        runs.append(self.request.id)
        if len(runs) == 1:
            waits.append(elsewhere(arrive, message))
        return n

    first = slow.delay(1)
    (message,) = published(app)
    arrive(message)
    assert runs == [first.id]
    assert waits[0].info.state == states.IGNORED
    assert first.get(timeout=1) == 1
    assert work_off(app) == [first.id], "the second delivery, which waited"
    assert runs == [first.id]
    assert first.get(timeout=1) == 1


def test_a_call_with_an_id_that_runs_gets_the_result_of_that_run_however_late_it_arrives(app, clock):
    """It was made during that run, so it would have waited for it."""
    runs = []

    @app.task(bind=True, shared=False, **HERD)
    def slow(self, n):
        runs.append(self.request.id)
        if len(runs) == 1:
            clock.advance(1)
            elsewhere(slow.apply_async, (1,), task_id="own")
        return n

    result = slow.apply_async((1,), task_id="own")
    assert work_off(app) == ["own", "own"]
    assert runs == ["own"]
    assert result.get(timeout=1) == 1


def test_a_delivery_after_the_first_ended_runs_again_without_a_cache(app):
    """As in Celery; only deliveries at once are one run."""
    runs = []

    @app.task(shared=False, **HERD)
    def quick(n):
        runs.append(n)

    quick.delay(1)
    (message,) = published(app)
    for _ in range(2):
        execute(receive(app, message))
    assert runs == [1, 1]


def test_the_main_process_names_each_delivery_after_itself(app):
    double = add_tasks(app, **HERD)
    double.delay(1)
    (message,) = published(app)
    one, two = token_of(receive(app, message)), token_of(receive(app, message))
    assert one != two
    assert one.partition("/")[0] == two.partition("/")[0] != ""


def test_a_running_claim_has_the_name_of_its_delivery(app):
    seen = []

    @app.task(shared=False, **HERD)
    def watch(n):
        seen.append(entry_of(watch, n).delivery)

    watch.delay(1)
    request = receive(app, published(app)[0])
    execute(request)
    assert seen == [token_of(request)]


def test_a_message_of_a_task_without_options_gets_no_name(app):
    add_tasks(app, **HERD)
    app.tasks["proj.total"].delay([1])
    request = receive(app, published(app)[0])
    assert DELIVERY not in request.request_dict


def test_the_name_does_not_travel_with_what_the_run_publishes(app):
    @app.task(bind=True, shared=False, **HERD)
    def stubborn(self, n):
        raise self.retry(countdown=5)

    stubborn.delay(1)
    execute(receive(app, published(app)[0]))
    (retry,) = published(app)
    assert DELIVERY not in retry.headers


# Releases by the main process.


def killed(task: Task, task_id: str) -> None:
    """Let the main process report a child that was killed: it has no request of it."""
    about = {"task_id": task_id, "exception": KeyError("x"), "args": [1], "kwargs": {}, "einfo": None}
    signals.task_failure.send(sender=task, traceback=None, **about)


def test_a_worker_releases_the_claim_of_a_child_that_was_killed(app):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    token = token_of(receive(app, published(app)[0]))
    store_of(app).claim(key_of(double, 1), first.id, token, 60)
    killed(double, first.id)
    assert entry_of(double, 1) is None


def test_a_worker_does_not_release_the_claim_of_another_worker(app):
    """Which runs another delivery of the same message."""
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    store_of(app).claim(key_of(double, 1), first.id, "another/1", 60)
    before = entry_of(double, 1)
    killed(double, first.id)
    assert entry_of(double, 1) == before


def test_a_worker_releases_the_queued_claim_of_a_message_that_failed_before_it_ran(app):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    killed(double, first.id)
    assert entry_of(double, 1) is None


# Revoked, expired, unknown.


def revoke(request, monkeypatch):
    monkeypatch.setattr("celery.worker.request.revoked_tasks", {request.id})


def let_expire(request, monkeypatch):
    request._expires = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)


ends = pytest.mark.parametrize("end", [revoke, let_expire])


@ends
def test_a_message_that_never_runs_releases_its_queued_claim(app, monkeypatch, end):
    double = add_tasks(app, **HERD)
    double.delay(1)
    request = receive(app, published(app)[0])
    end(request, monkeypatch)
    assert request.revoked()
    assert entry_of(double, 1) is None


@ends
def test_a_message_that_never_runs_leaves_the_claim_of_another_task_alone(app, monkeypatch, end):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    double.apply_async((1,), task_id="second")
    request = receive(app, published(app)[1])
    end(request, monkeypatch)
    assert request.revoked()
    assert entry_of(double, 1).owner == first.id


@ends
def test_a_second_delivery_that_never_runs_leaves_the_run_of_the_first_alone(app, monkeypatch, end):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    (message,) = published(app)
    runs, expires = receive(app, message), receive(app, message)
    store_of(app).claim(key_of(double, 1), first.id, token_of(runs), 60)
    before = entry_of(double, 1)
    end(expires, monkeypatch)
    assert expires.revoked()
    assert entry_of(double, 1) == before


def unknown(app, message):
    signals.task_unknown.send(
        sender=Consumer(app),
        message=message,
        exc=KeyError("proj.double"),
        name=message.headers["task"],
        id=message.headers["id"],
    )


def test_a_message_whose_task_is_unknown_releases_its_queued_claim(app):
    double = add_tasks(app, **HERD)
    double.delay(1)
    unknown(app, published(app)[0])
    assert entry_of(double, 1) is None


def test_a_message_whose_task_is_unknown_here_leaves_a_run_elsewhere_alone(app):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    store_of(app).claim(key_of(double, 1), first.id, "another/1", 60)
    before = entry_of(double, 1)
    unknown(app, published(app)[0])
    assert entry_of(double, 1) == before


def test_a_message_whose_task_is_unknown_leaves_the_claim_of_another_task_alone(app):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    double.apply_async((1,), task_id="second")
    unknown(app, published(app)[1])
    assert entry_of(double, 1).owner == first.id


def test_an_unknown_message_without_a_stamp_harms_nothing(app):
    app.send_task("proj.nowhere", (1,))
    unknown(app, published(app)[0])
