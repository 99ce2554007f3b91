"""``jobtastic_observe``: nothing is shared, and what would be is counted."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from celery import states
from kombu.exceptions import OperationalError

from jobtastic_signals import Middleware, events, stats
from jobtastic_signals.installation import installation_on
from jobtastic_signals.sharing import counting
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, producer_of, refuse
from tests.support.unit_apps import deliver, elsewhere, key_of, published, store_of, use_store, work_off

NAME = "proj.double"


@pytest.fixture
def app(new_app, memory):
    app = new_app(jobtastic_observe=True)
    use_store(app, memory)
    return app


def numbers(app: Any) -> dict[str, Any]:
    """What has been counted of the task, but for times and zeros, without the prefix of what is observed."""
    found = vars(stats(app)[NAME])
    return {
        name.removeprefix("observed_"): value
        for name, value in found.items()
        if value and not name.endswith("seconds")
    }


def shadow(task: Any, *args: Any) -> Any:
    """What the store has under the shadow key of such a call."""
    return store_of(task.app).lookup(f"observe:{key_of(task, *args)}")


def test_nothing_is_answered_stamped_or_claimed(app):
    double = add_tasks(app, **BOTH)
    results = [double.delay(1) for _ in range(3)]
    messages = published(app)
    assert [message.headers["id"] for message in messages] == [result.id for result in results]
    assert len({result.id for result in results}) == 3
    assert not any("jobtastic" in message.headers for message in messages)
    assert store_of(app).lookup(key_of(double, 1)) is None
    assert numbers(app) == {"calls": 3, "joins": 2}


def test_each_call_runs_and_those_that_would_be_avoided_are_timed(app, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(counting, "time", SimpleNamespace(monotonic=lambda: next(seconds)))

    @app.task(name=NAME, shared=False, **BOTH)
    def double(n):
        return 2 * n

    results = [double.delay(1) for _ in range(3)]
    work_off(app)
    results.append(double.delay(1))
    work_off(app)
    assert [result.get(timeout=1) for result in results] == [2] * 4
    assert numbers(app) == {"calls": 4, "joins": 2, "hits": 1, "runs": 1}
    counted = stats(app)[NAME]
    assert (counted.observed_saved_seconds, counted.observed_run_seconds) == (3, 1)
    assert counted.saved_seconds == counted.run_seconds == 0


def test_dependent_calls_would_be_served(app, clock):
    double = add_tasks(app, **HERD)
    for task_id in ("one", "two", "three"):
        double.apply_async((1,), task_id=task_id)
    clock.now += 1
    work_off(app)
    assert numbers(app) == {"calls": 3, "served": 2, "runs": 1}


def test_a_delivery_during_another_would_wait_and_be_served(app):
    @app.task(name=NAME, bind=True, shared=False, **HERD)
    def double(self, n):
        if messages:
            elsewhere(deliver, app, messages.pop())

    for task_id in ("one", "two"):
        double.apply_async((1,), task_id=task_id)
    messages = published(app)
    deliver(app, messages.pop(0))
    assert numbers(app) == {"calls": 2, "waits": 1, "served": 1, "runs": 1}


def test_a_call_after_a_run_without_a_cache_would_run(app):
    double = add_tasks(app, **HERD)
    for _ in range(3):
        double.delay(1)
        work_off(app)
    assert numbers(app) == {"calls": 3, "runs": 3}


def test_a_call_after_the_cache_duration_would_run(app, clock):
    double = add_tasks(app, **CACHE)
    for seconds in (0, 59, 2):
        clock.now += seconds
        double.delay(1)
        work_off(app)
    assert numbers(app) == {"calls": 3, "hits": 1, "runs": 2}


def test_a_failed_run_gives_its_shadow_key_up(app):
    @app.task(name=NAME, shared=False, **BOTH)
    def double(n):
        raise ValueError

    for _ in range(2):
        double.delay(1)
        work_off(app)
    assert shadow(double, 1) is None
    assert numbers(app) == {"calls": 2, "runs": 2}


def test_a_retry_keeps_the_shadow_key(app):
    @app.task(name=NAME, bind=True, shared=False, max_retries=1, **BOTH)
    def double(self, n):
        if not self.request.retries:
            raise self.retry(countdown=1)

    first = double.delay(1)
    (message,) = published(app)
    assert deliver(app, message).info.state == states.RETRY
    assert shadow(double, 1).owner == first.id
    double.delay(1)
    work_off(app)
    # The second call runs twice as well.
    assert numbers(app) == {"calls": 2, "joins": 1, "runs": 2}


def test_a_call_that_is_due_later_would_be_served_when_it_is_due(app):
    double = add_tasks(app, **BOTH)
    double.apply_async((1,), countdown=10)
    (message,) = published(app)
    double.delay(1)
    work_off(app)
    deliver(app, message)
    assert numbers(app) == {"calls": 2, "runs": 1, "served": 1}


def test_a_call_that_cannot_be_sent_gives_its_shadow_key_up(app):
    double = add_tasks(app, **BOTH)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError):
        double.apply_async((1,), producer=producer)
    assert shadow(double, 1) is None


def test_the_note_on_a_call_goes_with_its_run(app):
    double = add_tasks(app, **BOTH)
    first = double.delay(1)
    assert store_of(app).lookup(f"observed:{first.id}") is not None
    work_off(app)
    assert store_of(app).lookup(f"observed:{first.id}") is None


def test_a_call_without_a_key_goes_out_and_is_counted_by_its_argument(new_app):
    app = new_app(jobtastic_observe=True, task_serializer="pickle")
    double = add_tasks(app, **BOTH)
    double.delay(Unkeyable())
    assert numbers(app) == {"no_key": {"n": 1}}


class Unkeyable:
    """Has no canonical form."""


def test_a_store_that_fails_costs_the_numbers_alone(new_app):
    app = new_app(jobtastic_observe=True, jobtastic_store_required=True)
    use_store(app, Broken("memory://broken"))
    double = add_tasks(app, **BOTH)
    double.delay(1)
    assert len(work_off(app)) == 1
    assert stats(app) == {}


class Broken(MemoryStore):
    """Fails always."""

    def exchange(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError

    def lookup(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError


def test_no_event_is_sent_and_no_middleware_of_users_is_asked(new_app, memory):
    seen: list[Any] = []

    class Diary(Middleware):
        def answer(self, call):
            seen.append("answer")

        def before_publish(self, call):
            seen.append("before_publish")

    app = new_app(jobtastic_observe=True, middleware=(Diary(),))
    use_store(app, memory)
    double = add_tasks(app, **BOTH)
    signals = [getattr(events, name) for name in events.__all__ if name.islower()]

    def note(sender, **info):
        seen.append(info)

    for signal in signals:
        signal.connect(note)
    try:
        for _ in range(2):
            double.apply_async((1,), expires=10)
        work_off(app)
        double.delay(1)
    finally:
        for signal in signals:
            signal.disconnect(note)
    assert seen == []


def test_a_worker_that_shares_and_a_caller_that_observes_do_not_meet(new_app, memory):
    observing, sharing = new_app(jobtastic_observe=True), new_app()
    for app in (observing, sharing):
        use_store(app, memory)
    add_tasks(observing, **BOTH).delay(1)
    other = add_tasks(sharing, **BOTH)
    first = other.delay(1)
    assert [message.headers["id"] for message in published(sharing)] == [first.id]


def test_no_numbers_are_forecast_without_it(new_app, memory):
    app = new_app()
    use_store(app, memory)
    double = add_tasks(app, **BOTH)
    for _ in range(2):
        double.delay(1)
    work_off(app)
    assert not any(value for name, value in vars(stats(app)[NAME]).items() if name.startswith("observed"))
    assert installation_on(app).policy_of(type(double)).shares
