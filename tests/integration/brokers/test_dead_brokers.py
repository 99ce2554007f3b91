"""Calls are answered within the deadline while the broker is down."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from celery import Celery
from celery.result import AsyncResult, EagerResult
from kombu.exceptions import OperationalError

from jobtastic_signals import (
    BrokerUnavailableError,
    async_or_fail,
    delay_or_eager,
    delay_or_fail,
    task_status,
)
from jobtastic_signals.installation import installation_on
from tests.support.fallbacks import store_payload, tasks_on, timed
from tests.support.rare import mainly
from tests.support.servers import redis_server
from tests.support.sockets import DEAD, refusing, silent
from tests.support.unit_apps import (
    entry_of,
    key_of,
    published,
    store_of,
)
from tests.support.workers.project import close

# Within the deadline


@pytest.mark.parametrize(
    ("how", "protocol", "which"),
    mainly(
        *(("refused", *which) for which in (("redis", "alive"), ("redis", "dead"), ("amqp", "same"))),
        ("silent", "redis", "alive"),
        ("never accepts", "amqp", "alive"),
        of=[
            (how, protocol, which)
            for how in DEAD
            for protocol in ("redis", "amqp")
            for which in ("alive", "dead", "same")
            # Where nobody answers, each waits for most of the deadline.
            if how == "refused" or protocol == "redis" or which == "alive"
        ],
    ),
)
def test_a_dead_broker_is_answered_in_time_and_all_see_how(new_app, redis_url, how, protocol, which):
    with DEAD[how]() as address, refusing() as nobody:
        broker = f"{protocol}://127.0.0.1:{address.port}/"
        dead = f"redis://127.0.0.1:{(address if which == 'same' else nobody).port}/1"
        backend = f"{redis_url}/1" if which == "alive" else dead
        cases = [(name, call) for name in ("shared", "bare") for call in (delay_or_fail, delay_or_eager)]
        # Each app finds out for itself.
        conf = {"broker_url": broker, "result_backend": backend, "jobtastic_broker_deadline": 5}
        apps = [new_app(**conf) for _ in cases]
        with ThreadPoolExecutor(len(cases)) as pool:
            list(pool.map(partial(assert_answered, backend=which), apps, *zip(*cases, strict=True)))


def assert_answered(app, name, call, backend):
    *tasks, runs = tasks_on(app)
    [task] = [task for task in tasks if task.name == name]
    result = timed(call, task, 21)
    if call is delay_or_fail:
        assert (result.state, result.ready(), result.failed()) == ("FAILURE", True, True)
        assert isinstance(result.result, OperationalError)
        with pytest.raises(OperationalError):
            result.get(timeout=1)
        assert runs == []
    else:
        assert isinstance(result, EagerResult)
        assert (result.state, result.get()) == ("SUCCESS", 42)
        assert runs == [21]
    assert_seen(app, result.id, result.state, backend)
    close(app)


def assert_seen(app, task_id, state, backend):
    """By those who know nothing but the id: of Celery itself where its result backend lives."""
    if backend == "alive":
        poller = Celery("poller", backend=app.conf.result_backend, set_as_current=False)
        assert poller.AsyncResult(task_id).state == state
        close(poller)
    elif os.environ.get("PYTEST_XDIST_WORKER") is None or backend == "dead":
        # Reading a backend that is silent takes as long as Celery takes for it.
        status = task_status(app, task_id)["task"]
        assert status["status"] == state
        if state == "FAILURE":
            assert "Error" in status["exc"]


def test_the_failure_is_the_true_error(new_app, down):
    app = new_app(broker_url=down)
    shared, _, _ = tasks_on(app)
    result = shared.delay_or_fail(1)
    assert type(result.result) is OperationalError
    assert "Connection refused" in str(result.result)
    assert AsyncResult(result.id, app=app).result.args == result.result.args
    assert "Connection refused" in result.traceback


def test_no_answer_in_time_says_so_without_the_password(new_app):
    with silent() as address:
        app = new_app(broker_url=f"redis://:s3cret@127.0.0.1:{address.port}/0")
        _, bare, _ = tasks_on(app)
        error = timed(delay_or_fail, bare, 1).result
    assert isinstance(error, BrokerUnavailableError)
    assert f"127.0.0.1:{address.port}" in str(error)
    assert "did not answer within 1.2 s" in str(error)
    assert "s3cret" not in str(error)


def test_celerys_own_retry_settings_change_nothing(new_app, down):
    app = new_app(
        broker_url=down,
        task_publish_retry_policy={"max_retries": None, "interval_start": 5, "interval_max": 50},
        broker_transport_options={"max_retries": 1000, "interval_start": 5},
    )
    _, bare, _ = tasks_on(app)
    assert timed(async_or_fail, bare, (1,), retry=True, retry_policy={"max_retries": 9}).state == "FAILURE"


def test_after_a_failure_further_calls_do_not_try_the_broker_for_a_while(new_app, caplog):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        shared, bare, runs = tasks_on(app)
        first = timed(delay_or_fail, bare, 1)
        tried = address.count()
        assert tried > 0
        results = [
            timed(call, task, 1) for task in (bare, shared) for call in (delay_or_fail, delay_or_eager)
        ]
        assert address.count() == tried
        assert [result.state for result in results] == ["FAILURE", "SUCCESS"] * 2
        assert results[0].result is first.result
        assert runs == [1, 1]
        installation_on(app).broker.retry()
        timed(delay_or_fail, bare, 1)
        assert address.count() > tried
    told = [record for record in caplog.records if "cannot be reached" in record.getMessage()]
    assert len(told) == 1


def test_a_broker_that_was_killed_and_started_again_is_used_again(new_app, tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with redis_server(tmp_path / "one") as url:
        app = new_app(broker_url=f"{url}/0")
        _, bare, _ = tasks_on(app)
        assert timed(delay_or_fail, bare, 1).state == "PENDING"
    assert timed(delay_or_fail, bare, 2).state == "FAILURE"
    assert timed(delay_or_fail, bare, 3).state == "FAILURE"
    with redis_server(tmp_path / "two", port=int(url.rpartition(":")[2])):
        installation_on(app).broker.retry()
        assert timed(delay_or_fail, bare, 4).state == "PENDING"
        assert timed(delay_or_fail, bare, 5).state == "PENDING"
        assert [message.payload[0] for message in published(app)] == [[4], [5]]
    assert "works again" in caplog.text
    close(app)


def test_a_kept_connection_that_died_is_no_dead_broker(new_app, tmp_path):
    """Started again between two calls."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with redis_server(tmp_path / "one") as url:
        app = new_app(broker_url=f"{url}/0")
        _, bare, _ = tasks_on(app)
        delay_or_fail(bare, 1)
    with redis_server(tmp_path / "two", port=int(url.rpartition(":")[2])):
        assert delay_or_fail(bare, 2).state == "PENDING"
        assert [message.payload[0] for message in published(app)] == [[2]]
    close(app)


@pytest.mark.parametrize("how", DEAD)
def test_a_dead_result_backend_does_not_keep_a_call_from_being_published(new_app, redis_url, how, answers):
    with DEAD[how]() as address:
        app = new_app(
            broker_url=f"{redis_url}/2",
            result_backend=f"redis://127.0.0.1:{address.port}/0",
        )
        shared, bare, _ = tasks_on(app)
        for task in (bare, shared, shared):
            timed(delay_or_fail, task, 1)
        assert len(published(app)) == 2
        assert answers == []
        close(app)


def test_a_cached_result_needs_neither_broker_nor_result_backend(new_app, redis_url):
    with silent() as broker, silent() as backend:
        app = new_app(
            broker_url=f"redis://127.0.0.1:{broker.port}/0",
            result_backend=f"redis://127.0.0.1:{backend.port}/0",
        )
        shared, _, _ = tasks_on(app)
        store_of(app).complete(key_of(shared, 1), "owner", None, store_payload(app, 42), ttl=None)
        for _ in range(2):
            result = timed(delay_or_fail, shared, 1)
            assert (result.id, result.get()) == ("owner", 42)
        close(app)


def test_a_call_that_hangs_leaves_no_claim(new_app):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        shared, _, _ = tasks_on(app)
        timed(delay_or_fail, shared, 1)
        assert entry_of(shared, 1) is None
