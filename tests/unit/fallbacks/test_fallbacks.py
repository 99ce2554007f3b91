"""Calls are answered within the deadline while the broker is down, and by nobody else afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu.exceptions import EncodeError, OperationalError

from jobtastic_signals import (
    StoreError,
    UnkeyableError,
    async_or_eager,
    async_or_fail,
    delay_or_eager,
    delay_or_fail,
    update_progress,
)
from jobtastic_signals.fallback import FUNCTIONS, api
from jobtastic_signals.installation import installation_on
from tests.support.fallbacks import tasks_on
from tests.support.servers import wait_until
from tests.support.unit_apps import (
    entry_of,
    key_of,
    published,
    store_of,
    use_late_store,
)

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


def test_a_message_of_task_protocol_1_has_its_stamp(new_app):
    """Its id is in the body."""
    app = new_app(task_protocol=1)
    for task in tasks_on(app)[:2]:
        result = delay_or_fail(task, 1)
        [message] = published(app)
        assert message.payload["id"] == result.id
        stamp = message.headers["jobtastic"]
        assert (stamp["id"], stamp["withdrawable"]) == (result.id, 2.0)


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

    class Own(app.Task):  # type: ignore[name-defined]
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
    claim = store_of(app).claim(key_of(shared, 1), "elsewhere", "elsewhere/1", 60)
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


def test_all_functions_of_the_api_are_methods_of_tasks():
    assert list(FUNCTIONS) == api.__all__
