"""What one call can ask for: ``refresh``, ``bypass`` and ``on_duplicate``, on whatever way it goes."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group, states
from celery.beat import ScheduleEntry, Scheduler

import jobtastic_signals
from jobtastic_signals import DuplicateCallError, OptionError, delay_or_fail, events
from jobtastic_signals.sharing.origin import origin_of
from tests.support.calls import BOTH, CACHE, HERD
from tests.support.unit_apps import deliver, entry_of, published, real, work_off

EACH = {"refresh": True, "bypass": True, "on_duplicate": "rerun"}


@pytest.fixture
def app(new_app) -> Celery:
    return new_app()


def add_task(app: Celery, **options: Any) -> tuple[Task, list[Any]]:
    """A task whose runs return how many there were, and the arguments of its runs."""
    runs: list[Any] = []

    @app.task(name="proj.count", shared=False, **options)
    def count(n=1):
        runs.append(n)
        return len(runs)

    @app.task(name="proj.follows", shared=False)
    def follows(n):
        return n

    return real(count), runs


def done(task: Task, **options: Any) -> Any:
    """What a call returns once its messages are worked off."""
    result = task.apply_async(**options)
    work_off(task.app)
    return result.get(timeout=1)


def properties_of(message: Any) -> set[str]:
    return {*message.properties, *message.headers, *message.headers.get("jobtastic", {})}


# Options never reach the message.


@pytest.mark.parametrize("option", EACH)
@pytest.mark.parametrize("options", [BOTH, {"memleak_threshold": 0}], ids=["sharing", "not sharing"])
def test_an_option_of_one_call_does_not_reach_its_message(app, options, option):
    task, runs = add_task(app, **options)
    task.apply_async(**{option: EACH[option]})
    (message,) = published(app)
    assert not set(EACH) & {*message.properties, *message.headers, *message.decode()[2]}
    deliver(app, message)
    assert runs == [1]


def test_a_task_without_our_options_runs_whatever_its_call_asks_for(app):
    """Celery puts options that it does not know among the properties of the message."""
    task, runs = add_task(app)
    assert [done(task, refresh=True), done(task, bypass=True)] == [1, 2]
    for ask in (jobtastic_signals.refresh, jobtastic_signals.bypass):
        ask(task)
    work_off(app)
    assert runs == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("option", "value", "accepts"),
    [
        ("refresh", "yes", "True or False"),
        ("refresh", 1, "True or False"),
        ("bypass", None, "True or False"),
        ("on_duplicate", "wait", "'join', 'raise', 'drop', 'rerun'"),
        ("on_duplicate", None, "'join', 'raise', 'drop', 'rerun'"),
        ("on_duplicate", ["drop"], "'join', 'raise', 'drop', 'rerun'"),
    ],
)
@pytest.mark.parametrize("way", ["apply_async", "apply"])
def test_a_wrong_value_is_an_error_that_says_what_is_accepted(app, way, option, value, accepts):
    task, _ = add_task(app, **BOTH)
    with pytest.raises(OptionError, match=f"proj.count.*{option}=.*it takes {accepts}$"):
        getattr(task, way)(**{option: value})
    assert published(app) == []
    assert entry_of(task) is None


def test_refresh_and_bypass_contradict_each_other(app):
    task, _ = add_task(app, **BOTH)
    with pytest.raises(OptionError, match="one of the two"):
        task.apply_async(refresh=True, bypass=True)


@pytest.mark.parametrize("on_duplicate", ["raise", "drop", "rerun"])
def test_a_task_without_herd_avoidance_cannot_see_duplicates(app, on_duplicate):
    task, _ = add_task(app, **CACHE)
    with pytest.raises(OptionError, match="herd_avoidance_timeout"):
        task.apply_async(on_duplicate=on_duplicate)
    assert published(app) == []
    task.apply_async(on_duplicate="join")
    assert len(published(app)) == 1


@pytest.mark.parametrize(
    ("wrong", "accepts"),
    [
        ({"on_duplicate": "queue"}, "'join', 'raise', 'drop', 'rerun'"),
        ({"cache_stale_for": -1}, "the seconds"),
    ],
)
def test_a_wrong_option_of_a_task_is_an_error_that_says_what_is_accepted(app, wrong, accepts):
    with pytest.raises(OptionError, match=f"proj.count.*{next(iter(wrong))}=.*it takes {accepts}"):
        add_task(app, **BOTH, **wrong)


# Refresh and bypass, on each way of calling.


def by_apply_async(task: Task, **options: Any) -> None:
    task.apply_async(**options)


def by_signature(task: Task, **options: Any) -> None:
    task.s().apply_async(**options)


def by_set(task: Task, **options: Any) -> None:
    task.s().set(**options).delay()


def by_chain(task: Task, **options: Any) -> None:
    chain(task.app.tasks["proj.follows"].s(1), task.si().set(**options)).apply_async()


def by_group(task: Task, **options: Any) -> None:
    group([task.s().set(**options), task.app.tasks["proj.follows"].s(1)]).apply_async()


def by_chord(task: Task, **options: Any) -> None:
    follows = task.app.tasks["proj.follows"]
    chord([task.s().set(**options), follows.s(1)], follows.s()).apply_async()


def by_beat(task: Task, **options: Any) -> None:
    entry = ScheduleEntry("entry", task.name, timedelta(1), options=options, app=task.app)
    Scheduler(task.app, lazy=True).apply_async(entry, advance=False)


def by_link(task: Task, **options: Any) -> None:
    follows = task.app.tasks["proj.follows"]
    follows.apply_async((1,), link=task.si().set(**options))


def with_an_id(task: Task, **options: Any) -> None:
    task.apply_async(task_id=uuid.uuid4().hex, **options)


def later(task: Task, **options: Any) -> None:
    task.apply_async(countdown=1, **options)


def or_fail(task: Task, **options: Any) -> None:
    delay_or_fail(task.s().set(**options))


def eagerly(task: Task, **options: Any) -> None:
    task.app.conf.task_always_eager = True
    try:
        task.apply_async(**options)
    finally:
        task.app.conf.task_always_eager = False


def by_apply(task: Task, **options: Any) -> None:
    task.apply(**options)


def by_apply_of_a_signature(task: Task, **options: Any) -> None:
    task.s().set(**options).apply()


ignoring_its_result: dict[str, Any] = {"ignore_result": True}


def without_a_result(task: Task, **options: Any) -> None:
    task.apply_async(**ignoring_its_result, **options)


each_way = pytest.mark.parametrize(
    "way",
    [
        by_apply_async,
        by_signature,
        by_set,
        by_chain,
        by_group,
        by_chord,
        by_beat,
        by_link,
        with_an_id,
        later,
        or_fail,
        eagerly,
        by_apply,
        by_apply_of_a_signature,
        without_a_result,
    ],
)

each_kind = pytest.mark.parametrize("kind", [BOTH, CACHE], ids=["with herd avoidance", "without"])


@each_way
@each_kind
def test_refresh_runs_and_replaces_the_result(app, kind, way):
    task, runs = add_task(app, **kind)
    assert done(task) == 1
    way(task, refresh=True)
    work_off(app)
    assert done(task) == 2
    assert len(runs) == 2


@each_way
@each_kind
def test_bypass_runs_and_leaves_the_result(app, kind, way):
    task, runs = add_task(app, **kind)
    assert done(task) == 1
    way(task, bypass=True)
    work_off(app)
    assert done(task) == 1
    assert len(runs) == 2


@each_way
def test_bypass_stores_nothing(app, way):
    task, runs = add_task(app, **BOTH)
    way(task, bypass=True)
    work_off(app)
    assert runs == [1]
    assert entry_of(task) is None


@each_way
def test_without_an_option_the_stored_result_answers(app, way):
    """So the tests above cannot pass without it."""
    task, runs = add_task(app, **BOTH)
    assert done(task) == 1
    way(task)
    work_off(app)
    assert runs == [1]


def test_bypass_needs_no_key(app):
    task, runs = add_task(app, **BOTH)
    result = task.apply_async((object,), bypass=True, serializer="pickle")
    app.conf.accept_content = ["pickle", "json"]
    work_off(app)
    assert (result.get(timeout=1), runs) == (1, [object])


# The helpers.


@pytest.mark.parametrize("target", [lambda task: task, lambda task: task.s()], ids=["task", "signature"])
def test_helpers_have_the_verbs_of_delay(app, target):
    task, _ = add_task(app, **BOTH)
    assert done(task) == 1
    asked: list[Callable[..., Any]] = [jobtastic_signals.refresh, jobtastic_signals.bypass]
    results = [ask(target(task), n=1) for ask in asked]
    work_off(app)
    assert [result.get(timeout=1) for result in results] == [2, 3]
    assert done(task) == 2


def test_a_helper_outweighs_the_options_of_a_signature(app):
    task, _ = add_task(app, **BOTH)
    jobtastic_signals.bypass(task.s().set(refresh=True, queue="slow"))
    assert published(app) == []  # They are in the queue that the signature names.
    jobtastic_signals.refresh(task.s().set(bypass=True))
    (message,) = published(app)
    assert message.headers["jobtastic"]["fresh"] is True
    assert "bypass" not in message.headers["jobtastic"]


@pytest.mark.parametrize("helper", [jobtastic_signals.refresh, jobtastic_signals.bypass])
def test_a_helper_takes_no_canvas_and_no_name(app, helper):
    task, _ = add_task(app, **BOTH)
    for wrong in ("proj.count", group(task.s(), task.s()), None):
        with pytest.raises(TypeError):
            helper(wrong)


# Retries and stamps.


@pytest.mark.parametrize("option", ["refresh", "bypass"])
def test_a_retry_keeps_what_its_call_asked_for(app, option):
    runs = []

    @app.task(bind=True, name="proj.flaky", shared=False, max_retries=1, **BOTH)
    def flaky(self):
        runs.append(self.request.retries)
        if self.request.retries == 0 and len(runs) > 1:
            raise self.retry(countdown=1)
        return len(runs)

    task = real(flaky)
    assert done(task) == 1
    assert done(task, **{option: True}) == 3
    assert runs == [0, 0, 1]
    assert done(task) == (3 if option == "refresh" else 1)


def test_what_a_stamp_asks_for_costs_the_sharing_of_its_own_message_only(app):
    task, runs = add_task(app, **BOTH)
    assert done(task) == 1
    for stamp in ({"fresh": True}, {"bypass": True}, {"on_duplicate": "drop"}, {"on_duplicate": "raise"}):
        task.apply_async(task_id=uuid.uuid4().hex)
        (message,) = published(app)
        message.headers["jobtastic"] = {"id": message.headers["id"], **stamp}
        deliver(app, message)
        assert done(task) in (1, 2)
    assert len(runs) == 3
    message.headers["jobtastic"] = {"id": "of another message", "bypass": True, "fresh": True}
    deliver(app, message)
    assert len(runs) == 3


# What callers get.


def test_the_error_has_its_fields_wherever_it_comes_from(app):
    error = DuplicateCallError("proj.count", "owner", True, 20.0, 90.0)
    fields = vars(error)
    assert fields == {
        "task_name": "proj.count",
        "owner": "owner",
        "is_running": True,
        "lease_left": 20.0,
        "seconds_left": 90.0,
    }
    assert vars(pickle.loads(pickle.dumps(error))) == fields
    app.backend.store_result("an-id", error, states.FAILURE)
    with pytest.raises(DuplicateCallError) as raised:
        app.AsyncResult("an-id").get(timeout=1)
    assert (vars(raised.value), str(raised.value)) == (fields, str(error))


def test_a_dropped_call_is_announced(app):
    task, _ = add_task(app, **HERD)
    owner = task.delay()
    with events.call_dropped.connected_to(lambda task, **info: heard.append(info)):
        heard: list[Any] = []
        dropped = task.apply_async(on_duplicate="drop")
    assert [(each["task_id"], each["owner"]) for each in heard] == [(dropped.id, owner.id)]
    assert (dropped.state, dropped.get(), dropped.ready()) == (states.IGNORED, None, True)


def test_a_result_knows_its_origin(app):
    task, _ = add_task(app, **BOTH)
    own = task.delay()
    joined, dropped = task.delay(), task.apply_async(on_duplicate="drop")
    work_off(app)
    cached = task.delay()
    origins = [origin_of(each) for each in (own, joined, dropped, cached)]
    assert [each and each.kind for each in origins] == ["own", "joined", "dropped", "cached"]
    assert {each and each.owner for each in origins} == {own.id}
    assert len({each and each.seat for each in origins}) == 4
    assert len({each and each.key for each in origins}) == 1
    assert [each is not None and each.age is not None for each in origins] == [False, False, False, True]
    assert origin_of(app.AsyncResult(own.id)) is None


def test_a_call_that_is_dropped_does_not_count_as_one_that_joined(app):
    task, _ = add_task(app, **HERD)
    task.delay()
    task.delay()
    task.apply_async(on_duplicate="drop")
    with pytest.raises(DuplicateCallError):
        task.apply_async(on_duplicate="raise")
    assert entry_of(task).joined == 1
