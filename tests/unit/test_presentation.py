"""Presenting foreign objects: plain JSON, whatever they are, and never an error."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import logging
import sys
import uuid
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals.results.presentation import MOST, plain, present_error, traceback_of
from jobtastic_signals.support.safe_text import class_name, safe_repr, safe_str
from tests.support import foreign, foreign_errors


def presented(value: Any) -> Any:
    """Return *value* as it arrives in a browser."""
    text = json.dumps(plain(value), allow_nan=False)
    text.encode()
    return json.loads(text)


class Level(enum.IntEnum):
    HIGH = 3


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        (-float("inf"), None),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        ((1, {2}, frozenset([3])), [1, [2], [3]]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"abc", "b'abc'"),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "None": "b", "False": "c"}),
    ],
)
def test_what_json_does_not_know_becomes_what_it_knows(value, expected):
    assert presented(value) == expected


def test_an_integer_that_python_does_not_write_becomes_hexadecimal_text():
    number = 10**5000
    assert presented([number, -number]) == [hex(number), hex(-number)]
    assert int(presented(number), 16) == number


def test_an_integer_that_python_writes_whatever_its_limit_is_stays_a_number():
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)
    try:
        assert presented([2**2047, 2**2048]) == [2**2047, hex(2**2048)]
    finally:
        sys.set_int_max_str_digits(limit)


def test_a_text_can_be_sent_as_utf_8():
    text = {"caf\udce9": "\ud800<b>", "é": "☃"}
    assert plain(text) == {"caf\\udce9": "\\ud800<b>", "é": "☃"}
    json.dumps(plain(text), ensure_ascii=False).encode()


def test_keys_that_become_the_same_text_are_all_there():
    value = {1: "a", "1": "b", 1.5: "c", "1.5": "d", "1 (2)": "e", b"1": "f"}
    assert presented(value) == {
        "1": "a",
        "1 (2)": "b",
        "1.5": "c",
        "1.5 (2)": "d",
        "1 (2) (2)": "e",
        "b'1'": "f",
    }


def test_a_key_that_cannot_be_shown_has_the_name_of_its_class():
    name = "<tests.support.foreign.NoText object>"
    assert presented({foreign.NoText(): 1, foreign.NoText(): 2}) == {name: 1, f"{name} (2)": 2}


@pytest.mark.parametrize("kind", foreign.OBJECTS)
def test_no_object_makes_it_raise(kind):
    value = foreign.OBJECTS[kind]()
    assert isinstance(presented(value), str)
    shown = presented([value, {"in": value}])
    assert shown[0] == shown[1]["in"] == presented(value)


def test_an_object_that_pretends_to_be_a_mapping_is_text():
    assert presented(foreign.Pretender()).startswith("<tests.support.foreign.Pretender object at ")


def test_a_value_inside_itself_is_marked():
    items: list[Any] = [1]
    items += [items, items, {"again": items}]
    assert presented(items) == [1, "[...]", "[...]", {"again": "[...]"}]
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    assert presented(mapping) == {"self": "{...}"}


def test_a_value_that_is_in_there_twice_is_there_twice():
    twice = [1]
    assert presented([twice, twice]) == [[1], [1]]


def test_great_depth_is_cut():
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert len(json.dumps(plain(deep))) < 500


def test_what_would_grow_without_end_is_cut(monkeypatch):
    """Thirty lists, each of which has the next one ten times, and a million values at most."""
    monkeypatch.setattr("jobtastic_signals.results.presentation.MOST", 1000)
    assert MOST >= 1_000_000
    value: Any = {"leaf": 1}
    for _ in range(30):
        value = [value] * 10
    assert 1000 < len(json.dumps(plain(value))) < 50_000


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("wrong"), "ValueError('wrong')"),
        (foreign_errors.ResponseError("info", ()), "ResponseError('info', ())"),
        (foreign_errors.KeyMismatchError("host", "a", "b"), "KeyMismatchError('host', 'a', 'b')"),
        (foreign_errors.SilentError(1), "SilentError()"),
        (ValueError(foreign.NoText()), "ValueError(<tests.support.foreign.NoText object>)"),
        (ValueError(10**5000), f"ValueError({hex(10**5000)})"),
    ],
)
def test_an_exception_shows_at_least_its_arguments(error, text):
    assert present_error(error) == {"exc": class_name(error), "result": text}
    assert safe_repr(error) == text
    assert isinstance(safe_str(error), str)


@pytest.mark.parametrize("kind", foreign_errors.ERRORS)
def test_an_exception_without_text_has_a_traceback(kind):
    error = kind("a", "b", "c")
    error.__cause__ = foreign_errors.SilentError()
    assert kind.__name__ in traceback_of(error)


@pytest.mark.parametrize("kind", foreign.OBJECTS)
def test_a_log_message_can_show_any_object(kind, caplog):
    caplog.handler.handleError = lambda record: pytest.fail("the message cannot be formatted")
    value = foreign.OBJECTS[kind]()
    logging.getLogger("any").warning("%s %s", safe_repr(value), safe_str(value))
    assert len(caplog.messages) == 1


def test_a_soft_time_limit_is_raised():
    class Slow:
        def __repr__(self) -> str:
            raise SoftTimeLimitExceeded

    for function in (safe_repr, safe_str, plain):
        with pytest.raises(SoftTimeLimitExceeded):
            function(Slow())
