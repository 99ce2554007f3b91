"""A call that was answered without the broker is run by nobody else afterwards."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded
from kombu.messaging import Producer

import jobtastic_signals
from jobtastic_signals import StoreError, delay_or_eager, delay_or_fail
from jobtastic_signals.fallback.attempt import Attempt
from jobtastic_signals.installation import installation_on
from jobtastic_signals.support import threads
from tests.support.fallbacks import DEADLINE, forks, tasks_on, timed
from tests.support.rare import rare
from tests.support.servers import redis_server, wait_until
from tests.support.sockets import silent
from tests.support.unit_apps import (
    published,
    store_of,
)
from tests.support.workers.project import close

# The message


def slips_out(monkeypatch):
    """Let the message leave, and the caller never hear of that."""
    original = Producer._publish

    def publish(self, *arguments, **options):
        original(self, *arguments, **options)
        raise ConnectionResetError("lost")

    monkeypatch.setattr(Producer, "_publish", publish)


class Received:
    """What a worker's main process makes of a message, for the receivers of the signal."""

    hostname = "celery@web1"

    def __init__(self, app, message):
        self.task = app.tasks[message.headers["task"]]
        self.id, self.name, self.request_dict = message.headers["id"], self.task.name, message.headers
        self.message, self.acknowledged, self._already_revoked = message, False, False
        signals.task_received.send(sender=None, request=self)

    def acknowledge(self):
        self.acknowledged = True


@pytest.mark.parametrize("call", [delay_or_fail, delay_or_eager])
@pytest.mark.parametrize("which", [0, 1], ids=["with options", "without"])
def test_a_message_that_slipped_out_is_dropped(new_app, redis_url, monkeypatch, call, which):
    app = new_app(broker_url=f"{redis_url}/3")
    *tasks, runs = tasks_on(app)
    slips_out(monkeypatch)
    result = call(tasks[which], 5)
    assert result.state in ("FAILURE", "SUCCESS")
    [message] = published(app)
    assert message.headers["id"] == result.id
    received = Received(app, message)
    assert (received.acknowledged, received._already_revoked) == (True, True)
    assert runs == ([5] if call is delay_or_eager else [])
    close(app)


@pytest.mark.parametrize("only_writes", [False, rare(True)])
def test_a_broker_that_hangs_with_a_kept_connection_is_answered_in_time(new_app, redis_url, only_writes):
    """Where it still answers a ping, the message is done with when it goes on."""
    app = new_app(broker_url=f"{redis_url}/7")
    _, bare, runs = tasks_on(app)
    delay_or_fail(bare, 1)
    assert len(published(app)) == 1
    with redis.Redis.from_url(redis_url) as client:
        client.client_pause(int(DEADLINE * (800 if only_writes else 1500)), all=not only_writes)
        failed = timed(delay_or_fail, bare, 2)
        client.ping()  # Answered when it goes on.
        wait_until(lambda: client.set("goes-on", 1), what="writes")
    assert failed.state == "FAILURE"
    # Nothing has left before the broker answered, so there is nothing to withdraw.
    assert (store_of(app).lookup(f"message:{failed.id}") is not None) == only_writes
    slipped = wait_until(lambda: published(app), what="the message") if only_writes else published(app)
    assert [message.headers["id"] for message in slipped] == [failed.id] * only_writes
    assert all(Received(app, message)._already_revoked for message in slipped)
    assert runs == []
    close(app)


def test_a_message_that_a_worker_has_already_is_the_answer(new_app, redis_url, monkeypatch, answers):
    app = new_app(broker_url=f"{redis_url}/3")
    _, bare, runs = tasks_on(app)
    original = Producer._publish

    def publish(self, *arguments, **options):
        original(self, *arguments, **options)
        [message] = published(app)
        assert not Received(app, message)._already_revoked
        raise ConnectionResetError("lost")

    monkeypatch.setattr(Producer, "_publish", publish)
    result = delay_or_eager(bare, 5)
    assert (result.state, runs, answers) == ("PENDING", [], [])
    close(app)


def test_where_nobody_can_be_told_a_call_fails_and_the_store_is_told_later(new_app, redis_url, monkeypatch):
    app = new_app(broker_url=f"{redis_url}/3", result_backend=f"{redis_url}/4")
    _, bare, runs = tasks_on(app)
    slips_out(monkeypatch)
    monkeypatch.setattr("jobtastic_signals.fallback.withdrawal.BETWEEN_TRIES", 0.02)
    monkeypatch.setattr("jobtastic_signals.settings.RETRY_AFTER", 0.0)
    down = threading.Event()
    down.set()
    original = jobtastic_signals.stores.memory.MemoryStore.lookup_or_claim

    def lookup_or_claim(self, *arguments, **options):
        if down.is_set():
            raise StoreError("gone")
        return original(self, *arguments, **options)

    monkeypatch.setattr("jobtastic_signals.stores.memory.MemoryStore.lookup_or_claim", lookup_or_claim)
    result = delay_or_eager(bare, 5)
    assert (result.state, runs) == ("FAILURE", [])
    [message] = published(app)
    # A worker that cannot ask the store either asks the result backend.
    assert Received(app, message)._already_revoked
    down.clear()
    wait_until(lambda: store_of(app).lookup(f"message:{result.id}") is not None, what="the withdrawal")
    assert Received(app, message)._already_revoked
    close(app)


def test_a_message_that_nobody_withdrew_runs_also_when_it_comes_again(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    delay_or_fail(bare, 1)
    bare.delay(2)
    for message in published(app):
        for _ in range(2):
            received = Received(app, message)
            assert (received.acknowledged, received._already_revoked) == (False, False)


def test_a_stamp_that_was_copied_to_another_message_is_not_believed(new_app, redis_url, monkeypatch):
    app = new_app(broker_url=f"{redis_url}/3")
    _, bare, _ = tasks_on(app)
    slips_out(monkeypatch)
    delay_or_fail(bare, 5)
    [message] = published(app)
    message.headers["id"] = "another"
    assert not Received(app, message)._already_revoked
    close(app)


def test_an_abandoned_attempt_publishes_nothing_when_the_broker_comes_back(new_app, tmp_path):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        shared, bare, _ = tasks_on(app)
        before = threading.active_count()
        timed(delay_or_fail, bare, 1)
        installation_on(app).broker.retry()
        timed(delay_or_fail, shared, 1)
    with redis_server(tmp_path, port=address.port):
        idle = threads._idle[os.getpid()]
        wait_until(lambda: len(idle) >= 2, what="the threads being free again")
        assert published(app) == []
    assert threading.active_count() <= before + 3
    close(app)


def test_a_soft_time_limit_that_strikes_meanwhile_is_the_tasks_and_nothing_is_published(
    new_app, monkeypatch, tmp_path
):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        _, bare, _ = tasks_on(app)

        def strike(self, seconds):
            raise SoftTimeLimitExceeded

        monkeypatch.setattr(Attempt, "wait", strike)
        with pytest.raises(SoftTimeLimitExceeded):
            delay_or_fail(bare, 1)
    with redis_server(tmp_path, port=address.port):
        wait_until(lambda: threads._idle[os.getpid()], what="the thread being free again")
        assert published(app) == []
    close(app)


@forks
def test_a_forked_child_has_threads_and_connections_of_its_own(new_app, redis_url):
    app = new_app(broker_url=f"{redis_url}/5")
    _, bare, _ = tasks_on(app)
    delay_or_fail(bare, 1)
    child = os.fork()
    if not child:
        os._exit(0 if delay_or_fail(bare, 2).state == "PENDING" else 1)
    assert os.waitpid(child, 0)[1] == 0
    delay_or_fail(bare, 3)
    assert sorted(message.payload[0][0] for message in published(app)) == [1, 2, 3]
    close(app)


def test_many_threads_call_at_once(new_app, redis_url):
    app = new_app(broker_url=f"{redis_url}/6")
    shared, _, _ = tasks_on(app)
    with ThreadPoolExecutor(16) as pool:
        ids = {result.id for result in pool.map(lambda n: delay_or_fail(shared, n % 40), range(200))}
    assert {message.headers["id"] for message in published(app)} >= ids
    close(app)
