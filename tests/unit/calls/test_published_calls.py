"""Messages of calls, their stamps, and the queued claims for them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from jobtastic_signals import Claim, Middleware, Result, events
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, producer_of, publishes, refuse
from tests.support.unit_apps import (
    deliver,
    entry_of,
    key_of,
    published,
    store_of,
    use_store,
)

# Publishing.


def test_a_message_carries_the_stamp(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    result = double.delay(21)
    (message,) = published(app)
    assert message.headers["jobtastic"] == {
        "id": result.id,
        "key": key_of(double, 21),
        "store": store_of(app).identity,
        "called": entry_of(double, 21).since,
    }


def test_a_dependent_call_says_when_it_was_made_and_marks_the_claim_that_it_will_ask_for(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    assert not entry_of(double, 21).awaited
    double.apply_async((21,), task_id="second")
    stamps = {message.headers["id"]: message.headers["jobtastic"] for message in published(app)}
    assert stamps["second"]["called"] > stamps[first.id]["called"]
    assert "waiting_for" not in stamps["second"]
    assert (entry_of(double, 21).owner, entry_of(double, 21).awaited) == (first.id, True)


def test_a_stamp_in_the_callers_headers_is_overwritten(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    forged = {"id": "forged", "key": key_of(double, 99), "waits": 9}
    result = double.apply_async((21,), headers={"jobtastic": forged, "mine": 1})
    (message,) = published(app)
    assert message.headers["jobtastic"]["id"] == result.id
    assert message.headers["jobtastic"]["key"] == key_of(double, 21)
    assert "waits" not in message.headers["jobtastic"]
    assert message.headers["mine"] == 1


@pytest.mark.parametrize("stamp", [{"id": "another"}, {}, "text", None, ["id"], {"id": None}])
def test_a_stamp_of_another_message_is_not_believed(new_app, stamp):
    app = new_app()
    double = add_tasks(app, **CACHE)
    if isinstance(stamp, dict):
        stamp = {**stamp, "key": key_of(double, 99), "store": "elsewhere", "waits": 3}
    double.delay(21)
    (message,) = published(app)
    deliver(app, message, jobtastic=stamp)
    assert isinstance(entry_of(double, 21), Result)
    assert entry_of(double, 99) is None


def test_send_task_is_left_to_the_worker(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    app.send_task("proj.double", (21,))
    (message,) = published(app)
    assert "jobtastic" not in message.headers
    assert deliver(app, message).retval == 42
    assert double.delay(21).id == message.headers["id"]


@pytest.mark.parametrize("task_id", [None, "mine"], ids=["plain", "dependent"])
def test_a_queued_claim_lasts_one_lease(new_app, clock, task_id):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))
    double = add_tasks(app, **HERD)
    result = double.apply_async((21,), task_id=task_id)
    assert entry_of(double, 21) == Claim(result.id, clock.now + 30, since=clock.now)


@pytest.mark.parametrize("countdown", [10, 1000], ids=["within the lease", "later"])
@pytest.mark.parametrize("timezone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("enable_utc", [True, False])
def test_when_a_retry_is_due_is_right_in_every_time_zone(new_app, timezone, enable_utc, countdown):
    app = new_app(timezone=timezone, enable_utc=enable_utc)

    @app.task(bind=True, shared=False, **HERD)
    def stubborn(self, n):
        raise self.retry(countdown=countdown)

    first = stubborn.delay(21)
    (message,) = published(app)
    deliver(app, message)
    assert getattr(entry_of(stubborn, 21), "owner", None) == (first.id if countdown == 10 else None)


def test_a_claim_is_released_before_the_error_of_publishing_leaves(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    owners = []

    def fail(publish: Any, *args: Any, headers: Any, **kwargs: Any) -> None:
        owners.extend([entry_of(double, 21).owner, headers["id"]])
        raise OperationalError("no broker")

    with producer_of(app, fail) as producer, pytest.raises(OperationalError, match="no broker"):
        double.apply_async((21,), producer=producer)
    assert owners[0] == owners[1]
    assert entry_of(double, 21) is None
    assert publishes(lambda: double.delay(21))


def test_a_claim_of_another_survives_an_error_of_publishing(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError, match="no broker"):
        double.apply_async((21,), task_id="second", producer=producer)
    assert entry_of(double, 21).owner == first.id


def test_a_producer_of_the_caller_is_used(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    sent = []

    def note(publish: Any, *args: Any, headers: Any, **kwargs: Any) -> Any:
        sent.append(headers["id"])
        return publish(*args, headers=headers, **kwargs)

    with producer_of(app, note) as producer:
        first = double.apply_async((21,), producer=producer)
        assert double.apply_async((21,), producer=producer).id == first.id
    assert sent == [first.id]


def test_a_publishing_call_leaves_nothing_behind_in_its_context(new_app):
    """A later ``send_task`` of the same name gets no stamp from it."""
    app = new_app()
    double = add_tasks(app, **HERD)
    double.delay(1)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError):
        double.apply_async((2,), producer=producer)
    published(app)
    app.send_task("proj.double", (1,))
    (message,) = published(app)
    assert "jobtastic" not in message.headers


def test_a_call_that_fails_early_leaves_nothing_behind_either(new_app):
    app = new_app()

    def fail(*args):
        raise RuntimeError("no name")

    double = add_tasks(app, shadow_name=fail, **HERD)
    with pytest.raises(RuntimeError):
        double.delay(1)
    app.send_task("proj.double", (1,))
    (message,) = published(app)
    assert "jobtastic" not in message.headers
    assert entry_of(double, 1) is None


class Audited(Task):
    """Tells another task of every call, and a second worker too."""

    def apply_async(self, args=None, kwargs=None, **options):
        self.app.tasks["proj.total"].delay([])
        first = super().apply_async(args, kwargs, **options)
        super().apply_async(args, kwargs, **options)
        return first


def test_what_else_a_users_apply_async_publishes_is_not_taken_for_the_call(new_app):
    app = new_app()
    double = add_tasks(app, base=Audited, **HERD)
    first = double.delay(21)
    audit, message, again = published(app)
    assert (audit.headers["task"], message.headers["id"]) == ("proj.total", first.id)
    assert message.headers["jobtastic"]["id"] == first.id
    assert all("jobtastic" not in other.headers for other in (audit, again))
    assert entry_of(double, 21).owner == first.id


def test_a_task_that_calls_itself_again_does_not_join_itself(new_app):
    """As those do that schedule themselves."""
    app = new_app()
    ids = []

    @app.task(shared=False, **HERD)
    def every(n):
        if len(ids) < 2:
            ids.append(every.delay(n).id)

    first = every.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert ids[0] != first.id
    assert [message.headers["id"] for message in published(app)] == ids


# Claimed before there is a message


def test_a_call_is_claimed_in_one_step_under_the_id_that_its_message_gets(new_app, monkeypatch):
    app = new_app()
    asked = []

    def watch(name):
        original = getattr(MemoryStore, name)

        def operation(self, *arguments, **options):
            asked.append(name)
            return original(self, *arguments, **options)

        monkeypatch.setattr(MemoryStore, name, operation)

    for name in ("lookup", "lookup_or_claim", "claim", "renew", "complete", "release"):
        watch(name)
    double = app.task(herd_avoidance_timeout=60)(double_body)
    result = double.delay(1)
    assert asked == ["lookup_or_claim"]
    [message] = published(app)
    assert message.headers["id"] == result.id == entry_of(double, 1).owner
    assert entry_of(double, 1).awaited is False
    assert double.delay(1).id == result.id
    assert entry_of(double, 1).awaited is False, "a caller that joined needs no result from the store"


def double_body(n):
    return n * 2


LATER = [
    {"countdown": 5},
    {"eta": datetime.datetime(2100, 1, 1)},
    {"eta": datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)},
    {"countdown": 5, "task_id": "mine"},
]


@pytest.mark.parametrize("options", LATER, ids=str)
def test_a_call_that_is_due_later_claims_nothing(new_app, options):
    app = new_app()
    double = app.task(herd_avoidance_timeout=60)(double_body)
    result = double.apply_async((1,), **options)
    assert entry_of(double, 1) is None
    [message] = published(app)
    assert message.headers["jobtastic"]["id"] == result.id
    assert "called" not in message.headers["jobtastic"]


def test_an_apply_async_that_chooses_ids_claims_under_the_one_that_it_chose(new_app):
    app = new_app()

    class Chooses(app.Task):  # type: ignore[name-defined]
        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(args, kwargs, **{**options, "task_id": "chosen"})

    double = app.task(base=Chooses, herd_avoidance_timeout=60)(double_body)
    assert double.delay(1).id == "chosen"
    assert entry_of(double, 1).owner == "chosen"


def test_a_replaced_apply_async_of_celerys_own_may_choose_another_id(new_app, monkeypatch):
    """As another library may, which replaces it for all tasks."""
    original = Task.apply_async

    def apply_async(self, args=None, kwargs=None, **options):
        return original(self, args, kwargs, **{**options, "task_id": "chosen"})

    monkeypatch.setattr(Task, "apply_async", apply_async)
    app = new_app()
    double = app.task(herd_avoidance_timeout=60)(double_body)
    released = []
    with events.claim_released.connected_to(lambda task, task_id, **info: released.append(task_id)):
        assert double.delay(1).id == "chosen"
    assert entry_of(double, 1).owner == "chosen"
    assert len(released) == 1


def test_what_keeps_a_claimed_call_from_being_published_frees_it(new_app):
    class Strikes(Middleware):
        def answer(self, call):
            raise SoftTimeLimitExceeded

    app = new_app(middleware=(Strikes(),))
    double = app.task(herd_avoidance_timeout=60)(double_body)
    with pytest.raises(SoftTimeLimitExceeded):
        double.delay(1)
    assert entry_of(double, 1) is None
