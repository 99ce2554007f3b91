"""Tags: all calls with one key have the same, on the caller and on the worker."""

from __future__ import annotations

import datetime
import decimal
import logging
import uuid
from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals import OptionError, UnkeyableError
from jobtastic_signals.keys.tags import scope_of_prefix, scope_of_tag
from tests.support.unit_apps import deliver, installed_on, key_of, published, real

CACHE = {"cache_duration": 60}


def report(customer: Any, year: int = 2026, *, unit: str = "m") -> Any:
    return [customer, year, unit]


def add(app: Celery, tags: Any, body: Any = report, **options: Any) -> Task:
    return real(app.task(body, name="proj.report", shared=False, cache_tags=tags, **{**CACHE, **options}))


def scopes_of(task: Task, *args: Any, **kwargs: Any) -> set[str]:
    policy = installed_on(task.app).policy_of(type(task))
    found = set(policy.tags.scopes(task, args, kwargs))
    assert scope_of_prefix("proj.report") in found
    return found - {scope_of_prefix("proj.report")}


def tagged(*tags: str) -> set[str]:
    return {scope_of_tag(tag) for tag in tags}


@pytest.mark.parametrize(
    "args_kwargs",
    [((5,), {}), ((), {"customer": 5}), ((5, 2026), {}), ((5,), {"year": 2026, "unit": "m"})],
    ids=str,
)
def test_arguments_count_however_they_are_given_and_defaults_too(new_app, args_kwargs):
    task = add(new_app(), ["all", "customer:{customer}", "{year}/{unit}"])
    args, kwargs = args_kwargs
    assert scopes_of(task, *args, **kwargs) == tagged("all", "customer:5", "2026/m")


def test_a_function_gets_all_arguments_by_name(new_app):
    def tags(customer, **more):
        return [f"customer:{customer}", *map(str, sorted(more.items()))]

    task = add(new_app(), tags)
    assert scopes_of(task, 5) == tagged("customer:5", "('unit', 'm')", "('year', 2026)")


def test_a_task_without_tags_has_the_scope_of_its_prefix_alone(new_app):
    task = add(new_app(), None)
    assert scopes_of(task, 5) == set()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (decimal.Decimal("1.10"), "1.10"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ("acme {5}", "acme {5}"),
        (1.5, "1.5"),
        (True, "True"),
    ],
    ids=str,
)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_caller_and_worker_make_the_same_tag(new_app, serializer, value, text):
    app = new_app(task_serializer=serializer, accept_content=["json", "pickle"])
    task = add(app, ["customer:{customer}"])
    task.apply_async((value,), task_id="own")
    (message,) = published(app)
    args, kwargs, _ = message.decode()
    seen = [scopes_of(task, value), scopes_of(task, *args, **kwargs)]
    assert seen == [tagged(f"customer:{text}")] * 2


def test_a_part_of_an_argument_can_be_named(new_app):
    task = add(new_app(), ["customer:{customer[id]}"])
    assert scopes_of(task, {"id": 5}) == tagged("customer:5")


def test_what_a_to_str_makes_the_same_has_the_same_tag(new_app):
    task = add(new_app(), ["customer:{customer}"], significant_kwargs=[("customer", str.lower)])
    assert key_of(task, "ACME") == key_of(task, "acme")
    assert scopes_of(task, "ACME") == scopes_of(task, "acme") == tagged("customer:acme")


def test_keywords_that_double_star_catches_can_be_named(new_app):
    def paint(n: int, **more: Any) -> int:
        return n

    task = add(new_app(), ["{colour}"], paint)
    assert scopes_of(task, 1, colour="red") == tagged("red")


@pytest.mark.parametrize(
    ("tag", "options", "reason"),
    [
        ("{custmer}", {}, "these count: customer, unit, year"),
        ("{}", {}, "these count"),
        ("{0}", {}, "these count"),
        ("{year:{custmer}}", {}, "these count"),
        ("{year}", {"significant_kwargs": ["customer"]}, "does not count for its keys"),
        ("{customer[id]}", {"significant_kwargs": [("customer", str)]}, "by the text of its to_str"),
    ],
)
def test_a_template_names_only_what_counts_for_the_key(new_app, tag, options, reason):
    with pytest.raises(OptionError, match=rf"'proj\.report': cache_tags names .*{reason}"):
        add(new_app(), [tag], **options)


def takes_nothing() -> list[str]:
    return []


def fail(**arguments: Any) -> list[str]:
    raise ValueError("no tag")


@pytest.mark.parametrize(
    ("tags", "value", "reason"),
    [
        (["{customer}"], [5], "customer is of type list"),
        (["{customer}"], None, "customer is of type NoneType"),
        (["{customer[id]}"], {}, "KeyError"),
        (["{customer:d}"], "x", "ValueError"),
        (fail, 5, "no tag"),
        (lambda **_: [5], 5, "5 is not a text"),
        (lambda **_: [""], 5, "not a text"),
        (takes_nothing, 5, "unexpected keyword"),
    ],
)
def test_a_call_whose_tags_cannot_be_made_goes_unshared(new_app, caplog, tags, value, reason):
    app = new_app()
    runs = []

    def report(customer: Any) -> None:
        runs.append(customer)

    task = add(app, tags, report)
    with caplog.at_level(logging.WARNING):
        ids = {task.delay(value).id for _ in range(2)}
        for message in published(app):
            deliver(app, message)
    assert len(ids) == len(runs) == 2
    (warning,) = [each for each in caplog.messages if "cache_tags" in each]
    assert warning.endswith("; such calls go unshared")
    assert reason in warning
    with pytest.raises(UnkeyableError, match="cache_tags"):
        scopes_of(task, value)
    assert installed_on(app).store.entries() == []


def test_a_tag_of_any_text_has_a_short_name():
    names = [scope_of_tag(tag) for tag in ("a", "x" * 100_000, "\ud800", "a b\n")]
    assert len(set(names)) == 4
    assert {len(name) for name in names} == {36}
