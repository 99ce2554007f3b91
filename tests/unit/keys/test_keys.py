"""One key for all calls that are the same, and never one for two that differ."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import serialization

from jobtastic_signals import UnkeyableError
from jobtastic_signals.keys.canonical import MAX_DEPTH, encode
from jobtastic_signals.keys.options import SIGNIFICANT_KWARGS
from jobtastic_signals.keys.roundtrip import delivery_by
from tests.support.keys import SERIALIZERS, keys_of


def one(self, x): ...


# Binding.


def typical(self, a, b=2, *, c=3): ...


def greedy(self, a, *args, c=3, **kwargs): ...


def positional(self, a, b=2, /, **kwargs): ...


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        (
            typical,
            [((1,), {}), ((1, 2), {}), ((), {"a": 1}), ((), {"b": 2, "a": 1}), ((1,), {"b": 2, "c": 3})],
        ),
        (greedy, [((1,), {}), ((), {"a": 1}), ((1,), {"c": 3})]),
        (greedy, [((1, 5), {"x": 1, "y": 2}), ((1, 5), {"y": 2, "x": 1, "c": 3})]),
        (positional, [((1,), {}), ((1, 2), {})]),
        (positional, [((1,), {"a": 5, "x": 6}), ((1, 2), {"x": 6, "a": 5})]),
    ],
)
def test_calls_that_python_does_not_tell_apart_have_one_key(function, calls):
    key = keys_of(function)
    assert len({key(*args, **kwargs) for args, kwargs in calls}) == 1


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        (typical, [((1,), {}), ((2,), {}), ((1, 1), {}), ((1,), {"c": 4}), ((1, 3), {}), ((1,), {"c": 2})]),
        (
            greedy,
            [
                ((1,), {}),
                ((1, 2), {}),
                ((1, 2, 3), {}),
                ((1, (2, 3)), {}),
                ((1, 2), {"x": 3}),
                ((1,), {"x": 2}),
                ((1,), {"args": (2,)}),
                ((1, 2), {"args": 3}),
                ((1,), {"kwargs": {"x": 2}}),
                ((1,), {"kwargs": {"args": [2]}}),
                ((1,), {"c": 2}),
            ],
        ),
        (
            positional,
            [
                ((1,), {}),
                ((1,), {"a": 1}),
                ((1,), {"a": 2}),
                ((1,), {"x": 2}),
                ((1,), {"kwargs": {"a": 1}}),
                ((1,), {"kwargs": 1, "a": 1}),
                ((2, 1), {}),
            ],
        ),
    ],
)
def test_calls_that_differ_have_different_keys(function, calls):
    key = keys_of(function)
    assert len({key(*args, **kwargs) for args, kwargs in calls}) == len(calls)


@pytest.mark.parametrize("call", [((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 1}), ((1,), {"z": 1})])
def test_what_the_task_does_not_take_is_a_type_error(call):
    args, kwargs = call
    with pytest.raises(TypeError) as caught:
        keys_of(typical)(*args, **kwargs)
    assert not isinstance(caught.value, UnkeyableError)


def test_a_signature_behind_decorators_is_the_one_that_counts():
    def wrapper(*args, **kwargs): ...

    wrapper.__wrapped__ = typical  # type: ignore[attr-defined]
    assert keys_of(wrapper)(1) == keys_of(typical)(a=1)


# The options.


def test_only_significant_arguments_count_and_their_order_does_not():
    first = keys_of(typical, significant_kwargs=(("a", None), ("c", None)))
    assert first(1, 5) == first(1, 6)
    assert first(1, c=5) != first(1, c=6)
    given = [("c", str), ("a", str)]
    parsed, turned_round = SIGNIFICANT_KWARGS.parse(given), SIGNIFICANT_KWARGS.parse(given[::-1])
    calls = [keys_of(typical, significant_kwargs=names)(1, 2, c=3) for names in (parsed, turned_round)]
    assert calls[0] == calls[1]


def test_an_empty_list_makes_all_calls_the_same():
    key = keys_of(typical, significant_kwargs=())
    assert key(1) == key(2, 3, c=object())


def test_a_significant_name_that_was_not_given_is_not_none():
    key = keys_of(greedy, significant_kwargs=(("x", None), ("y", None)))
    calls = [{}, {"x": None}, {"y": None}, {"x": None, "y": None}, {"x": 1}]
    assert len({key(1, **call) for call in calls}) == len(calls)  # type: ignore[arg-type]
    assert key(1, z=1) == key(2)


def test_a_prefix_is_the_family_that_shares():
    first = keys_of(one, name="proj.first", cache_prefix="family")
    second = keys_of(one, name="proj.second", cache_prefix="family")
    alone = keys_of(one, name="proj.second")
    assert first(1) == second(1) != alone(1)
    assert first(1).startswith("v1:family:")
    assert alone(1).startswith("v1:proj.second:")


def test_to_str_may_give_text_or_bytes():
    key = keys_of(one, significant_kwargs=(("x", lambda value: value.lower()),))
    assert key("ABC") == key("abc") != key("abd")
    assert keys_of(one, significant_kwargs=(("x", lambda value: b"abc"),))(object()) == key("abc")
    assert keys_of(one, significant_kwargs=(("x", None),))("abc") != key("abc")
    assert keys_of(one, significant_kwargs=(("x", str),))("\udc80")


def test_to_str_sees_what_the_worker_gets():
    seen = []
    keys_of(one, significant_kwargs=(("x", lambda value: seen.append(value) or ""),))((1, {2: 3}))
    assert seen == [[1, {"2": 3}]]


@pytest.mark.parametrize(
    ("to_str", "reason"),
    [
        (lambda value: value.no_such_thing, "failed: AttributeError"),
        (lambda value: None, "returned NoneType"),
        (lambda value: 5, "returned int"),
        (bytearray, "returned bytearray"),
    ],
)
def test_a_to_str_that_fails_names_the_argument(to_str, reason):
    with pytest.raises(UnkeyableError, match=f"task 'proj.task': the to_str of argument 'x' {reason}"):
        keys_of(one, significant_kwargs=(("x", to_str),))([1])


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int, kind: Any = list) -> Any:
    value: Any = kind()
    for _ in range(levels):
        value = {"x": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    "value",
    [object(), [object()], {"x": object()}, len, int, cyclic(), deep(MAX_DEPTH + 1), deep(300, dict)],
    ids=lambda value: str(value)[:20],
)
def test_what_has_no_canonical_form_is_refused_with_a_remedy(value, serializer):
    with pytest.raises(UnkeyableError) as caught:
        keys_of(one, serializer=serializer)(value)
    message = str(caught.value)
    assert "task 'proj.task': argument 'x' has no canonical form: x" in message
    assert (
        "Give it a to_str in significant_kwargs, such as ('x', my_function)" in message
        or f"The serializer {serializer} cannot carry it, so pass plain data" in message
    )
    assert caught.value.argument == "x"


def test_nesting_that_is_deep_but_not_too_deep_is_fine():
    assert keys_of(one)(deep(MAX_DEPTH)) != keys_of(one)(deep(MAX_DEPTH - 1))


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_nesting_without_end_does_not_break_the_caller(serializer):
    with pytest.raises(UnkeyableError, match="nests deeper than"):
        keys_of(one, serializer=serializer)(deep(100_000))


# What is the same, and what is not.


class Colour(enum.Enum):
    RED = 1


class Paint(enum.Enum):
    RED = 1


UTC = datetime.timezone.utc
EAST = datetime.timezone(datetime.timedelta(hours=2))

#: All of these differ from each other.
DIFFERENT = [
    None,
    *(True, 1, 1.0, "1", b"1", decimal.Decimal(1)),
    *(False, 0, 0.0, "", b"", [], {}, set()),
    *(-1, 10**30, 16, "10", "0x10", "N", "None", "s1:a", 0.1, 0.1 + 2**-55, math.nan, math.inf, -math.inf),
    *("nan", "ü", "u\u0308", "\udc80", b"\x00", b"\xff"),
    decimal.Decimal("1.10"),
    *(datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2), datetime.datetime(2020, 1, 2, tzinfo=UTC)),
    *(datetime.datetime(2020, 1, 2, tzinfo=EAST), datetime.datetime(2020, 1, 2, 0, 0, 0, 1), "2020-01-02"),
    *(datetime.time(1, 2, 3), datetime.time(1, 2, 3, 4)),
    *(datetime.timedelta(1), datetime.timedelta(seconds=1), datetime.timedelta(microseconds=1)),
    *(uuid.UUID(int=5), str(uuid.UUID(int=5)), uuid.UUID(int=5).bytes),
    *([1], [1, 2], [2, 1], [[1], 2], [[1, 2]], [1, [2]], ["1", "23"], ["12", "3"], ["123"], [None], [[]]),
    *({1}, {1, 2}, {(1, 2)}, {"a": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": {"b": 1}}, {1: 2}),
    *([["a", 1]], {"a": [1]}, {"a": None}, {"a", "b"}, ["a", "b"]),
    *(Colour.RED, Paint.RED),
]


def test_values_that_differ_in_value_or_type_have_different_encodings():
    encodings = [encode(value) for value in DIFFERENT]
    assert len(set(encodings)) == len(DIFFERENT)
    assert len({encode([value]) for value in DIFFERENT}) == len(DIFFERENT)
    assert len({encode({"key": value}) for value in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 2), [1, 2]),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ({"b", "a", "c"}, frozenset(["c", "b", "a"])),
        ({0, 8}, {8, 0}),  # They meet in the table of hashes, so the first one comes first.
        (math.nan, -math.nan),
        (float("nan"), float("inf") - float("inf")),
        (2.0**70, 2.0**70),
        (Colour.RED, Colour(1)),
    ],
)
def test_values_that_are_the_same_have_one_encoding(left, right):
    assert encode(left) == encode(right)


def two(self, x, y): ...


def test_look_alikes_by_concatenation_differ():
    key = keys_of(two)
    calls = [("1", "23"), ("12", "3"), ("123", ""), ("", "123"), ("1", ["23"]), (["1", "23"], None)]
    assert len({key(*call) for call in calls}) == len(calls)
    key = keys_of(two, significant_kwargs=(("x", str), ("y", str)))
    assert len({key(*call) for call in [("1", "23"), ("12", "3"), ("1n1:y", ""), ("", "1n1:y")]}) == 4


# Delivery.


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(
    "value", [*DIFFERENT, (1, (2,)), frozenset([1]), *Colour], ids=lambda value: type(value).__name__
)
def test_caller_and_worker_make_the_same_key(value, serializer):
    """Of what the serializer can carry; anything else never gets to a worker."""
    try:
        content_type, encoding, data = serialization.dumps([value, {"x": value}], serializer)
        delivered = serialization.loads(data, content_type, encoding, accept={content_type})
    except Exception:
        delivered = [value, {"x": value}]
    key = keys_of(two, serializer=serializer)
    assert key(value, {"x": value}) == key(*delivered)


def test_a_tuple_and_the_text_of_a_dict_key_are_what_json_makes_of_them():
    key = keys_of(one)
    assert key((1, 2)) == key([1, 2])
    assert key({1: 2}) == key({"1": 2})
    assert key({"x": (1, {2: 3})}) == key({"x": [1, {"2": 3}]})


def test_pickle_keeps_apart_what_it_delivers_apart():
    key = keys_of(one, serializer="pickle")
    assert key({1: 2}) != key({"1": 2})
    assert key({1: 2}) == key({1: 2})
    assert key({1, 2}) == key({2, 1}) != key([1, 2])


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_test_that_freezes_the_time_makes_the_keys_of_that_time(serializer):
    freezegun = pytest.importorskip("freezegun")
    key = keys_of(one, serializer=serializer)
    today = datetime.datetime(2026, 1, 2, tzinfo=UTC)
    with freezegun.freeze_time(today):
        frozen = datetime.datetime.now(UTC)
        assert type(frozen) is not type(today)
        assert key([frozen, frozen.date()]) == key([today, today.date()])


def test_what_cannot_be_delivered_is_left_as_it_is():
    value = {"x": {1, 2}}
    assert delivery_by("json")(value) is value


# Properties of binding; those of the encoding are in properties/.


@given(st.lists(st.text("01"), min_size=2, max_size=2), st.lists(st.text("01"), min_size=2, max_size=2))
def test_two_arguments_have_one_key_only_if_both_are_equal(left, right):
    key = keys_of(two)
    assert (key(*left) == key(*right)) == (left == right)


@given(st.integers(), st.integers(), st.integers(), st.integers(0, 2))
def test_an_argument_counts_the_same_by_position_and_by_name(a, b, c, by_position):
    def three(self, a, b, c=None): ...

    key = keys_of(three)
    given_names = dict(zip("abc", (a, b, c), strict=True))
    args = [given_names.pop(name) for name in "abc"[:by_position]]
    assert key(*args, **given_names) == key(a, b, c)
