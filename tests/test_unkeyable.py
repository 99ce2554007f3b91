"""Arguments without a canonical form: refused at the caller, or not shared, and never a wrong key."""

from __future__ import annotations

import datetime
import inspect
import logging
import pathlib
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group, states

from jobtastic_signals import SettingError, UnkeyableError
from jobtastic_signals.keys import canonical
from jobtastic_signals.keys.canonical import MAX_DEPTH, register_type
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores.memory import MemoryStore

from . import unit_apps
from .unit_apps import deliver, entry_of, key_of, published, real, work_off

new_app = unit_apps.new_app

SERIALIZERS = [name for name in ("json", "pickle", "yaml", "msgpack") if find_spec(name) is not None]
BOTH = {"herd_avoidance_timeout": 60, "cache_duration": 60}


class Plain:
    """Has neither a canonical form nor a representation of its own; pickle carries it."""

    def method(self) -> None: ...


class Heir(Plain): ...


@dataclass
class Note:
    """Plain data, of a class."""

    text: str

    @cached_property
    def shout(self) -> str:
        return self.text.upper()


def cyclic() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


#: Each makes another one.
UNKEYABLE = {
    "object": Plain,
    "generator": lambda: (n for n in [1]),
    "lock": threading.Lock,
    "cyclic list": cyclic,
    "2,000 levels": lambda: deep(2000),
}

#: Without a canonical form, and yet carried by a serializer.
CARRIED = [
    pytest.param(serializer, make, id=f"{serializer}-{kind}")
    for serializer, kind, make in [
        ("pickle", "object", Plain),
        ("pickle", "complex", lambda: 1j),
        ("pickle", "cyclic list", cyclic),
        ("json", "250 levels", lambda: deep(MAX_DEPTH + 50)),
        ("yaml", "cyclic list", cyclic),
        ("msgpack", "250 levels", lambda: deep(MAX_DEPTH + 50)),
    ]
    if serializer in SERIALIZERS
]

on_all_serializers = pytest.mark.parametrize("serializer", SERIALIZERS)
of_all_kinds = pytest.mark.parametrize("make", UNKEYABLE.values(), ids=UNKEYABLE)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys under which anything was claimed or stored."""
    keys: list[str] = []

    def spied(original: Callable[..., Any]) -> Callable[..., Any]:
        def spy(self: MemoryStore, key: str, *args: Any, **kwargs: Any) -> Any:
            keys.append(key)
            return original(self, key, *args, **kwargs)

        return spy

    for name in ("admit", "settle"):
        monkeypatch.setattr(MemoryStore, name, spied(getattr(MemoryStore, name)))
    return keys


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What this package has warned of so far."""
    caplog.set_level(logging.WARNING)
    return lambda: [
        record.getMessage() for record in caplog.records if record.name.startswith("jobtastic_signals")
    ]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards."""
    monkeypatch.setattr(canonical, "_REGISTERED", {})


def speaking(serializer: str, **conf: Any) -> dict[str, Any]:
    return {"task_serializer": serializer, "accept_content": ["json", serializer], **conf}


def take(x=None, *rest, flag=None, **more): ...


def add_task(app: Celery, body: Callable[..., Any] = take, name: str = "proj.take", **options: Any) -> Task:
    """A task that shares; of any arguments, unless *body* takes others."""
    # Celery makes source text of it, which "<lambda>" is not.
    body.__name__ = "take"
    return real(app.task(body, name=name, shared=False, **{**BOTH, **options}))


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


@on_all_serializers
@of_all_kinds
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
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
        (([Note([1, Plain()])],), {}, "x", "x[0].text[1]"),
    ],
)
def test_the_error_names_the_argument_and_the_place_in_it(new_app, serializer, args, kwargs, argument, place):
    task = add_task(new_app(**speaking(serializer)))
    with pytest.raises(UnkeyableError) as caught:
        task.delay(*args, **kwargs)
    assert caught.value.argument == argument
    assert f"argument {argument!r} has no canonical form: {place} is of type {__name__}.Plain." in str(
        caught.value
    )
    assert f"as ({argument!r}, my_function)" in str(caught.value)


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
    assert stored == []
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
            ends.append(None)
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
        SettingError, match=r"jobtastic_key_required=.* is not accepted: it takes True or False"
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


# What to_str makes.

ADDRESSED = {
    "object": Plain,
    "in a list": lambda: [1, Plain()],
    "deep in a dict": lambda: {"a": (1, [Plain()])},
    "in a set": lambda: {Plain()},
    "in a dataclass": lambda: Note(Plain()),
    "generator": UNKEYABLE["generator"],
    "lock": threading.Lock,
    "lambda": lambda: lambda: None,
    "bound method": lambda: Plain().method,
    "iterator": lambda: iter(Plain, 5),
}


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("to_str", [str, repr, lambda value: f"<{value!s}>"], ids=["str", "repr", "lambda"])
@pytest.mark.parametrize("make", ADDRESSED.values(), ids=ADDRESSED)
def test_a_text_with_an_address_is_refused(new_app, stored, serializer, to_str, make):
    app = new_app(**speaking(serializer))
    task = add_task(app, significant_kwargs=[("x", to_str)])
    with pytest.raises(UnkeyableError, match=r"the to_str of argument 'x' gave .* at 0x") as caught:
        task.delay(make())
    assert "has an address in memory: no other process has the same" in str(caught.value)
    assert caught.value.argument == "x"
    assert (published(app), stored) == ([], [])


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("to_str", [str, repr], ids=["str", "repr"])
@pytest.mark.parametrize(
    "value",
    [
        "the crash was at 0x7f12ab34",
        ["fine", " at 0x7f12ab34"],
        {" at 0x7f12ab34": (" at 0x7f12ab34",)},
        b" at 0x7f12ab34",
        pathlib.PurePosixPath("/ at 0x7f12ab34"),
        Note(" at 0x7f12ab34"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_that_merely_says_so_is_fine(new_app, serializer, to_str, value):
    task = add_task(new_app(**speaking(serializer)), significant_kwargs=[("x", to_str)])
    assert key_of(task, value) == key_of(task, value) != key_of(task, "another")


def test_a_text_of_what_tells_objects_apart_is_fine(new_app):
    app = new_app(**speaking("pickle"))
    task = add_task(app, significant_kwargs=[("x", lambda value: type(value).__name__)])
    assert task.delay(Plain()).id == task.delay(Plain()).id != task.delay(Heir()).id
    assert len(published(app)) == 2


@pytest.mark.parametrize("required", [True, False])
def test_a_to_str_that_fails_is_told_as_such(new_app, warnings, required):
    app = new_app(**speaking("pickle", jobtastic_key_required=required))
    task = add_task(app, significant_kwargs=["flag", ("x", lambda value: value["no such thing"])])
    if required:
        with pytest.raises(UnkeyableError, match=r"to_str of argument 'x' failed: KeyError") as caught:
            task.delay({})
        assert isinstance(caught.value.__cause__, KeyError)
    else:
        assert task.delay({}).id != task.delay({}).id
        assert len(warnings()) == 1
    assert len(published(app)) == (0 if required else 2)


# Defaults.


def test_a_mutable_default_counts_as_it_was(new_app):
    """Though the body of a task that remembers in it changes it."""
    app = new_app()

    def remember(x, seen=[]):  # noqa: B006
        seen.append(x)
        return len(seen)

    task = add_task(app, remember)
    first = task.delay(1)
    assert task.delay(1, []).id == first.id != task.delay(1, [1]).id
    work_off(app)
    assert task.delay(1).id == task.delay(x=1, seen=[]).id == first.id


def test_a_mutable_default_counts_alike_in_a_process_that_ran_the_body_before(new_app, tmp_path):
    """A worker makes its first key after its first run, since messages carry theirs."""

    def remember(x, seen={}):  # noqa: B006
        seen[str(x)] = x

    app, worker = (new_app(jobtastic_store=f"disk://{tmp_path}/store") for _ in range(2))
    task, theirs = add_task(app, remember), add_task(worker, remember)
    task.delay(1)
    (message,) = published(app)
    deliver(worker, message)
    assert key_of(theirs, 1) == key_of(task, 1)


NOT_GIVEN = object()


@on_all_serializers
def test_a_default_without_a_form_is_a_value_like_no_other(new_app, serializer):
    app = new_app(**speaking(serializer))
    task = add_task(app, lambda x, y=NOT_GIVEN: y is NOT_GIVEN)
    omitted = task.delay(1)
    assert task.delay(x=1).id == omitted.id
    others = [None, "", b"=", "=", 1, [], {}, "object"]
    assert len({omitted.id, *(task.delay(1, other).id for other in others)}) == len(others) + 1
    assert task.delay(2).id != omitted.id
    with pytest.raises(UnkeyableError, match=r"y is of type builtins\.object"):
        task.delay(1, NOT_GIVEN)
    work_off(app)
    assert task.delay(1).get(timeout=1) is True
    by_name = app.send_task(task.name, (1,))
    assert work_off(app) == [by_name.id]
    assert entry_of(task, 1).owner == omitted.id


def test_a_default_whose_text_has_an_address_is_refused(new_app):
    task = add_task(new_app(), lambda x=NOT_GIVEN: None, significant_kwargs=[("x", str)])
    with pytest.raises(UnkeyableError, match="has an address in memory"):
        task.delay()
    assert key_of(task, "given")


# Near the interpreter's limit of recursion.


@pytest.fixture
def shallow() -> Iterator[None]:
    """A limit that is soon reached: a thousand frames down, and up again, take their time."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 350)
    yield
    sys.setrecursionlimit(before)


def down(levels: int, function: Callable[[], Any]) -> Any:
    return function() if levels == 0 else down(levels - 1, function)


def near_the_limit(function: Callable[[], Any]) -> list[Any]:
    """What *function* returns with fewer and fewer frames left, where it does."""
    outcomes = []
    for levels in range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()):
        try:
            outcomes.append(down(levels, function))
        except (UnkeyableError, RecursionError) as error:
            outcomes.append(error)
    values = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    # Else this proves nothing.
    assert 0 < len(values) < len(outcomes)
    return values


@pytest.mark.usefixtures("shallow")
@on_all_serializers
@pytest.mark.parametrize(
    "value",
    [1, {1: (2, [3])}, [[[[["a", {"b": (1,)}]]]]], {(1, 2), "a"}, Note("x")],
    ids=lambda value: type(value).__name__,
)
def test_a_key_that_is_made_deep_in_a_recursion_is_the_right_one(new_app, serializer, value):
    app = new_app(**speaking(serializer))
    task = add_task(app)
    assert set(near_the_limit(lambda: key_of(task, value))) == {key_of(task, value)}


@pytest.mark.usefixtures("shallow")
@on_all_serializers
def test_a_default_that_is_read_deep_in_a_recursion_counts_right(new_app, serializer):
    def take(x, y=[{"a": [(1,), {2: {3: 4}}]}]): ...  # noqa: B006

    app = new_app(**speaking(serializer))
    right = key_of(add_task(app, take), 1)
    keys = set()
    for levels in range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()):
        task = add_task(new_app(**speaking(serializer)), take)
        for depth in (levels, 0):
            try:
                keys.add(down(depth, lambda task=task: key_of(task, 1)))
            except (UnkeyableError, RecursionError):
                assert depth
    assert keys == {right}


@pytest.mark.usefixtures("shallow")
def test_a_call_from_deep_in_a_recursion_is_shared_refused_or_published_with_the_right_key(new_app):
    app = new_app()
    task = add_task(app)
    first = task.delay({1: (2,)})
    published(app)
    ids = near_the_limit(lambda: task.delay({1: (2,)}).id)
    stamps = {message.headers["id"]: message.headers.get("jobtastic") for message in published(app)}
    assert set(ids) <= {first.id, *stamps}
    assert {stamp["key"] for stamp in stamps.values() if stamp} <= {key_of(task, {1: (2,)})}


# Registered types.


def test_a_registered_type_has_keys(new_app, registry):
    app = new_app(**speaking("pickle"))
    task = add_task(app)
    register_type(Note, lambda note: len(note.text))
    register_type(Plain, lambda plain: None)
    assert task.delay(Plain()).id == task.delay([Plain()][0]).id != task.delay(None).id
    assert task.delay(Note("ab")).id == task.delay(Note("cd")).id != task.delay(Note("abc")).id
    assert task.delay(Note("ab")).id != task.delay(2).id


def test_a_subclass_is_known_by_its_own_name_and_its_nearest_registration(new_app, registry):
    task = add_task(new_app(**speaking("pickle")))
    register_type(Plain, lambda plain: 1)
    inherited = key_of(task, Heir())
    assert inherited != key_of(task, Plain())
    register_type(Heir, lambda heir: 2)
    assert key_of(task, Heir()) != inherited
    register_type(Plain, lambda plain: pytest.fail("not the nearest"))
    assert key_of(task, Heir())


def test_a_type_can_be_registered_again(new_app, registry):
    task = add_task(new_app(**speaking("pickle")))
    keys = []
    for content in (1, 2, 1):
        register_type(Plain, lambda plain, content=content: content)
        keys.append(key_of(task, Plain()))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    "cls", [int, bool, str, list, dict, type(None), object, datetime.date, pathlib.PosixPath]
)
def test_pythons_own_types_are_not_to_be_registered(registry, cls):
    with pytest.raises(ValueError, match=f"{cls.__name__} cannot be registered"):
        register_type(cls, str)


@pytest.mark.parametrize("cls", [5, "Plain", None, Plain(), len])
def test_only_a_class_can_be_registered(registry, cls):
    with pytest.raises(TypeError, match="register_type takes a class, and not"):
        register_type(cls, str)


@pytest.mark.parametrize("content", [None, "name", 5])
def test_only_with_a_function(registry, content):
    with pytest.raises(TypeError, match=f"takes a function of an instance of Plain, not {content!r}"):
        register_type(Plain, content)


@pytest.mark.parametrize("required", [True, False])
def test_a_registered_function_that_fails_is_named(new_app, registry, warnings, required):
    app = new_app(**speaking("pickle", jobtastic_key_required=required))
    task = add_task(app)
    register_type(Plain, lambda plain: plain.number)
    expected = "x[1] is of type Plain, whose registered function failed: AttributeError"
    if required:
        with pytest.raises(UnkeyableError) as caught:
            task.delay([1, Heir()])
        assert expected in str(caught.value)
    else:
        assert task.delay([1, Heir()]).id != task.delay([1, Heir()]).id
        assert [expected in warning for warning in warnings()] == [True]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (lambda plain: threading.Lock(), "the content of x['rows'][0] is of type _thread."),
        (
            lambda plain: [1, {"a": iter(())}],
            "the content of x['rows'][0][1]['a'] is of type builtins.tuple_it",
        ),
        (lambda plain: plain, "nests deeper than 200 levels, or contains itself"),
        (lambda plain: [plain], "nests deeper than 200 levels, or contains itself"),
    ],
    ids=["lock", "nested", "itself", "a list of itself"],
)
def test_registered_content_without_a_form_is_located(new_app, registry, content, place):
    register_type(Plain, content)
    with pytest.raises(UnkeyableError) as caught:
        add_task(new_app(**speaking("pickle"))).delay({"rows": [Plain()]})
    assert place in str(caught.value)


@dataclass
class Row(list):
    """Its items are no fields."""

    name: str = "x"


class Crooked(tuple):
    """Says that it has other fields than it has."""

    _fields = ("x", "y")


@pytest.mark.parametrize(
    "make", [Row, lambda: Crooked((1,)), lambda: [Row()], lambda: type("Text", (str,), {})("a")]
)
def test_what_can_hold_more_than_its_fields_is_refused(make):
    with pytest.raises(TypeError, match=r"value(\[0\])? is of type .*"):
        canonical.encode(make())


def test_a_key_of_a_dict_that_cannot_be_shown_does_not_hide_what_is_refused():
    with pytest.raises(TypeError, match=r"value\[.*\] is of type builtins\.object"):
        canonical.encode({10**5000: object()})


def test_what_was_set_besides_the_fields_counts_and_what_was_computed_does_not():
    plain, marked, computed = Note("x"), Note("x"), Note("x")
    marked.more = 1
    assert computed.shout == "X"
    assert canonical.encode(plain) == canonical.encode(computed) != canonical.encode(marked)


def test_a_model_that_was_never_filled_is_refused():
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Filled", x=(int, ...), __module__=__name__)
    with pytest.raises(TypeError, match="value is incomplete"):
        canonical.encode(model.__new__(model))


def test_a_class_from_inside_a_function_is_refused(new_app, registry):
    class Local: ...

    @dataclass
    class LocalNote:
        text: str

    register_type(Local, lambda local: 1)
    task = add_task(new_app(**speaking("pickle")))
    for value in (Local(), [LocalNote("x")]):
        with pytest.raises(
            UnkeyableError, match="which is defined in a function, so others can have its name"
        ):
            task.delay(value)


@pytest.mark.parametrize(
    "options", [{"cache_duration": -1}, {"memleak_threshold": 50}, {"cache_prefix": "x"}]
)
def test_a_task_that_shares_nothing_needs_no_key(new_app, options):
    app = new_app(task_serializer="pickle", accept_content=["pickle", "json"])
    runs = []

    @app.task(name="proj.task", shared=False, **options)
    def task(value):
        runs.append(type(value))

    task.delay(Plain())
    work_off(app)
    assert runs == [Plain]
