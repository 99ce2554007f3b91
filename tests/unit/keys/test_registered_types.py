"""Types that have keys because somebody registered them."""

from __future__ import annotations

import datetime
import pathlib
import threading
from dataclasses import dataclass

import pytest

from jobtastic_signals import UnkeyableError
from jobtastic_signals.keys import canonical
from jobtastic_signals.keys.canonical import register_type
from tests.support.unit_apps import key_of, work_off
from tests.support.unkeyable import (
    Heir,
    Note,
    Plain,
    add_task,
    speaking,
)

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
        register_type(Plain, lambda plain, content=content: content)  # type: ignore[misc]
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
    with pytest.raises(TypeError, match="register_type takes a class, and"):
        register_type(cls, str)


@pytest.mark.parametrize("content", [None, "name", 5])
def test_only_with_a_function(registry, content):
    with pytest.raises(
        TypeError, match=f"takes a function of an instance of Plain, and {content!r} is not one"
    ):
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
    marked.more = 1  # type: ignore[attr-defined]
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
