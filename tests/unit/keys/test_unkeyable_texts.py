"""Texts that ``to_str`` makes, defaults, and keys near the limit of recursion."""

from __future__ import annotations

import inspect
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobtastic_signals import UnkeyableError
from tests.support.rare import mainly
from tests.support.unit_apps import deliver, entry_of, key_of, published, work_off
from tests.support.unkeyable import (
    SERIALIZERS,
    UNKEYABLE,
    Heir,
    Note,
    Plain,
    add_task,
    on_all_serializers,
    speaking,
)

on_two_serializers = pytest.mark.parametrize("serializer", mainly("json", "pickle", of=SERIALIZERS))

# What to_str makes.

ADDRESSED = {
    "object": Plain,
    "in a list": lambda: [1, Plain()],
    "deep in a dict": lambda: {"a": (1, [Plain()])},
    "in a set": lambda: {Plain()},
    "in a dataclass": lambda: Note(Plain()),  # type: ignore[arg-type]
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
    with pytest.raises(UnkeyableError, match=r"the to_str of argument 'x' returned .* at 0x") as caught:
        task.delay(make())
    assert "has an address in memory: no other process has the same one" in str(caught.value)
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
@on_two_serializers
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
@on_two_serializers
def test_a_default_that_is_read_deep_in_a_recursion_counts_right(new_app, serializer):
    def take(x, y=[{"a": [(1,), {2: {3: 4}}]}]): ...  # noqa: B006

    app = new_app(**speaking(serializer))
    right = key_of(add_task(app, take), 1)
    keys = set()
    for levels in range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()):
        task = add_task(new_app(**speaking(serializer)), take)
        for depth in (levels, 0):
            try:
                keys.add(down(depth, lambda task=task: key_of(task, 1)))  # type: ignore[misc]
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
