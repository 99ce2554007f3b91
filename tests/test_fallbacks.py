"""Calls are answered within the deadline while the broker is down, and by nobody else afterwards."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
import redis
from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult, EagerResult
from kombu.exceptions import EncodeError, OperationalError

import jobtastic_signals
from jobtastic_signals import (
    BrokerUnavailableError,
    Jobtastic,
    JobtasticError,
    StoreError,
    UnkeyableError,
    async_or_eager,
    async_or_fail,
    delay_or_eager,
    delay_or_fail,
    events,
    task_status,
    update_progress,
)
from jobtastic_signals.fallback import attempt as publishing
from jobtastic_signals.registry import installation_on
from jobtastic_signals.support import threads

from . import unit_apps
from .sockets import DEAD, refusing, silent
from .unit_apps import deliver, entry_of, key_of, published, real, store_of, use_late_store, work_off
from .workers.project import close
from .workers.servers import redis_server, wait_until

new_app = unit_apps.new_app

#: The setting's default.
DEADLINE = 2.0

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def down():
    """The URL of a broker that refuses connections."""
    with refusing() as address:
        yield f"redis://127.0.0.1:{address.port}/0"


@pytest.fixture
def answers():
    """How calls were answered without the broker: the task's name, the id, and in which way."""
    seen = []

    def remember(task, task_id, answer, **info):
        seen.append((task.name, task_id, answer))

    with events.broker_unavailable.connected_to(remember):
        yield seen


def tasks_on(app: Celery):
    """A task with options, and one without."""
    runs = []

    @app.task(name="shared", herd_avoidance_timeout=60, cache_duration=600)
    def shared(n):
        runs.append(n)
        return n * 2

    @app.task(name="bare")
    def bare(n):
        runs.append(n)
        return n * 2

    return shared, bare, runs


def timed(call, *arguments, **options):
    """What *call* returns, if it does so within the deadline, on a machine that lets nobody wait."""
    start = time.monotonic()
    with lateness() as late:
        result = call(*arguments, **options)
        took = time.monotonic() - start
        assert took - late() <= DEADLINE
    return result


@contextmanager
def lateness():
    """Gives a function: for how many seconds the machine kept a thread waiting that wanted little of it."""
    late, over = [0.0], threading.Event()

    def look():
        before = time.monotonic()
        while not over.wait(0.01):
            now = time.monotonic()
            late[0] += max(now - before - 0.02, 0.0)
            before = now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: late[0]
    finally:
        over.set()
        thread.join()


# Within the deadline


@pytest.mark.parametrize("which", ["alive", "dead", "same"])
@pytest.mark.parametrize("protocol", ["redis", "amqp"])
@pytest.mark.parametrize("how", DEAD)
def test_a_dead_broker_is_answered_in_time_and_all_see_how(new_app, redis_url, how, protocol, which):
    with DEAD[how]() as address, refusing() as nobody:
        broker = f"{protocol}://127.0.0.1:{address.port}/"
        dead = f"redis://127.0.0.1:{(address if which == 'same' else nobody).port}/1"
        backend = f"{redis_url}/1" if which == "alive" else dead
        cases = [(name, call) for name in ("shared", "bare") for call in (delay_or_fail, delay_or_eager)]
        # Each app finds out for itself.
        apps = [new_app(broker_url=broker, result_backend=backend) for _ in cases]
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
        app = new_app(broker_url=f"redis://:secret@127.0.0.1:{address.port}/0")
        _, bare, _ = tasks_on(app)
        error = timed(delay_or_fail, bare, 1).result
    assert isinstance(error, BrokerUnavailableError)
    assert f"127.0.0.1:{address.port}" in str(error)
    assert "has not answered in 1.2 s" in str(error)
    assert "secret" not in str(error)


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
        tried = len(address.accepted)
        assert tried > 0
        results = [
            timed(call, task, 1) for task in (bare, shared) for call in (delay_or_fail, delay_or_eager)
        ]
        assert len(address.accepted) == tried
        assert [result.state for result in results] == ["FAILURE", "SUCCESS"] * 2
        assert results[0].result is first.result
        assert runs == [1, 1]
        installation_on(app).broker.retry()
        timed(delay_or_fail, bare, 1)
        assert len(address.accepted) > tried
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


# What is no failure of the broker


def test_a_living_broker_gets_the_message_as_from_delay(new_app):
    app = new_app()
    for task in tasks_on(app)[:2]:
        later = async_or_eager(task, (2,), {}, countdown=5, priority=3)
        made = [later, delay_or_fail(task, 1), task.delay(3)]
        messages = published(app)
        assert [message.headers["id"] for message in messages] == [result.id for result in made]
        assert messages[0].headers["eta"]
        assert messages[0].properties["priority"] == 3
        theirs = {"id", "root_id", "argsrepr", "jobtastic"}
        one, plain = (
            {k: v for k, v in message.headers.items() if k not in theirs} for message in messages[1:]
        )
        assert one == plain


@pytest.mark.parametrize("ignored", [True, False])
def test_whether_the_result_is_wanted_is_told_as_ever(new_app, ignored):
    app = new_app()
    for task in tasks_on(app)[:2]:
        result = async_or_fail(task, (1,), ignore_result=ignored)
        assert result.ignored is ignored
        [message] = published(app)
        assert message.headers["ignore_result"] is ignored


@pytest.mark.parametrize("call", [delay_or_fail, delay_or_eager])
def test_errors_of_the_program_are_raised(new_app, call, answers):
    shared, bare, runs = tasks_on(new_app())
    with pytest.raises(EncodeError):
        call(bare, object())
    with pytest.raises(TypeError, match="missing"):
        call(bare)
    with pytest.raises(UnkeyableError):
        call(shared, object())
    assert answers == runs == []


def test_an_error_of_the_program_tells_nothing_of_the_broker(new_app, down):
    app = new_app(broker_url=down)
    _, bare, _ = tasks_on(app)
    delay_or_fail(bare, 1)
    broker = installation_on(app).broker
    broker.retry()
    with pytest.raises(EncodeError):
        delay_or_fail(bare, object())
    assert broker.lets_through()


@pytest.mark.parametrize("error", [OSError("mine"), OperationalError("mine"), ValueError("mine")])
def test_an_error_of_the_tasks_own_apply_async_is_raised(new_app, error, answers):
    app = new_app()

    class Own(app.Task):
        def apply_async(self, *args, **kwargs):
            raise error

    @app.task(base=Own, herd_avoidance_timeout=60)
    def own(): ...

    if isinstance(error, OperationalError):
        # Raised on the way to the broker, it cannot be told from the broker's.
        assert own.delay_or_fail().state == "FAILURE"
    else:
        with pytest.raises(type(error), match="mine"):
            own.delay_or_fail()
        assert answers == []


def test_a_queue_that_was_declared_otherwise_is_raised(new_app):
    """Only a server can tell that; see the tests with workers."""
    app = new_app(task_queues={}, task_create_missing_queues=False)
    _, bare, _ = tasks_on(app)
    with pytest.raises(Exception, match="missing"):
        async_or_fail(bare, (1,), queue="missing")


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
        store_of(app).settle(key_of(shared, 1), "owner", store_payload(app, 42), None)
        for _ in range(2):
            result = timed(delay_or_fail, shared, 1)
            assert (result.id, result.get()) == ("owner", 42)
        close(app)


def store_payload(app, value):
    from jobtastic_signals.results.backend import dumps

    return dumps(app, value)


def test_a_dead_store_does_not_keep_a_call_from_being_published(new_app, monkeypatch, answers):
    app = new_app()
    shared, _, _ = tasks_on(app)

    def fail(*arguments, **options):
        raise StoreError("gone")

    monkeypatch.setattr("jobtastic_signals.stores.memory.MemoryStore.lookup", fail)
    result = delay_or_fail(shared, 1)
    assert [message.headers["id"] for message in published(app)] == [result.id]
    assert answers == []


# Failing


def test_a_failed_call_leaves_no_claim_and_the_next_one_is_published(new_app, down):
    app = new_app(broker_url=down)
    shared, _, _ = tasks_on(app)
    delay_or_fail(shared, 1)
    assert entry_of(shared, 1) is None


def test_a_claim_that_the_store_grants_too_late_is_of_the_call_that_failed(new_app, down):
    app = new_app(broker_url=down)
    shared, bare, _ = tasks_on(app)
    store = use_late_store(app)
    delay_or_fail(bare, 1)  # The broker is known to be down, so no message is made.
    result = delay_or_fail(shared, 1)
    assert store.lookup(key_of(shared, 1)).owner == result.id
    # So the next caller sees that its owner has ended.
    assert app.backend.get_state(result.id) == "FAILURE"


def test_a_call_that_hangs_leaves_no_claim(new_app):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        shared, _, _ = tasks_on(app)
        timed(delay_or_fail, shared, 1)
        assert entry_of(shared, 1) is None


def test_the_id_that_a_user_chose_stays(new_app, down, answers):
    app = new_app(broker_url=down)
    shared, bare, _ = tasks_on(app)
    chosen = [
        async_or_fail(bare, (1,), task_id="one"),
        async_or_fail(bare, (1,), task_id="two"),
        async_or_eager(shared, (1,), task_id="three"),
    ]
    assert [result.id for result in chosen] == ["one", "two", "three"]
    assert answers == [("bare", "one", "failed"), ("bare", "two", "failed"), ("shared", "three", "eager")]
    assert app.AsyncResult("one").state == app.AsyncResult("two").state == "FAILURE"


def test_nothing_is_kept_for_those_who_want_no_result(new_app, down):
    app = new_app(broker_url=down)
    _, bare, _ = tasks_on(app)
    failed = async_or_fail(bare, (1,), ignore_result=True)
    eager = async_or_eager(bare, (1,), ignore_result=True)
    assert [failed.state, eager.state] == ["FAILURE", "SUCCESS"]
    assert app.AsyncResult(failed.id).state == app.AsyncResult(eager.id).state == "PENDING"


def test_without_a_result_backend_the_caller_is_told_all_the_same(new_app, down):
    app = new_app(broker_url=down, result_backend="disabled://")
    _, bare, _ = tasks_on(app)
    assert delay_or_fail(bare, 1).state == "FAILURE"
    assert delay_or_eager(bare, 1).get() == 2


# Running here


def test_eager_runs_are_cached_as_any(new_app, down, answers):
    app = new_app(broker_url=down)
    shared, _, runs = tasks_on(app)
    first, second = delay_or_eager(shared, 4), delay_or_eager(shared, n=4)
    assert (first.id, first.get(), second.get()) == (second.id, 8, 8)
    assert runs == [4]
    assert [answer for _, _, answer in answers] == ["eager"]
    assert app.AsyncResult(first.id).state == "SUCCESS"


def test_eager_runs_avoid_herds_as_any(new_app, down):
    """The others join the one that runs, and get its result by its id."""
    app = new_app(broker_url=down, result_cache_max=-1)
    running, go_on, runs = threading.Event(), threading.Event(), []

    @app.task(herd_avoidance_timeout=60)
    def slow(n):
        runs.append(n)
        running.set()
        assert go_on.wait(20)
        return n * 2

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(delay_or_eager, slow, 1)
        assert running.wait(20)
        try:
            others = [delay_or_eager(slow, 1), delay_or_fail(slow, 1)]
            assert [other.state for other in others] == ["PENDING"] * 2
        finally:
            go_on.set()
        assert {other.id for other in others} == {first.result().id}
    wait_until(lambda: all(other.state == "SUCCESS" for other in others), what="the result")
    assert [other.result for other in others] == [2, 2]
    assert runs == [1]
    assert entry_of(slow, 1) is None


def test_an_eager_run_does_not_wait_for_one_elsewhere(new_app, down, caplog):
    app = new_app(broker_url=down)
    shared, _, runs = tasks_on(app)
    claim = store_of(app).admit(key_of(shared, 1), "elsewhere", 60)
    assert async_or_eager(shared, (1,), task_id="here").get() == 2
    assert runs == [1]
    assert "sent again" not in caplog.text
    assert entry_of(shared, 1).owner == claim.owner


def test_a_failure_of_an_eager_run_is_a_failure_and_no_progress(new_app, down):
    app = new_app(broker_url=down, task_eager_propagates=True)

    @app.task(herd_avoidance_timeout=60)
    def fails(n):
        update_progress(1, 2)
        raise ValueError("wrong")

    result = fails.delay_or_eager(1)
    assert (result.state, repr(result.result)) == ("FAILURE", "ValueError('wrong')")
    seen = app.AsyncResult(result.id)
    assert (seen.state, repr(seen.result)) == ("FAILURE", "ValueError('wrong')")
    assert "ValueError" in seen.traceback
    assert entry_of(fails, 1) is None


def test_a_result_that_cannot_be_serialised_is_a_failure_for_those_who_look_it_up(new_app, down):
    app = new_app(broker_url=down)

    @app.task
    def odd():
        return object()

    result = delay_or_eager(odd)
    assert isinstance(result.get(), object)
    assert app.AsyncResult(result.id).state == "FAILURE"


def test_a_retry_in_an_eager_run_keeps_its_id(new_app, down):
    app = new_app(broker_url=down)
    runs = []

    @app.task(bind=True, herd_avoidance_timeout=60, max_retries=3)
    def stubborn(self):
        runs.append(self.request.id)
        if len(runs) < 3:
            raise self.retry(countdown=0)
        return len(runs)

    result = stubborn.delay_or_eager()
    assert (result.get(), app.AsyncResult(result.id).result) == (3, 3)
    assert runs == [result.id] * 3
    assert entry_of(stubborn) is None


def test_an_eager_run_is_no_eager_mode_for_what_it_calls(new_app, down):
    app = new_app(broker_url=down)
    _, bare, runs = tasks_on(app)

    @app.task
    def outer():
        return delay_or_fail(bare, 1).state

    assert delay_or_eager(outer).get() == "FAILURE"
    assert runs == []


# The message


def slips_out(monkeypatch):
    """Let the message leave, and the caller never hear of that."""
    original = publishing.Producer._publish

    def publish(self, *arguments, **options):
        original(self, *arguments, **options)
        raise ConnectionResetError("lost")

    monkeypatch.setattr(publishing.Producer, "_publish", publish)


class Received:
    """What a worker's main process makes of a message, for the receivers of the signal."""

    def __init__(self, app, message):
        self.task = app.tasks[message.headers["task"]]
        self.id, self.name, self.request_dict = message.headers["id"], self.task.name, message.headers
        self.acknowledged, self._already_revoked = False, False
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


@pytest.mark.parametrize("only_writes", [False, True])
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
    original = publishing.Producer._publish

    def publish(self, *arguments, **options):
        original(self, *arguments, **options)
        [message] = published(app)
        assert not Received(app, message)._already_revoked
        raise ConnectionResetError("lost")

    monkeypatch.setattr(publishing.Producer, "_publish", publish)
    result = delay_or_eager(bare, 5)
    assert (result.state, runs, answers) == ("PENDING", [], [])
    close(app)


def test_where_nobody_can_be_told_a_call_fails_and_the_store_is_told_later(new_app, redis_url, monkeypatch):
    app = new_app(broker_url=f"{redis_url}/3", result_backend=f"{redis_url}/4")
    _, bare, runs = tasks_on(app)
    slips_out(monkeypatch)
    monkeypatch.setattr("jobtastic_signals.withdrawals.BETWEEN_TRIES", 0.02)
    monkeypatch.setattr("jobtastic_signals.breaker.RETRY_AFTER", 0.0)
    down = threading.Event()
    down.set()
    original = jobtastic_signals.stores.memory.MemoryStore.admit

    def admit(self, *arguments, **options):
        if down.is_set():
            raise StoreError("gone")
        return original(self, *arguments, **options)

    monkeypatch.setattr("jobtastic_signals.stores.memory.MemoryStore.admit", admit)
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


# As part of what goes on


def test_it_publishes_as_part_of_the_context_and_of_the_run(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    colour = contextvars.ContextVar("colour", default=None)
    seen = []

    @app.task(bind=True)
    def outer(self):
        colour.set("red")
        return delay_or_fail(bare, 1).id

    def note(sender, headers, properties, **_):
        if sender == "bare":
            seen.append((colour.get(), headers["parent_id"], headers["root_id"], properties.get("priority")))

    def sent(sender, **_):
        seen.append(sender)

    app.conf.task_inherit_parent_priority = True
    signals.before_task_publish.connect(note)
    outer.apply_async(task_id="outer", priority=7)
    signals.after_task_publish.connect(sent)
    try:
        [message] = published(app)
        message.headers.setdefault("root_id", "outer")
        deliver(app, message, delivery_info={"priority": 7, "exchange": "", "routing_key": "x"})
    finally:
        signals.before_task_publish.disconnect(note)
        signals.after_task_publish.disconnect(sent)
    assert seen == [("red", "outer", "outer", 7), "bare"]
    [child] = app.AsyncResult("outer").children
    assert child.id == app.AsyncResult("outer").result


def test_a_task_that_calls_itself_does_not_wait_for_itself(new_app):
    app = new_app()
    runs = []

    @app.task(name="again", herd_avoidance_timeout=60)
    def again(n):
        runs.append(n)
        if len(runs) < 3:
            again.delay_or_fail(n)

    again.delay(1)
    work_off(app)
    assert len(runs) == 3


def test_in_eager_mode_tasks_run_as_ever(new_app, down, answers):
    app = new_app(broker_url=down, task_always_eager=True)
    _, bare, _ = tasks_on(app)
    for call in (delay_or_fail, delay_or_eager):
        assert call(bare, 2).get() == 4
    assert answers == []


def test_a_soft_time_limit_that_strikes_meanwhile_is_the_tasks_and_nothing_is_published(
    new_app, monkeypatch, tmp_path
):
    with silent() as address:
        app = new_app(broker_url=f"redis://127.0.0.1:{address.port}/0")
        _, bare, _ = tasks_on(app)

        def strike(self, within):
            raise SoftTimeLimitExceeded

        monkeypatch.setattr(publishing.Attempt, "is_done", strike)
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


def test_threads_that_nobody_needs_end(new_app, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.05)
    monkeypatch.setattr(threads, "_idle", {})
    app = new_app()
    _, bare, _ = tasks_on(app)
    for n in range(20):
        assert delay_or_fail(bare, n).state == "PENDING"
        time.sleep(0.05 if n % 4 == 0 else 0)  # Some of them just as the thread ends.
    wait_until(
        lambda: (
            not any(each.name == "jobtastic-call" for each in threading.enumerate())
            or not threads._idle[os.getpid()]
        ),
        what="the end of the threads",
    )
    assert len(published(app)) == 20


def test_many_threads_call_at_once(new_app, redis_url):
    app = new_app(broker_url=f"{redis_url}/6")
    shared, _, _ = tasks_on(app)
    with ThreadPoolExecutor(16) as pool:
        ids = {result.id for result in pool.map(lambda n: delay_or_fail(shared, n % 40), range(200))}
    assert {message.headers["id"] for message in published(app)} >= ids
    close(app)


# Where the functions are


def test_they_are_methods_of_tasks_with_options(new_app):
    app = new_app()
    shared, bare, _ = tasks_on(app)
    for name in ("delay_or_eager", "delay_or_fail", "async_or_eager", "async_or_fail"):
        assert hasattr(real(shared), name)
        assert not hasattr(real(bare), name)
    Jobtastic().uninstall(app)
    assert not hasattr(real(shared), "delay_or_fail")


def test_a_method_of_the_tasks_own_stays(new_app):
    app = new_app()

    class Own(app.Task):
        def delay_or_fail(self):
            return "mine"

    @app.task(base=Own, herd_avoidance_timeout=60)
    def own(): ...

    assert own.delay_or_fail() == "mine"
    Jobtastic().uninstall(app)
    assert own.delay_or_fail() == "mine"


def test_an_argument_may_have_any_name(new_app):
    app = new_app()

    @app.task(herd_avoidance_timeout=60)
    def named(task, eagerly=False): ...

    named.delay_or_fail(task=1, eagerly=True)
    delay_or_fail(named, task=2)
    assert [message.payload[1] for message in published(app)] == [{"task": 1, "eagerly": True}, {"task": 2}]


def test_an_app_without_the_plugin_is_refused(new_app):
    app = new_app(plugin=False)
    _, bare, _ = tasks_on(app)
    with pytest.raises(JobtasticError, match=r"switch it on with Jobtastic\(app\)"):
        delay_or_fail(bare, 1)


@pytest.mark.parametrize("name", ["producer", "connection"])
def test_a_connection_of_the_callers_is_refused(new_app, name):
    _, bare, _ = tasks_on(new_app())
    with pytest.raises(TypeError, match=name):
        async_or_fail(bare, (1,), **{name: object()})


@pytest.mark.parametrize("deadline", [0, -1, "2", True, float("inf")])
def test_a_wrong_deadline_is_refused(new_app, deadline):
    _, bare, _ = tasks_on(new_app(jobtastic_broker_deadline=deadline))
    with pytest.raises(jobtastic_signals.SettingError, match="a number of seconds above 0"):
        delay_or_fail(bare, 1)
