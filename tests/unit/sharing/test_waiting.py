"""Waiting: when a delivery is sent again, for how long, and when it runs instead."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from celery import signals, states
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.utils.limits import TokenBucket

from jobtastic_signals import Claim, events
from jobtastic_signals.progress.history import History
from jobtastic_signals.sharing import waiting
from jobtastic_signals.sharing.waiting import seconds_left, seconds_to_wait
from tests.support.calls import BOTH, HERD
from tests.support.unit_apps import (
    Consumer,
    entry_of,
    execute,
    installed_on,
    key_of,
    published,
    real,
    receive,
    store_of,
    work_off,
)

#: What another delivery stores as its result, "theirs".
PAYLOAD = b'["application/json", "utf-8"]\n"theirs"'

# For how long.


@pytest.mark.parametrize(
    ("elapsed", "left", "seconds"),
    [
        # Nobody knows: about as long as it has gone on, from 1 to 30.
        (0.0, None, 1),
        (0.9, None, 1),
        (1.0, None, 1),
        (2.0, None, 2),
        (8.7, None, 8),
        (30.0, None, 30),
        (600.0, None, 30),
        # An estimate of a few seconds is used up, and never cut to nothing.
        (100.0, 0.0, 1),
        (100.0, 0.2, 1),
        (100.0, 0.5, 1),
        (100.0, 1.2, 1),
        (100.0, 1.5, 2),
        (100.0, 5.0, 5),
        # A longer one is nearly used up.
        (100.0, 5.1, 4),
        (100.0, 10.0, 9),
        (100.0, 28.0, 25),
        (1.0, 1000.0, 30),
    ],
)
def test_a_delivery_is_away_for_whole_seconds(elapsed, left, seconds):
    assert seconds_to_wait(elapsed, left) == seconds
    assert type(seconds_to_wait(elapsed, left)) is int


@pytest.mark.parametrize(
    ("left", "overdue", "seconds"),
    [(0.0, 0.9, 1), (0.0, 3.0, 3), (0.0, 70.0, 30), (4.0, 2.0, 4), (20.0, 6.0, 18), (None, 6.0, 100)],
)
def test_a_run_that_goes_on_after_its_expected_end_is_asked_for_less_and_less(left, overdue, seconds):
    assert seconds_to_wait(100.0, left, overdue) == min(seconds, 30)


@pytest.mark.parametrize(
    ("ended", "left"), [(1010.0, 0.0), (990.0, None)], ids=["this run", "an earlier one"]
)
def test_a_run_that_has_just_ended_is_waited_for_no_more(ended, left):
    """An outcome from before the claim is that of an earlier run with the same id."""
    done = datetime.datetime.fromtimestamp(ended, datetime.timezone.utc).isoformat()
    claim = Claim("owner", 1050.0, 1000.0, "w/1", at=1020.0)
    history: Any = SimpleNamespace(of=lambda name: SimpleNamespace(durations=()))
    meta = {"status": "SUCCESS", "result": 1, "date_done": done}
    assert seconds_left("proj.task", claim, meta, history) == left


@pytest.fixture
def waits():
    """The delays of deliveries that wait."""
    seen = []

    def note(task, countdown, **info):
        seen.append(countdown)

    with events.run_waited.connected_to(note):
        yield seen


@pytest.fixture
def runs():
    return []


@pytest.fixture
def task(app, runs):
    @app.task(bind=True, name="proj.waits", shared=False, **HERD)
    def waits(self, n):
        runs.append(self.request.id)
        return n

    return real(waits)


def run_elsewhere(task, owner="owner"):
    """Let another delivery run the task's key."""
    return store_of(task.app).claim(key_of(task, 1), owner, f"{owner}/1", 6000)


def deliver_one(app):
    (message,) = published(app)
    return execute(receive(app, message))


def test_the_delay_grows_with_the_time_that_the_run_has_taken(app, task, waits, clock):
    run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    began = clock.now
    while clock.now < began + 120:
        deliver_one(app)
        clock.advance(waits[-1])
    assert waits == [1, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_progress_of_the_run_tells_how_long(app, task, waits, clock):
    run_elsewhere(task)
    task.backend.store_result("owner", {"time_remaining": 20.0}, "PROGRESS")
    task.apply_async((1,), task_id="waits")
    clock.advance(3)
    deliver_one(app)
    assert waits == [18]


def test_a_run_that_is_about_to_end_is_waited_for_on_the_spot(app, task, waits, runs, monkeypatch):
    claim = run_elsewhere(task)
    task.backend.store_result("owner", {"time_remaining": 0.4}, "PROGRESS")
    result = task.apply_async((1,), task_id="waits")
    pauses: list[float] = []

    def end_the_third_time(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            store_of(app).complete(key_of(task, 1), "owner", claim.delivery, PAYLOAD, ttl=0, kept_for=3600)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=end_the_third_time))
    deliver_one(app)
    assert result.get(timeout=1) == "theirs"
    assert waits == []
    assert runs == []
    assert len(pauses) == 3


def test_a_run_that_does_not_end_as_expected_is_not_waited_for_on_the_spot_again(app, task, waits, clock):
    run_elsewhere(task)
    task.backend.store_result("owner", {"time_remaining": 0.0}, "PROGRESS")
    task.apply_async((1,), task_id="waits")
    for _ in range(6):
        deliver_one(app)
        clock.advance(waits[-1])
    assert waits == [1, 1, 2, 4, 8, 16]


def test_a_stay_ends_soon_if_the_run_goes_on(app, task, waits, monkeypatch, clock):
    run_elsewhere(task)
    task.backend.store_result("owner", {"time_remaining": 0.4}, "PROGRESS")
    task.apply_async((1,), task_id="waits")
    now = SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.advance)
    monkeypatch.setattr(waiting, "time", now)
    began = clock.now
    deliver_one(app)
    assert waits == [1]
    assert waiting.LONGEST_STAY <= clock.now - began <= waiting.LONGEST_STAY + waiting.LONGEST_PAUSE


@pytest.fixture
def wait_for(app, task, runs, clock, monkeypatch) -> Callable[..., tuple[int, float]]:
    """Lets a call wait for a run that reports five times a second, from its beginning on.

    Returns how often the call was delivered, and how many seconds after the run it was answered.
    """

    def wait_for(takes: float, *, says: float, late: float) -> tuple[int, float]:
        """Let the run take so many seconds, which says that it takes others; each delivery comes *late*."""
        began, claim, times = clock.now, run_elsewhere(task), []

        def pass_time(seconds: float) -> None:
            clock.advance(seconds)
            passed = clock.now - began
            if passed >= takes:
                store = store_of(app)
                store.complete(key_of(task, 1), "owner", claim.delivery, PAYLOAD, ttl=0, kept_for=3600)
            elif passed >= 0.2:
                left = {"time_remaining": max(says - passed // 0.2 * 0.2, 0.0)}
                task.backend.store_result("owner", left, "PROGRESS")

        here = SimpleNamespace(monotonic=lambda: clock.now, sleep=pass_time)
        monkeypatch.setattr(waiting, "time", here)
        result = task.apply_async((1,), task_id="waits")
        with events.run_waited.connected_to(lambda task, countdown, **_: times.append(countdown)):
            while not result.ready():
                deliver_one(app)
                if not result.ready():
                    pass_time(times[-1] + late)
        assert (result.get(timeout=1), runs) == ("theirs", [])
        return len(times) + 1, clock.now - began - takes

    return wait_for


@pytest.mark.parametrize("late", [0.0, 0.05, 0.2, 0.45])
@pytest.mark.parametrize(
    ("takes", "says", "most"),
    [(2.0, 2.0, 3), (2.4, 2.0, 3), (2.0, 2.4, 3), (30.0, 30.0, 6), (30.4, 30.0, 6), (31.0, 30.0, 6)],
)
def test_a_call_that_waits_is_delivered_a_few_times_and_answered_soon(wait_for, takes, says, most, late):
    deliveries, seconds = wait_for(takes, says=says, late=late)
    assert deliveries <= most
    assert seconds <= 1 + late


@pytest.mark.parametrize("left", [-1, None, True, "20", float("inf"), float("nan")])
def test_a_progress_that_tells_no_time_counts_as_none(app, task, waits, clock, left):
    run_elsewhere(task)
    task.backend.store_result("owner", {"time_remaining": left}, "PROGRESS")
    task.apply_async((1,), task_id="waits")
    clock.advance(3)
    deliver_one(app)
    assert waits == [3]


def test_earlier_runs_tell_how_long(app, task, waits, clock):
    history = History(installed_on(app))
    for seconds in (2.0, 13.0, 13.0):
        history.add(task.name, "earlier", seconds, {})
    run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    clock.advance(3)
    deliver_one(app)
    assert waits == [9]


# Answered in the end.


def test_it_is_served_when_the_run_it_waited_for_has_ended(app, task, runs, clock):
    claim = run_elsewhere(task)
    result = task.apply_async((1,), task_id="waits")
    deliver_one(app)
    assert result.state == states.PENDING
    clock.advance(1)
    store_of(app).complete(key_of(task, 1), "owner", claim.delivery, PAYLOAD, ttl=0, kept_for=3600)
    work_off(app)
    assert result.get(timeout=1) == "theirs"
    assert runs == []


def test_it_runs_when_the_run_it_waited_for_has_failed(app, task, runs, clock):
    claim = run_elsewhere(task)
    result = task.apply_async((1,), task_id="waits")
    deliver_one(app)
    store_of(app).release(key_of(task, 1), "owner", claim.delivery)
    work_off(app)
    assert result.get(timeout=1) == 1
    assert runs == ["waits"]


def test_several_that_wait_have_one_run_when_the_run_they_waited_for_has_failed(app, task, runs, clock):
    claim = run_elsewhere(task)
    results = [task.apply_async((1,), task_id=f"waits-{number}") for number in range(3)]
    for message in published(app):
        execute(receive(app, message))
    store_of(app).release(key_of(task, 1), "owner", claim.delivery)
    clock.advance(1)
    assert len(work_off(app)) == 3
    assert len(runs) == 1
    assert [result.get(timeout=1) for result in results] == [1, 1, 1]


def test_a_call_that_a_run_makes_itself_runs_after_it(app, clock):
    """Such a task goes on where it left off, so the result of the run is no answer."""
    runs, made = [], []

    @app.task(bind=True, shared=False, **HERD)
    def again(self, n):
        runs.append(self.request.id)
        if len(runs) == 1:
            clock.advance(1)
            made.append(again.delay(n))
            ended = execute(receive(app, published(app)[0]))
            assert ended.info.state == states.IGNORED
        return len(runs)

    first = again.delay(1)
    clock.advance(1)
    assert work_off(app) == [first.id, made[0].id]
    assert runs == [first.id, made[0].id]
    assert made[0].get(timeout=1) == 2


# When it runs instead.


def test_a_delivery_from_a_fanout_exchange_never_waits(app, task, runs):
    """Sent again, it would come to every worker."""
    broadcast = Exchange("broadcast", type="fanout")
    app.conf.task_queues = [Queue(app.conf.task_default_queue), Queue("all", broadcast)]
    before = run_elsewhere(task)
    task.apply_async((1,), task_id="fanned")
    (message,) = published(app)
    message.delivery_info = {**message.delivery_info, "exchange": "broadcast"}
    assert execute(receive(app, message)).retval == 1
    assert runs == ["fanned"]
    assert published(app) == []
    after = entry_of(task, 1)
    assert (after.owner, after.delivery) == ("owner", before.delivery)


def test_a_delivery_from_another_exchange_waits_where_there_are_fanout_ones_as_well(app, task, runs):
    broadcast = Exchange("broadcast", type="fanout")
    app.conf.task_queues = [Queue(app.conf.task_default_queue), Queue("all", broadcast)]
    run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    deliver_one(app)
    assert runs == []


def test_a_delivery_that_cannot_be_sent_again_runs(app, task, runs, monkeypatch, caplog):
    before = run_elsewhere(task)
    result = task.apply_async((1,), task_id="waits")
    (message,) = published(app)

    def refuse(*args, **options):
        raise OperationalError("no broker")

    with monkeypatch.context() as broken:
        broken.setattr(app.amqp, "send_task_message", refuse)
        execute(receive(app, message))
    assert runs == ["waits"]
    assert result.get(timeout=1) == 1
    assert "could not be sent again to wait; it runs now" in caplog.text
    after = entry_of(task, 1)
    assert (after.owner, after.delivery, after.expires) == ("owner", before.delivery, before.expires)


# Where it is sent.


def test_it_is_sent_when_every_handler_of_prerun_has_loaded_its_context(app, task):
    """Loggers and tracers add to a message what they find in their context."""
    context: ContextVar[str] = ContextVar("context", default="another task's")
    sent = []

    def load(task_id, **_):
        context.set(f"of {task_id}")

    def note(headers, **_):
        sent.append((headers["id"], context.get()))

    run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    (message,) = published(app)
    request = receive(app, message)
    signals.task_prerun.connect(load)
    signals.before_task_publish.connect(note)
    try:
        execute(request)
    finally:
        signals.task_prerun.disconnect(load)
        signals.before_task_publish.disconnect(note)
    assert sent == [("waits", "of waits")]


def test_it_leaves_the_claim_of_the_run_and_stores_nothing(app, memory, task):
    before = run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    deliver_one(app)
    after = entry_of(task, 1)
    assert (after.owner, after.delivery, after.expires) == ("owner", before.delivery, before.expires)
    assert after.awaited
    assert memory.read(key_of(task, 1)).result is None
    assert task.AsyncResult("waits").state == states.PENDING


@pytest.mark.parametrize("protocol", [1, 2])
def test_it_pays_for_a_rate_limit_once(app, task, protocol):
    """Else waiting messages would use up the tokens of other calls."""
    app.conf.task_protocol = protocol
    bucket = TokenBucket(1, capacity=10)
    consumer = Consumer(app)
    consumer.task_buckets = {task.name: bucket}
    full = bucket._tokens
    run_elsewhere(task)
    task.apply_async((1,), task_id="waits")
    (message,) = published(app)
    execute(receive(app, message, consumer))
    assert bucket._tokens == full, "Celery takes a token for it"
    (again,) = published(app)
    receive(app, again, consumer)
    assert bucket._tokens == full + 1, "and for this one, too, which is given back"


def test_with_a_cache_it_waits_as_well(app, runs):
    @app.task(bind=True, shared=False, **BOTH)
    def cached(self, n):
        runs.append(n)

    run_elsewhere(cached)
    cached.apply_async((1,), task_id="waits")
    deliver_one(app)
    assert runs == []
    assert [message.headers["id"] for message in published(app)] == ["waits"]
