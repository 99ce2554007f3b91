"""Arguments without a canonical form: refused at the caller, or not shared, and never a wrong key."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest
from celery import Celery, chain, chord, group, states

from jobtastic_signals import SettingError, UnkeyableError
from jobtastic_signals.settings import Settings
from tests.support.rare import mainly
from tests.support.unit_apps import published, work_off
from tests.support.unkeyable import (
    CARRIED,
    Note,
    Plain,
    add_task,
    of_all_kinds,
    on_all_serializers,
    speaking,
)

# Refused at the caller.

CALLS = {
    "delay": lambda task, value: task.delay(value),
    "by name": lambda task, value: task.delay(x=value),
    "apply_async": lambda task, value: task.apply_async(kwargs={"x": value}),
    "its own id": lambda task, value: task.apply_async((value,), task_id=uuid.uuid4().hex),
    "later": lambda task, value: task.apply_async((value,), countdown=5),
    "signature": lambda task, value: task.s(value).delay(),
    "partial signature": lambda task, value: task.s(flag=1).delay(value),
    "immutable signature": lambda task, value: task.si(value).apply_async(),
    "group": lambda task, value: group([task.s(value), task.s(1)], app=task.app).delay(),
    "chain": lambda task, value: chain(task.s(value), task.si(1), app=task.app).delay(),
    "chord": lambda task, value: chord([task.s(value), task.s(1)], task.si(1), app=task.app).delay(),
}

#: The normal tests have these with each value, and the thorough ones all.
SOME_CALLS = [CALLS[name] for name in ("delay", "later", "chord")]


@on_all_serializers
@of_all_kinds
@pytest.mark.parametrize("call", mainly(*SOME_CALLS, of=CALLS.values()), ids=CALLS)
def test_a_call_is_refused_before_anything_happens(new_app, stored, serializer, make, call):
    app = new_app(**speaking(serializer))
    task = add_task(app)
    with pytest.raises(
        UnkeyableError, match=r"task 'proj\.take': argument 'x' has no canonical form: x"
    ) as e:
        call(task, make())
    assert e.value.argument == "x"
    assert (published(app), stored) == ([], [])


@on_all_serializers
@of_all_kinds
def test_an_always_eager_app_refuses_it_as_well(new_app, stored, serializer, make):
    """So that a test suite tells what production would."""
    app, runs = new_app(**speaking(serializer, task_always_eager=True)), []
    task = add_task(app, lambda x: runs.append(x))
    with pytest.raises(UnkeyableError, match="argument 'x'"):
        task.delay(make())
    with pytest.raises(UnkeyableError, match="argument 'x'"):
        task.s(make()).apply_async()
    assert (runs, stored) == ([], [])


@on_all_serializers
@pytest.mark.parametrize(
    ("args", "kwargs", "argument", "place"),
    [
        ((Plain(),), {}, "x", "x"),
        ((), {"x": Plain()}, "x", "x"),
        ((), {"flag": Plain()}, "flag", "flag"),
        ((1, 2, Plain()), {}, "rest", "rest[1]"),
        ((1, [2, {"a": (Plain(),)}]), {}, "rest", "rest[0][1]['a'][0]"),
        ((), {"first": 1, "caught": Plain()}, "caught", "caught"),
        ((), {"caught": {"a": [1, Plain()]}}, "caught", "caught['a'][1]"),
        ((), {"more": Plain()}, "more", "more"),
        (({"rows": [1, 2, 3, Plain()]},), {}, "x", "x['rows'][3]"),
        ((({1}, {"a": [Plain(), Plain()]}),), {}, "x", "x[1]['a'][0]"),
        (([{Plain(): 1}],), {}, "x", "a key of x[0]"),
        (([{1, Plain()}],), {}, "x", "an item of x[0]"),
        (([Note([1, Plain()])],), {}, "x", "x[0].text[1]"),  # type: ignore[arg-type]
    ],
)
def test_the_error_names_the_argument_and_the_place_in_it(new_app, serializer, args, kwargs, argument, place):
    task = add_task(new_app(**speaking(serializer)))
    with pytest.raises(UnkeyableError) as caught:
        task.delay(*args, **kwargs)
    assert caught.value.argument == argument
    assert (
        f"argument {argument!r} has no canonical form: {place} is of type {Plain.__module__}.Plain."
        in str(caught.value)
    )
    assert remedy_for(serializer, argument) in str(caught.value)


class Model:
    """As Django's and others' models, it has its primary key under a name that is always the same."""

    pk = 5


class MappedModel:
    """As SQLAlchemy's models."""

    __mapper__ = None


@on_all_serializers
@pytest.mark.parametrize(("model", "primary_key"), [(Model, "pk"), (MappedModel, "id")])
@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: [{"rows": value}]], ids=["plain", "deep"]
)
def test_for_a_model_the_error_suggests_its_primary_key(new_app, serializer, model, primary_key, wrap):
    task = add_task(new_app(**speaking(serializer)))
    with pytest.raises(UnkeyableError) as caught:
        task.delay(wrap(model()))
    assert f"{model.__name__}; pass its primary key ({primary_key}) instead" in str(caught.value)
    assert remedy_for(serializer, "x") in str(caught.value)


def remedy_for(serializer, argument):
    """What helps with an argument that only pickle can carry."""
    if serializer == "pickle":
        return f"Give it a to_str in significant_kwargs, such as ({argument!r}, my_function)"
    return f"The serializer {serializer} cannot carry it, so pass plain data that identifies it"


def test_an_argument_that_does_not_count_may_be_anything(new_app):
    app = new_app(**speaking("pickle"))
    task = add_task(app, significant_kwargs=["flag"])
    assert task.delay(Plain(), Plain(), other=Plain()).id == task.delay().id
    assert len(published(app)) == 1


# Not required.


@pytest.mark.parametrize(("serializer", "make"), CARRIED)
def test_where_no_key_is_required_each_call_has_its_own_run(new_app, stored, warnings, serializer, make):
    app, runs = new_app(**speaking(serializer, jobtastic_key_required=False)), []
    task = add_task(app, lambda x: runs.append(x))
    results = [task.delay(make()), task.s(make()).delay(), task.apply_async(kwargs={"x": make()})]
    ids = [result.id for result in results]
    assert work_off(app) == ids
    assert len(set(ids)) == len(runs) == 3
    assert [result.state for result in results] == [states.SUCCESS] * 3
    # On a busy machine a run takes long enough to be remembered.
    assert [key for key in stored if not key.startswith("history:")] == []
    (warning,) = warnings()
    assert "task 'proj.take': argument 'x' has no canonical form" in warning
    assert warning.endswith("; such calls go unshared")


@on_all_serializers
@of_all_kinds
def test_what_cannot_be_sent_fails_as_without_the_plugin(new_app, serializer, make):
    ends = []
    for plugin in (True, False):
        app = new_app(plugin=plugin, **speaking(serializer, jobtastic_key_required=False))
        try:
            add_task(app).delay(make())
        except Exception as error:
            ends.append(type(error))
        else:
            ends.append(None)  # type: ignore[arg-type]
        assert len(published(app)) == (ends[-1] is None)
    assert ends[0] is ends[1]


def test_a_call_without_a_key_does_not_disturb_those_with_one(new_app, warnings):
    app = new_app(**speaking("pickle", jobtastic_key_required=False))
    task = add_task(app)
    before = task.delay(1)
    for _ in range(5):
        task.delay(Plain())
    assert task.delay(1).id == before.id
    assert len(work_off(app)) == 6
    assert task.delay(1).id == before.id
    assert len(warnings()) == 1


def test_each_argument_of_each_task_is_warned_of_once(new_app, warnings):
    app = new_app(**speaking("pickle", jobtastic_key_required=False))
    task = add_task(app)
    other = add_task(app, lambda x: x, name="proj.other")
    for _ in range(3):
        task.delay(Plain())
        task.delay(1, Plain())
        task.delay(caught=Plain())
        other.delay(Plain())
    told = [warning.partition(" has no")[0] for warning in warnings()]
    assert told == [
        "task 'proj.take': argument 'x'",
        "task 'proj.take': argument 'rest'",
        "task 'proj.take': argument 'caught'",
        "task 'proj.other': argument 'x'",
    ]


def test_where_no_key_is_required_a_canvas_and_an_eager_app_work(new_app, stored):
    app, runs = new_app(**speaking("pickle", jobtastic_key_required=False)), []
    task = add_task(app, lambda x: runs.append(x))
    members = group([task.s(Plain()), task.s(Plain())], app=app).delay()
    chained = chain(task.s(Plain()), task.si(Plain()), app=app).delay()
    work_off(app)
    assert (members.successful(), chained.state, len(runs)) == (True, states.SUCCESS, 4)
    app.conf.task_always_eager = True
    assert task.delay(Plain()).successful()
    assert (len(runs), stored) == (5, [])


@pytest.mark.parametrize("value", [None, "no", "False", 1, 0, []])
def test_the_setting_takes_nothing_but_true_and_false(new_app, value):
    task = add_task(new_app())
    task.app.conf.jobtastic_key_required = value
    with pytest.raises(
        SettingError, match=r"jobtastic_key_required=.* is not accepted: it accepts True or False"
    ):
        task.delay(1)


@pytest.mark.parametrize("value", [True, False])
def test_the_setting_works_in_djangos_namespace(value):
    app = Celery("proj", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_JOBTASTIC_KEY_REQUIRED=value), namespace="CELERY")
    assert Settings.read(app).key_required is value


# On a worker, and run directly.


@of_all_kinds
@pytest.mark.parametrize("required", [True, False])
def test_a_direct_run_goes_unshared(new_app, stored, warnings, make, required):
    runs = []
    task = add_task(new_app(jobtastic_key_required=required), lambda x, y=1: runs.append(x))
    assert all(task.apply(args=(make(),)).successful() for _ in range(3))
    assert all(task.apply(args=(1,), kwargs={"y": make()}).successful() for _ in range(3))
    assert (len(runs), stored) == (6, [])
    assert [warning.partition(" has no")[0][-3:] for warning in warnings()] == ["'x'", "'y'"]


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(("serializer", "make"), CARRIED)
def test_a_worker_runs_what_came_without_a_key(new_app, stored, warnings, serializer, make, required):
    """By ``send_task``, which asks nobody."""
    app, runs = new_app(**speaking(serializer, jobtastic_key_required=required)), []
    task = add_task(app, lambda x: runs.append(x))
    results = [app.send_task(task.name, (make(),)) for _ in range(3)]
    assert work_off(app) == [result.id for result in results]
    assert [result.state for result in results] == [states.SUCCESS] * 3
    assert (len(runs), stored, len(warnings())) == (3, [], 1)


@pytest.mark.parametrize("required", [True, False])
def test_a_run_without_a_key_can_fail(new_app, stored, required):
    app = new_app(**speaking("pickle", jobtastic_key_required=required))
    task = add_task(app, lambda x: 1 / 0)
    result = app.send_task(task.name, (Plain(),))
    work_off(app)
    assert isinstance(result.result, ZeroDivisionError)
    assert stored == []


on_a_worker = pytest.mark.parametrize("required", [True, False])


@on_a_worker
def test_a_run_without_a_key_can_retry(new_app, required):
    """Celery rejects a message whose retry cannot be published, and nobody hears of it."""
    app = new_app(**speaking("pickle", jobtastic_key_required=required))

    def stubborn(self, x):
        if self.request.retries == 0:
            raise self.retry()
        return "well"

    task = add_task(app, stubborn, bind=True, default_retry_delay=0)
    result = app.send_task(task.name, (Plain(),))
    assert work_off(app) == [result.id, result.id]
    assert result.get(timeout=1) == "well"


CANVAS = {
    "link": lambda made, task: made.apply_async(link=task.s()),
    "chain": lambda made, task: chain(made.s(), task.s(), app=task.app).delay(),
    "later member": lambda made, task: chain(made.s(), task.si(Plain()), app=task.app).delay(),
    "chord": lambda made, task: chord([made.s(), made.s()], task.s(), app=task.app).delay(),
}


@on_a_worker
@pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning")
@pytest.mark.parametrize("call", CANVAS.values(), ids=CANVAS)
def test_a_canvas_goes_on_with_what_has_no_key(new_app, required, call):
    """The caller is not there any more; the run before would be a failure though its body succeeded."""
    pickled = {"result_serializer": "pickle", "result_accept_content": ["pickle"]}
    app, runs = new_app(**speaking("pickle", jobtastic_key_required=required, **pickled)), []
    task = add_task(app, lambda x: runs.append(x))

    @app.task(name="proj.made", shared=False)
    def made():
        return Plain()

    result = call(made, task)
    # The chord's members are polled for, by a task of Celery's own.
    work_off(app)
    assert len(runs) == 1
    assert result.state == states.SUCCESS
