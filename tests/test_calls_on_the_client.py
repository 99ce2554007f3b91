"""What ``apply_async`` does with a call: latch on to what there is, or publish, claimed and stamped."""

from __future__ import annotations

import datetime
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group, states
from celery.backends.base import DisabledBackend
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from kombu.exceptions import OperationalError

from jobtastic_signals import (
    Claim,
    JobtasticError,
    Middleware,
    Result,
    SettingError,
    UnkeyableError,
    events,
    forget,
)
from jobtastic_signals.stores.memory import MemoryStore

from . import unit_apps
from .unit_apps import deliver, entry_of, key_of, published, real, store_of, use_late_store, work_off

new_app = unit_apps.new_app

HERD = {"herd_avoidance_timeout": 60}
CACHE = {"cache_duration": 60}
BOTH = {**HERD, **CACHE}


def add_tasks(app: Celery, **options: Any) -> Task:
    @app.task(name="proj.double", shared=False, **options)
    def double(n, more=0):
        return 2 * n + more

    @app.task(name="proj.total", shared=False)
    def total(numbers):
        return sum(numbers) if isinstance(numbers, list) else numbers

    return real(double)


def publishes(call: Any) -> bool:
    """Whether *call* goes to the broker under its own id."""
    result = call()
    messages = published(result.app)
    assert [message.headers["id"] for message in messages] in ([], [result.id])
    return bool(messages)


# Latching.


def test_a_call_latches_on_to_a_live_claim(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    assert entry_of(double, 21).owner == first.id
    again = [double.delay(21), double.delay(n=21), double.apply_async((21, 0)), double.s(21).delay()]
    assert {result.id for result in again} == {first.id}
    assert not any(result.ready() for result in again)
    assert double.delay(22).id != first.id
    assert len(published(app)) == 2


def test_a_call_latches_on_to_a_stored_result(new_app):
    app = new_app()
    double = add_tasks(app, **CACHE)
    first = double.delay(21)
    assert work_off(app) == [first.id]
    again = double.delay(n=21)
    assert again.id == first.id
    assert (again.get(timeout=1), again.state, again.successful()) == (42, "SUCCESS", True)
    assert published(app) == []


def test_a_latched_value_needs_no_second_read(new_app, monkeypatch):
    app = new_app()
    double = add_tasks(app, **CACHE)
    double.delay(21)
    work_off(app)
    latched = double.delay(21)
    monkeypatch.setattr(double.backend, "get", lambda key: pytest.fail("read again"))
    assert latched.get(timeout=1) == 42


@pytest.mark.parametrize("options", [HERD, CACHE])
def test_each_option_does_its_own_part_only(new_app, options):
    app = new_app()
    double = add_tasks(app, **options)
    first, second = double.delay(1), double.delay(1)
    assert (first.id == second.id) == (options is HERD)
    work_off(app)
    assert (double.delay(1).id in {first.id, second.id}) == (options is CACHE)


@pytest.mark.parametrize(
    ("state", "value", "caches", "latched"),
    [
        (states.PENDING, None, False, True),
        (states.STARTED, None, False, True),
        (states.RETRY, KeyError("x"), False, True),
        ("PROGRESS", {"done": 1}, False, True),
        (states.FAILURE, KeyError("x"), False, False),
        (states.FAILURE, KeyError("x"), True, False),
        (states.REVOKED, TaskRevokedError("x"), True, False),
        (states.SUCCESS, 42, False, False),
        (states.SUCCESS, 42, True, True),
    ],
)
def test_the_result_backend_says_whether_a_claim_is_stale(new_app, state, value, caches, latched):
    """Its release was lost, or is still to come; a stale one is taken over at once."""
    app = new_app()
    double = add_tasks(app, **(BOTH if caches else HERD))
    first = double.delay(21)
    if state != states.PENDING:
        double.backend.store_result(first.id, value, state)
    second = double.delay(21)
    assert (second.id == first.id) is latched
    assert entry_of(double, 21).owner == second.id
    assert len(published(app)) == (1 if latched else 2)
    if latched and state == states.SUCCESS:
        assert second.get(timeout=1) == 42


def test_a_lapsed_claim_is_taken_over(new_app):
    app = new_app()
    double = add_tasks(app, herd_avoidance_timeout=0.05)
    first = double.delay(21)
    time.sleep(0.1)
    second = double.delay(21)
    assert first.id != second.id
    assert entry_of(double, 21).owner == second.id


@pytest.mark.parametrize("how", ["forgotten", "expired"])
def test_a_result_that_the_backend_lost_is_written_back(new_app, how):
    """Also where this process still has it in Celery's cache of results."""
    app, other = new_app(result_cache_max=100), new_app(plugin=False)
    double = add_tasks(app, **CACHE)
    first = double.delay(21)
    work_off(app)
    assert first.get(timeout=1) == 42
    if how == "forgotten":
        first.forget()
    else:
        double.backend.delete(double.backend.get_key_for_task(first.id))
    assert other.AsyncResult(first.id).state == states.PENDING
    assert double.delay(21).get(timeout=1) == 42
    assert other.AsyncResult(first.id).get(timeout=1) == 42


def test_a_result_that_is_no_more_readable_is_dropped(new_app, caplog):
    app = new_app()
    double = add_tasks(app, **CACHE)
    pickled = b'["application/x-python-serialize", "binary"]\n...'
    store_of(app).settle(key_of(double, 21), "somebody", pickled, None)
    assert publishes(lambda: double.delay(21))
    assert entry_of(double, 21) is None
    assert "result_accept_content" in caplog.text


def test_a_backend_that_fails_costs_nothing_but_the_check(new_app, monkeypatch, caplog):
    app = new_app()
    double = add_tasks(app, **BOTH)
    first = double.delay(21)
    with monkeypatch.context() as broken:
        broken.setattr(double.backend, "get_task_meta", lambda *_, **__: 1 / 0)
        assert double.delay(21).id == first.id
    assert "ZeroDivisionError" in caplog.text
    work_off(app)
    first.forget()
    monkeypatch.setattr(double.backend, "store_result", lambda *_, **__: 1 / 0)
    assert double.delay(21).get(timeout=1) == 42


def test_a_latched_result_is_a_child_of_the_task_that_called(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)

    @app.task(bind=True, name="proj.parent", shared=False)
    def parent(self):
        double.delay(21)
        double.apply_async((21,), add_to_parent=False)
        return [child.id for child in self.request.children]

    assert parent.apply().get() == [first.id]


def test_forget_lets_the_next_call_run(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    assert not forget(double, 21)
    first = double.delay(21)
    assert not forget(double, 21)
    assert double.delay(21).id == first.id
    work_off(app)
    assert forget(double, n=21, more=0)
    assert not forget(double, 21)
    assert publishes(lambda: double.delay(21))
    with pytest.raises(JobtasticError, match=r"'proj\.total' shares nothing"):
        forget(app.tasks["proj.total"], [])


def test_forget_takes_the_proxy_that_the_decorator_gives(new_app):
    app = new_app()

    @app.task(shared=False, **CACHE)
    def double(n):
        return 2 * n

    double.apply((21,))
    assert forget(double, 21)


# Dependent calls.


DEPENDENT = {
    "task_id": lambda double, total: double.apply_async((1,), task_id=uuid.uuid4().hex),
    "positional task_id": lambda double, total: double.apply_async((1,), {}, uuid.uuid4().hex),
    "link": lambda double, total: double.apply_async((1,), link=total.s()),
    "link_error": lambda double, total: double.apply_async((1,), link_error=total.s()),
    "chain=": lambda double, total: double.apply_async((1,), chain=[total.s()]),
    "chord=": lambda double, total: double.apply_async((1,), chord=total.s()),
    "group_id": lambda double, total: double.apply_async((1,), group_id="g"),
    "retries": lambda double, total: double.apply_async((1,), retries=1),
    "ignore_result": lambda double, total: double.apply_async((1,), ignore_result=True),
    "a linked signature": lambda double, total: double.s(1).set(link=total.s()).delay(),
    "a frozen signature": lambda double, total: (lambda s: (s.freeze(), s.delay())[1])(double.s(1)),
}


@pytest.mark.parametrize("stored", [False, True], ids=["claimed", "stored"])
@pytest.mark.parametrize("dependent", DEPENDENT.values(), ids=DEPENDENT)
def test_a_dependent_call_is_published_under_its_own_id(new_app, dependent, stored):
    app = new_app()
    double = add_tasks(app, **BOTH)
    first = double.delay(1)
    if stored:
        work_off(app)
    published(app)
    before = entry_of(double, 1)
    assert publishes(lambda: dependent(double, app.tasks["proj.total"]))
    assert before.owner == entry_of(double, 1).owner == first.id


def test_each_member_of_a_canvas_is_published_under_its_own_id(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    total = app.tasks["proj.total"]
    double.delay(1)
    published(app)
    members = group([double.s(1), double.s(1)], app=app).apply_async()
    header = chord([double.s(1), double.s(1)], total.s(), app=app).apply_async()
    chained = chain(double.s(1), double.s(), app=app).apply_async()
    ids = {message.headers["id"] for message in published(app)}
    expected = {*(r.id for r in members), *(r.id for r in header.parent.results), chained.parent.id}
    assert len(expected) == 5
    assert ids == expected


def test_a_canvas_of_equal_members_gets_all_its_values(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    total = app.tasks["proj.total"]
    header = chord([double.s(1), double.s(1), double.s(2)], total.s(), app=app).apply_async()
    chained = chain(double.s(1), double.s(), app=app).apply_async()
    deadline = time.monotonic() + 20
    while not (header.ready() and chained.ready()):
        assert time.monotonic() < deadline
        work_off(app)
    assert (header.get(timeout=1), chained.get(timeout=1)) == (8, 4)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_call_whose_ignore_result_is_the_tasks_own_is_a_plain_one(new_app, ignored):
    app = new_app()
    double = add_tasks(app, ignore_result=ignored, **HERD)
    first = double.delay(1)
    again = double.apply_async((1,), ignore_result=ignored)
    assert again.id == first.id
    assert again.ignored is ignored
    assert double.apply_async((1,), ignore_result=not ignored).id != first.id


def test_a_call_that_keeps_no_result_does_not_stand_for_others(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    double.apply_async((1,), ignore_result=True)
    assert entry_of(double, 1) is None


def test_results_that_only_the_caller_can_read_are_never_latched_on_to(new_app):
    app = new_app(result_backend="rpc://")
    double = add_tasks(app, **BOTH)
    ids = {double.delay(1).id, double.delay(1).id}
    assert len(ids) == 2
    assert {message.headers["id"] for message in published(app)} == ids


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
    }


def test_a_call_that_lost_the_race_says_whom_it_waits_for(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    double.apply_async((21,), task_id="second")
    stamps = {message.headers["id"]: message.headers["jobtastic"] for message in published(app)}
    assert stamps["second"]["waiting_for"] == first.id
    assert "waiting_for" not in stamps[first.id]
    assert entry_of(double, 21).waited


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


def test_its_own_stamp_is_believed(new_app):
    app = new_app()
    double = add_tasks(app, **CACHE)
    double.delay(21)
    (message,) = published(app)
    deliver(app, message, jobtastic={"id": message.headers["id"], "key": "v1:other:1"})
    assert entry_of(double, 21) is None
    assert isinstance(store_of(app).lookup("v1:other:1"), Result)


def test_send_task_is_left_to_the_worker(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    app.send_task("proj.double", (21,))
    (message,) = published(app)
    assert "jobtastic" not in message.headers
    assert deliver(app, message).retval == 42
    assert double.delay(21).id == message.headers["id"]


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 0),
        ({"countdown": 1000}, 1000),
        ({"eta": lambda now: now + datetime.timedelta(hours=1)}, 3600),
        ({"eta": lambda now: now.astimezone(datetime.timezone(datetime.timedelta(hours=5)))}, 0),
        ({"eta": lambda now: now - datetime.timedelta(hours=1)}, 0),
    ],
)
def test_the_lease_counts_from_when_the_task_is_due(new_app, options, seconds):
    app = new_app()
    double = add_tasks(app, **HERD)
    now = datetime.datetime.now(datetime.timezone.utc)
    double.apply_async((21,), **{name: v(now) if callable(v) else v for name, v in options.items()})
    claim = entry_of(double, 21)
    assert isinstance(claim, Claim)
    assert claim.expires - time.time() == pytest.approx(seconds + 60, abs=5)


@pytest.mark.parametrize("timezone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("enable_utc", [True, False])
def test_the_lease_is_right_in_every_time_zone(new_app, timezone, enable_utc):
    app = new_app(timezone=timezone, enable_utc=enable_utc)
    double = add_tasks(app, **HERD)
    double.apply_async((21,), countdown=1000)
    assert entry_of(double, 21).expires - time.time() == pytest.approx(1060, abs=5)


@contextmanager
def producer_of(app: Celery, publish: Callable[..., Any]) -> Iterator[Any]:
    """A producer of the app whose method is *publish*, which is given the real one."""
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish = partial(publish, producer.publish)
        try:
            yield producer
        finally:
            del producer.publish


def refuse(publish: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    raise OperationalError("no broker")


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


def test_a_task_that_calls_itself_again_does_not_latch_on_to_itself(new_app):
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


# What is wrong with a call.


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"typo": 1})])
def test_arguments_that_the_task_does_not_take_are_celerys_own_error(new_app, args, kwargs):
    app, without = new_app(), new_app(plugin=False)
    errors = []
    for each in (app, without):
        with pytest.raises(TypeError) as caught:
            add_tasks(each, **HERD).apply_async(args, kwargs)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert published(app) == []


def test_without_type_checks_wrong_arguments_are_the_workers_to_refuse(new_app):
    app = new_app()
    double = add_tasks(app, typing=False, **BOTH)
    assert double.delay(1, typo=1).id != double.delay(1, typo=1).id
    for message in published(app):
        deliver(app, message)
        assert isinstance(app.AsyncResult(message.headers["id"]).result, TypeError)


def test_an_argument_without_a_key_is_refused_at_the_call(new_app):
    app = new_app(task_serializer="pickle", accept_content=["pickle"])
    double = add_tasks(app, **HERD)
    with pytest.raises(UnkeyableError, match=r"'proj.double': argument 'n' .*Give it a to_str"):
        double.delay(1j)
    assert published(app) == []


@pytest.mark.parametrize(
    "setting",
    [{"jobtastic_store": "no://store"}, {"jobtastic_stor": "memory://"}, {"jobtastic_namespace": "a/b"}],
)
def test_a_wrong_setting_is_an_error_of_the_call(new_app, setting):
    app = new_app(**setting)
    double = add_tasks(app, **HERD)
    with pytest.raises(SettingError, match="jobtastic_"):
        double.delay(1)
    assert published(app) == []


def test_a_store_that_cannot_be_opened_costs_the_sharing_and_not_the_call(new_app, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    app = new_app(jobtastic_store=f"disk://{tmp_path}/file")
    double = add_tasks(app, **BOTH)
    with caplog.at_level(logging.WARNING):
        ids = [double.delay(21).id for _ in range(3)]
    assert len(set(ids)) == 3
    assert work_off(app) == ids
    assert caplog.text.count("share nothing until it works again") == 1


def test_a_claim_that_is_granted_too_late_is_of_the_task_that_is_published(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    store = use_late_store(app)
    result = double.delay(21)
    assert store.lookup(key_of(double, 21)).owner == result.id
    assert [message.headers["id"] for message in published(app)] == [result.id]


def test_a_claim_that_is_granted_too_late_is_released_where_nothing_is_published(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    store = use_late_store(app, always_tried=True)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError, match="no broker"):
        double.apply_async((21,), producer=producer)
    assert store.lookup(key_of(double, 21)) is None


# Without a result backend.


def no_backend(new_app: Any, **options: Any) -> Task:
    app = new_app(result_backend="disabled://")
    double = add_tasks(app, **options)
    assert isinstance(double.backend, DisabledBackend)
    return double


def ignoring(new_app: Any, **options: Any) -> Task:
    return add_tasks(new_app(), ignore_result=True, **options)


@pytest.mark.parametrize("silent", [no_backend, ignoring])
def test_without_results_a_claim_is_latched_on_to_as_it_is(new_app, silent):
    double = silent(new_app, **BOTH)
    first = double.delay(21)
    assert double.delay(21).id == first.id
    assert work_off(double.app) == [first.id]
    assert double.delay(21).id == first.id
    assert published(double.app) == []
    if not isinstance(double.backend, DisabledBackend):
        assert double.AsyncResult(first.id).state == states.PENDING


@pytest.mark.parametrize("silent", [no_backend, ignoring])
def test_without_results_a_run_still_ends_its_claim(new_app, silent):
    double = silent(new_app, **HERD)
    first = double.delay(21)
    work_off(double.app)
    assert double.delay(21).id != first.id


# The run of what was published, as a worker has it.


def test_a_second_delivery_is_served_what_the_first_computed(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    double.delay(21)
    double.apply_async((21,), task_id="second")
    assert len(work_off(app)) == 2
    assert app.AsyncResult("second").get(timeout=1) == 42


@pytest.mark.parametrize("state", [states.FAILURE, states.REVOKED, states.PENDING])
def test_a_run_takes_over_from_an_owner_that_ended_and_waits_for_one_that_did_not(new_app, state):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    double.apply_async((21,), task_id="second")
    second = published(app)[1]
    if state != states.PENDING:
        double.backend.store_result(first.id, KeyError("x"), state)
    ended = deliver(app, second)
    again = [message.headers["id"] for message in published(app)]
    if state == states.PENDING:
        assert (ended.info.state, again) == (states.IGNORED, ["second"])
        assert entry_of(double, 21).owner == first.id
    else:
        assert (ended.retval, again) == (42, [])


def test_a_retry_keeps_its_claim_and_its_key(new_app):
    app = new_app()
    seen = []

    @app.task(bind=True, shared=False, default_retry_delay=0, **HERD)
    def stubborn(self, n):
        seen.append((self.request.retries, entry_of(stubborn, n).owner))
        if self.request.retries < 2:
            raise self.retry()
        return n

    first = stubborn.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert entry_of(stubborn, 1).owner == first.id
    assert stubborn.delay(1).id == first.id
    assert work_off(app) == [first.id, first.id]
    assert seen == [(0, first.id), (1, first.id), (2, first.id)]
    assert entry_of(stubborn, 1) is None


def test_a_retry_with_other_arguments_gives_up_the_first_claim(new_app):
    app = new_app()

    @app.task(bind=True, shared=False, default_retry_delay=0, **HERD)
    def wavering(self, n):
        if n == 1:
            raise self.retry(args=(2,))
        return n

    first = wavering.delay(1)
    (message,) = published(app)
    deliver(app, message)
    assert entry_of(wavering, 1) is None
    assert entry_of(wavering, 2).owner == first.id
    work_off(app)
    assert entry_of(wavering, 2) is None


# Eager apps.


def test_an_always_eager_app_never_latches(new_app):
    app = new_app(task_always_eager=True)
    double = add_tasks(app, **BOTH)
    store_of(app).admit(key_of(double, 21), "somebody", 60)
    result = double.delay(21)
    assert (result.id != "somebody", result.get(), published(app)) == (True, 42, [])


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

    for name in ("ask", "lookup", "admit"):
        watch(name)
    double = app.task(herd_avoidance_timeout=60)(double_body)
    result = double.delay(1)
    assert asked == ["ask", "lookup", "admit"], "what a store makes of asking is its own"
    [message] = published(app)
    assert message.headers["id"] == result.id == entry_of(double, 1).owner
    assert entry_of(double, 1).waited is False
    assert double.delay(1).id == result.id
    assert entry_of(double, 1).waited is False, "a caller that was given the id does not wait for the store"


def double_body(n):
    return n * 2


@pytest.mark.parametrize("options", [{"countdown": 5}, {"eta": datetime.datetime(2100, 1, 1)}])
def test_a_call_that_is_due_later_is_claimed_when_its_message_tells_when(new_app, options):
    app = new_app()
    double = app.task(herd_avoidance_timeout=60)(double_body)
    result = double.apply_async((1,), **options)
    assert entry_of(double, 1).owner == result.id
    assert entry_of(double, 1).expires - time.time() > 62


def test_an_apply_async_that_chooses_ids_claims_under_the_one_that_it_chose(new_app):
    app = new_app()

    class Chooses(app.Task):
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
