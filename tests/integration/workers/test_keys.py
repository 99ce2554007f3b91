"""A worker that makes a key by itself makes the one that its callers make.

The message of a ``delay()`` carries its key, so that would prove nothing. One by ``send_task`` or by
``celery call`` carries none. The body answers with the key that its run has.
"""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
import uuid
import zoneinfo
from typing import Any

import pytest

from jobtastic_signals import Result
from tests.support.rare import mainly, rare
from tests.support.servers import wait_until
from tests.support.workers.project import Buyer, Colour, Customer, Order, Point, Shade
from tests.support.workers.projects import celery, on

TIMEOUT = 60

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
EAST = datetime.timezone(datetime.timedelta(hours=2), "EAST")
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]

#: What JSON delivers, some of it as something else. Pickle does too, and more.
EVERYWHERE = {
    "none": None,
    "bool": True,
    "tuple": (1, (2, (3,)), []),
    "long tuple of numbers": tuple(range(50)),
    "long list of texts": WORDS * 5,
    "numbers beyond 64 bits": [2**63, -(2**70), *range(20)],
    "int keys": {1: "one", 20: "twenty", 3: {4: (5,)}},
    "keys of many kinds": {None: 0, True: 1, 1.5: 2, "text": 3},
    "nested mix": {"rows": [(1, {"a": (b"x", None)}), {2: [uuid.UUID(int=7), {"at": (1.5, True)}]}]},
    "naive datetime": datetime.datetime(2024, 2, 29, 12, 30, 0, 5),
    "datetime at an offset": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=EAST),
    "datetime in UTC": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
    "datetime in a zone": datetime.datetime(2024, 7, 1, 12, 30, tzinfo=BERLIN),
    "datetime in its second pass": datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    "date": datetime.date(2024, 2, 29),
    "time": datetime.time(12, 30, 0, 5),
    "time at an offset": datetime.time(12, 30, tzinfo=EAST),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "decimal": [decimal.Decimal("1.10"), decimal.Decimal("-1E+400"), decimal.Decimal("NaN")],
    "bytes": [b"text", b"", b"\x00\xff"],
    "enum that is text": {"colour": Colour.RED, Colour.RED: [Colour.RED]},
    "nan": [math.nan, -math.nan],
    "infinities": (math.inf, -math.inf),
    "zeros": [0.0, -0.0, 0],
    "text": ["ü", "u\u0308", "\U0001f600", "\x00\x7f\x85", "\u2028"],
    "looks like a message's own": {"__type__": "uuid", "__value__": {"hex": "0" * 31 + "7"}},
}

PICKLED = {
    **EVERYWHERE,
    "set": {*WORDS, *range(10), (1, "a"), None},
    "frozensets in sets": {frozenset(WORDS), frozenset(WORDS[1:])},
    "dict with keys of all kinds": {(1, 2): WORDS, frozenset(WORDS): 1, uuid.UUID(int=1): {b"x"}},
    "enum": [Shade.DARK, {Shade.DARK: {Shade.DARK}}],
    "named tuple": Point(1),
    "dataclass": Order(5, [Point(2, {"x", "y", "z"}), {Shade.DARK}]),
    "path": [pathlib.Path("a/b"), pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("c:/a")],
    "registered": Customer(5, seen=1.5),
    "of a registered class": [Buyer(6), {"who": Buyer(7)}],
    "timedelta": datetime.timedelta(-1, 5, 6),
    "zone": [BERLIN, EAST],
    "surrogates": ["\ud83d\ude00", "\udc80"],
}

VALUES = [
    pytest.param(setup, value, id=f"{setup}-{kind}")
    for setup, values in (("redis-prefork", EVERYWHERE), ("redis-prefork-pickle", PICKLED))
    for kind, value in values.items()
]

#: What shows that the other directions work as well; the normal tests have no more there.
TELLING = ("nested mix", "datetime in a zone", "dict with keys of all kinds", "registered")

MAINLY_TELLING = [
    each if str(each.id).endswith(TELLING) else rare(*each.values, id=str(each.id)) for each in VALUES
]


def send(project: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a task by its name alone, so that no stamp tells the worker a key; its result, when it is."""
    result = project.app.send_task(getattr(project, name).name, args, kwargs)
    result.get(timeout=TIMEOUT)
    return result


def wait_for_result(project: Any, key: str) -> None:
    """A run's result can be read a moment before the store has it."""
    wait_until(lambda: isinstance(project.store.lookup(key), Result), what="the stored result")


def assert_shared_with_callers(project: Any, name: str, *args: Any, **kwargs: Any) -> None:
    """What came by name alone is found by a caller afterwards; the first argument is the token."""
    by_name = send(project, name, *args, **kwargs)
    key = project.key(name, *args, **kwargs)
    assert by_name.get(timeout=TIMEOUT) == key
    wait_for_result(project, key)
    assert getattr(project, name).delay(*args, **kwargs).id == by_name.id
    assert [run["id"] for run in project.runs(name, args[0])] == [by_name.id]


@pytest.mark.parametrize(("project", "value"), VALUES, indirect=["project"])
def test_a_caller_finds_what_a_worker_computed_under_its_own_key(project, token, value):
    assert_shared_with_callers(project, "keyed", token, value)


@pytest.mark.parametrize(("project", "value"), MAINLY_TELLING, indirect=["project"])
def test_a_worker_finds_what_a_caller_asked_for_by_its_own_key(project, token, value):
    first = project.keyed.delay(token, value)
    key = first.get(timeout=TIMEOUT)
    wait_for_result(project, key)
    assert send(project, "keyed", token, value).get(timeout=TIMEOUT) == key
    assert [run["id"] for run in project.runs("keyed", token)] == [first.id]


@pytest.mark.parametrize(("project", "value"), MAINLY_TELLING, indirect=["project"])
def test_a_keyword_that_the_task_catches_counts_alike_on_both_sides(project, token, value):
    assert_shared_with_callers(project, "keyed", token, None, caught=value, other=[value])


@on("redis-prefork", "redis-prefork-pickle")
def test_a_default_counts_alike_on_both_sides(project, token):
    """Though JSON would change this one, and no message ever carries it."""
    by_name = send(project, "keyed", token)
    wait_for_result(project, by_name.get(timeout=TIMEOUT))
    assert project.keyed.delay(token, value=(1, {2: (3,)})).id == by_name.id
    assert send(project, "keyed", token, value=(1, {2: (3,)})).get() == by_name.get()
    assert len(project.runs("keyed", token)) == 1


@on("redis-prefork", rarely=["redis-prefork-pickle"])
@pytest.mark.parametrize("name", ["keyed_by_text", "keyed_by_function"])
@pytest.mark.parametrize(
    "value",
    [
        (1, ("A", None)),
        {1: "One", 2: (3, 4.0)},
        {"b": 1, "a": [(1,), b"X"]},
        datetime.datetime(2024, 7, 1, 12, 30, tzinfo=BERLIN),
        datetime.time(1, tzinfo=EAST),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        Colour.RED,
        [math.nan, -0.0],
        "Text",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_to_str_is_given_the_same_on_both_sides(project, token, name, value):
    assert_shared_with_callers(project, name, token, value)


@on("redis-prefork")
def test_calls_that_differ_do_not_share_on_a_worker_either(project, token):
    values = [1, True, "1", 1.0, [1], {"1": 1}, b"1", decimal.Decimal(1), None]
    keys = [send(project, "keyed", token, value).get(timeout=TIMEOUT) for value in values]
    assert len(set(keys)) == len(project.runs("keyed", token)) == len(values)


# The command line.

COMMANDS = {
    "plain": ('["{}", 1.5]', "{}", (1.5,), {}),
    "containers": ('["{}", [1, [2, {"1": null}]]]', "{}", ((1, (2, {1: None})),), {}),
    "keywords": (
        '["{}"]',
        '{"value": {"b": 1, "a": [true]}, "more": NaN}',
        ({"a": (True,), "b": 1},),
        {"more": math.nan},
    ),
    "a default": ('["{}"]', "{}", ((1, {2: (3,)}),), {}),
}


@on("redis-prefork")
@pytest.mark.parametrize(
    ("typed_args", "typed_kwargs", "args", "kwargs"),
    mainly(COMMANDS["containers"], of=COMMANDS.values()),
    ids=COMMANDS,
)
def test_a_call_from_the_command_line_shares_with_callers(
    project, token, tmp_path, typed_args, typed_kwargs, args, kwargs
):
    def call(log):
        typed = ["--args", typed_args.replace("{}", token, 1), "--kwargs", typed_kwargs]
        with celery(project.made, "worker", tmp_path / log, "call", project.keyed.name, *typed) as process:
            assert process.wait(timeout=60) == 0, (tmp_path / log).read_text()
        return project.app.AsyncResult((tmp_path / log).read_text().split()[-1])

    first = call("first.log")
    key = project.key("keyed", token, *args, **kwargs)
    assert first.get(timeout=TIMEOUT) == key
    wait_for_result(project, key)
    assert project.keyed.delay(token, *args, **kwargs).id == first.id
    assert call("second.log").get(timeout=TIMEOUT) == key
    assert [run["id"] for run in project.runs("keyed", token)] == [first.id]
