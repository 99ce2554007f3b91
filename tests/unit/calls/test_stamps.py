"""Anyone who can publish can write a stamp, and it says little."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from celery import states
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobtastic_signals import Claim, Result
from jobtastic_signals.keys.stamps import checked_stamp
from jobtastic_signals.stores.names import internal_name
from jobtastic_signals.support.rare_warnings import BETWEEN_WARNINGS, RareWarnings
from jobtastic_signals.support.shown import shown
from tests.support.calls import BOTH, HERD
from tests.support.unit_apps import (
    deliver,
    entry_of,
    execute,
    key_of,
    published,
    real,
    receive,
    store_of,
)

ZEROS = "0" * 40

#: Values that no stamp of ours has, by the name of the field.
BAD: dict[str, list[Any]] = {
    "key": [7, None, "", "message:1", "task:1", "outcome:1", "replaced:1", f"v2:a:{ZEROS}", f"v1::{ZEROS}",
            f"v1:a:{ZEROS}x", f"v1:{'x' * 2000}:{ZEROS}", f"v1:\ud800:{ZEROS}"],
    "store": [7, None, "x" * 256, "\udfff"],
    "called": ["now", None, True, -1, math.nan, math.inf, 10**5000, 1e300],
    "waiting_for": [7, "", "x" * 256, "\ud800"],
    "after": [7, None, "", "x" * 256, "\ud800"],
    "waits": [1.5, None, True, -1, 10**30, "1"],
    "fresh": [1, 0, None, "yes"],
    "bypass": [1, 0, None, "yes"],
    "on_duplicate": ["", "wait", 7, None, ["drop"]],
    "withdrawable": ["2", None, True, -1, math.nan, math.inf, 1e9],
}  # fmt: skip

each_bad_field = pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD.items() for value in values],
    ids=[f"{name}-{number}" for name, values in BAD.items() for number in range(len(values))],
)


@pytest.fixture
def role(new_app):
    app = new_app()

    @app.task(name="proj.role", shared=False, **BOTH)
    def role(user):
        return {"user": user, "admin": user == "root"}

    @app.task(name="proj.secret", shared=False, **BOTH)
    def secret(user):
        return f"secret of {user}"

    return real(role)


def message_of(task, *args, **stamp):
    """A message of *task* with a stamp that its caller did not write."""
    result = task.apply_async(args, task_id=stamp.pop("id", None) or "7d0f9b0e-0000-4000-8000-000000000000")
    (message,) = published(task.app)
    store_of(task.app).release(key_of(task, *args), result.id, "")
    message.headers["jobtastic"] = {"id": result.id, **stamp}
    return message


# What a stamp cannot do


def test_a_stamp_cannot_put_a_result_under_the_key_of_another_call(role):
    message = message_of(role, "root", key=key_of(role, "eve"))
    assert deliver(role.app, message).retval["admin"] is True
    assert entry_of(role, "eve") is None
    assert role.apply(("eve",)).get() == {"user": "eve", "admin": False}


def test_a_stamp_cannot_read_the_result_of_another_task(role):
    secret = role.app.tasks["proj.secret"]
    assert secret.apply(("ada",)).get() == "secret of ada"
    message = message_of(role, "x", key=key_of(secret, "ada"))
    assert deliver(role.app, message).retval == {"user": "x", "admin": False}


@pytest.mark.parametrize("kind", ["message", "task", "outcome", "replaced"])
def test_a_stamp_cannot_reach_what_a_store_has_beside_keys(role, kind, caplog):
    store = store_of(role.app)
    name = internal_name(kind, "victim")
    store.lookup_or_claim(name, "victim", 60)
    before = store.lookup(name)
    for run in (deliver, lambda app, message: execute(receive(app, message))):
        assert run(role.app, message_of(role, "x", key=name, id="victim")).retval["user"] == "x"
        assert store.lookup(name) == before
    assert len([record for record in caplog.records if "stamp" in record.getMessage()]) == 1


def test_a_message_of_an_unknown_task_releases_no_internal_name(role):
    from celery import signals

    store = store_of(role.app)
    store.lookup_or_claim("message:1", "worker", 60)
    message = message_of(role, "x", key="message:1", id="worker")
    signals.task_unknown.send(sender=role, id="worker", name="proj.gone", message=message, exc=KeyError())
    assert store.lookup("message:1").owner == "worker"


def test_a_caller_with_another_key_is_reported_and_its_claim_is_released(role, caplog):
    other = f"v1:proj.role:{ZEROS}"
    message = message_of(role, "ada", key=other)
    store_of(role.app).lookup_or_claim(other, message.headers["id"], 60)
    deliver(role.app, message)
    assert store_of(role.app).lookup(other) is None
    assert isinstance(entry_of(role, "ada"), Result)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "key_context" in warning
    assert key_of(role, "ada") in warning


def test_a_caller_with_another_key_frees_no_claim_of_others(role):
    other = key_of(role, "eve")
    store_of(role.app).lookup_or_claim(other, "eves own", 60)
    deliver(role.app, message_of(role, "ada", key=other))
    assert entry_of(role, "eve").owner == "eves own"


def test_headers_in_a_header_cannot_name_the_delivery(role):
    """They would let a message pass for a delivery that runs now."""
    store_of(role.app).claim(key_of(role, "ada"), "first", "w/1", 60)
    message = message_of(role, "ada")
    message.headers.update(headers="no dict", jobtastic_delivery={"token": "w/1"})
    assert receive(role.app, message).request_dict["jobtastic_delivery"]["token"] != "w/1"


@pytest.mark.parametrize("task_id", ["x" * 256, "\ud800"])
def test_an_id_that_a_store_should_not_keep_goes_unshared(role, task_id):
    role.apply_async(("ada",), task_id=task_id)
    (message,) = published(role.app)
    assert "jobtastic" not in message.headers
    if task_id.isascii():  # The result backend of this test cannot hold the other one.
        assert deliver(role.app, message).retval["user"] == "ada"
    assert entry_of(role, "ada") is None
    assert not store_of(role.app).is_down


# What is checked


@each_bad_field
def test_a_bad_field_counts_as_absent_and_costs_one_warning(name, value, caplog):
    stamp = {"id": "1", "mine": "kept", name: value}
    for _ in range(3):
        assert checked_stamp(stamp, "1") == {"id": "1", "mine": "kept"}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"{name}=" in warning
    assert len(warning) < 500
    assert "\n" not in warning
    warning.encode()


def test_a_sound_stamp_is_kept_whole(caplog):
    stamp = {
        "id": "1", "key": f"v1:a b\nц:{ZEROS}", "store": "disk:0", "called": 2e9 + 0.5, "waiting_for": None,
        "after": "2", "waits": 3, "withdrawable": 2.0,
    }  # fmt: skip
    assert checked_stamp(stamp, "1") == stamp
    assert caplog.records == []


@pytest.mark.parametrize("stamp", ["text", ["id"], 7, b"\xff", True])
def test_a_stamp_that_is_no_dict_costs_one_warning(stamp, caplog):
    assert checked_stamp(stamp, "1") == checked_stamp(stamp, "1") == {}
    assert len(caplog.records) == 1


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.text(st.characters()), st.integers(),
        st.sampled_from([10**4000, "\ud800", "x" * 10_000, f"v1:proj.role:{ZEROS}", "message:1"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip

stamps = st.dictionaries(st.sampled_from([*BAD, "mine"]), anything).map(lambda stamp: {"id": "1", **stamp})


@settings(max_examples=100, deadline=None, database=None)
@given(stamps)
@example({"id": "1", "called": 10**4000})
@example({"id": "1", "store": "\ud800" * 10_000})
@example({"id": "1", "waits": True, "withdrawable": math.nan})
def test_what_is_left_of_a_stamp_can_be_stored_and_compared(stamp):
    checked = checked_stamp(stamp, "1")
    for name in BAD.keys() & checked.keys():
        value = checked[name]
        assert len(json.dumps(value)) < 6100
        assert value is None or value >= type(value)()
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@settings(max_examples=30, deadline=None, database=None)
@given(anything)
@example(10**5000)
@example("\ud800\u2028\n")
@example({"a": [[[[[10**4000]]]]]})
def test_whatever_it_is_shows_on_one_short_line(value):
    shows_on_one_short_line(value)


@pytest.mark.parametrize("value", [10**5000, [{"a": 10**6000}]], ids=["alone", "in a list"])
def test_a_number_that_python_does_not_write_shows_too(value):
    shows_on_one_short_line(value)


def shows_on_one_short_line(value):
    text = shown(value)
    assert len(text) <= 210
    assert len(text.splitlines()) <= 1
    text.encode()


def test_a_run_with_a_bad_stamp_does_all_that_it_would_do_without(role):
    for name, values in BAD.items():
        for value in values:
            message = message_of(role, "ada", **{name: value})
            assert execute(receive(role.app, message)).retval == {"user": "ada", "admin": False}
            assert isinstance(entry_of(role, "ada"), Result), (name, value)
            assert not store_of(role.app).is_down
            store_of(role.app).forget(key_of(role, "ada"))


def test_callers_choose_no_names_that_are_remembered(new_app, caplog):
    app = new_app(jobtastic_key_required=False)

    @app.task(name="proj.greedy", shared=False, **HERD)
    def greedy(**kwargs):
        pass

    deep: list = []
    for _ in range(300):
        deep = [deep]
    for number in range(5):
        assert greedy.apply(kwargs={f"name {number}": deep}).state == states.SUCCESS
    assert len(caplog.records) == 1


# Warnings


def test_one_warning_of_each_kind_is_due_in_a_minute(clock):
    warnings = RareWarnings(clock=clock)
    assert [warnings.are_due(kind) for kind in ("a", "a", "b")] == [True, False, True]
    clock.advance(BETWEEN_WARNINGS - 1)
    assert not warnings.are_due("a")
    clock.advance(1)
    assert warnings.are_due("a")


def test_kinds_without_end_are_not_remembered(clock):
    warnings = RareWarnings(clock=clock)
    for number in range(5000):
        assert warnings.are_due(f"kind {number}")
    assert len(warnings._next) <= 1000


def test_a_claim_is_still_joined_by_its_own_key(role):
    """Shows that the tests above have something to show: without a forged stamp all is shared."""
    first = role.delay("ada")
    assert isinstance(entry_of(role, "ada"), Claim)
    assert role.delay("ada").id == first.id
