"""What people at a prompt are told about keys is what the keys are made of."""

from __future__ import annotations

import datetime
import enum
from typing import Any

import pytest
from celery import Celery, Task, chain, chord, group

from jobtastic_signals import JobtasticError, UnkeyableError, explain, explain_difference, forget
from tests.support import unit_apps
from tests.support.unit_apps import key_of


@pytest.fixture
def app(new_app: unit_apps.NewApp) -> Celery:
    return new_app()


def add(app: Celery, body: Any, **options: Any) -> Task:
    """A task by the name of its body; all arguments count unless *options* say otherwise."""
    options = {"herd_avoidance_timeout": 60, **options}
    return app.task(name=body.__name__, shared=False, **options)(body)


def report(customer, years=(2025, 2026), *, verbose=False): ...


def loose(first, *more, **others): ...


def lines(explanation: object) -> list[str]:
    assert repr(explanation) == str(explanation)
    return [line for line in str(explanation).splitlines() if not line.startswith(("has the", "share the"))]


# One call.


def test_an_explanation_shows_each_part_and_the_key(app):
    task = add(app, report)
    explanation = explain(task, "acme", verbose=True)
    assert explanation.key == key_of(task, "acme", verbose=True)
    assert str(explanation).splitlines() == [
        "report('acme', verbose=True)",
        f"has the key {explanation.key}, made of",
        "  customer  'acme'",
        "  verbose   True",
        "  years     [2025, 2026]  the default; (2025, 2026) as json delivers it",
    ]


def test_an_explanation_shows_what_a_to_str_makes_and_what_does_not_count(app):
    task = add(app, report, significant_kwargs=[("customer", str.lower)])
    explanation = explain(task, "ACME", verbose=True)
    assert lines(explanation) == [
        "report('ACME', verbose=True)",
        "  customer  'ACME'  counts as 'acme'",
        "and not of",
        "  verbose  True",
    ]
    assert explanation.insignificant == {"verbose": True}
    assert [argument.name for argument in explanation.arguments] == ["customer"]


def test_what_catches_all_is_one_part(app):
    task = add(app, loose)
    assert lines(explain(task, 1, 2, x=3)) == [
        "loose(1, 2, x=3)",
        "  first   1",
        "  more    [2]       (2,) as json delivers it",
        "  others  {'x': 3}",
    ]
    assert not explain(task, 1, 2, x=3).insignificant


def test_names_that_nobody_gave_are_said_to_be_missing(app):
    task = add(app, loose, significant_kwargs=["x", "y"])
    explanation = explain(task, 1, x=3, z=4)
    assert lines(explanation) == [
        "loose(1, x=3, z=4)",
        "  x  3",
        "  y  not given",
        "and not of",
        "  first  1",
        "  more   ()",
        "  z      4",
    ]


def test_a_task_of_which_nothing_counts_says_so(app):
    task = add(app, report, significant_kwargs=[])
    second_line = str(explain(task, "acme")).splitlines()[1]
    assert second_line == f"has the key {key_of(task, 'x')}, like all its calls"


def test_long_values_are_shortened(app):
    task = add(app, report)
    assert max(map(len, str(explain(task, "x" * 10_000, list(range(10_000)))).splitlines())) < 200


def test_what_a_call_would_raise_is_raised(app):
    task = add(app, report)
    with pytest.raises(TypeError, match=r"report\(\) missing 1 required positional argument: 'customer'"):
        explain(task)
    with pytest.raises(UnkeyableError, match="argument 'customer'"):
        explain(task, object())
    with pytest.raises(JobtasticError, match="shares nothing"):
        explain(app.task(name="bare", shared=False)(report), "acme")


def test_a_signature_is_explained_like_the_call_that_it_is(app):
    task = add(app, report)
    assert str(explain(task.s("acme", verbose=True))) == str(explain(task, "acme", verbose=True))
    assert explain(task.s(verbose=True), "acme").key == key_of(task, "acme", verbose=True)
    assert explain(task.si("acme")).key == key_of(task, "acme")


def task_named_like_its_parameter(task, self=None): ...


def test_an_argument_may_have_any_name(app):
    task = add(app, task_named_like_its_parameter, cache_duration=60)
    assert explain(task, task=5, self=6).key == key_of(task, 5, 6)
    task.apply(kwargs={"task": 5})
    assert forget(task, task=5)
    assert not forget(task, task=5)


def test_a_signature_may_be_forgotten(app):
    task = add(app, report, cache_duration=60)
    task.apply(("acme",))
    assert forget(task.s("acme"))
    assert not forget(task, "acme")


class Flask:
    """As Flask's app, which is called ``app`` as well."""


def undecorated():
    pass


def difference(task):
    return explain_difference(task, ((), {}), ((), {}))


@pytest.mark.parametrize("function", [explain, forget, difference])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("proj.report", r"'proj.report' is the name of a task; .* app.tasks\['proj.report'\]"),
        (Flask(), r"of type tests\.unit\.test_explanation\.Flask, is not a task"),
        (undecorated, "is not a task; give a task, which is a function decorated with @app.task"),
        (None, "None, of type builtins.NoneType, is not a task"),
    ],
)
def test_what_is_no_task_is_refused_with_what_to_give(function, wrong, reason):
    with pytest.raises(TypeError, match=reason):
        function(wrong)


@pytest.mark.parametrize("function", [explain, forget])
def test_a_canvas_of_several_calls_is_refused(app, function):
    task = add(app, report)
    for canvas in (chain(task.si(1), task.si(2)), group([task.s(1)]), chord([task.s(1)], task.si(2))):
        with pytest.raises(TypeError, match="is a canvas of several calls"):
            function(canvas)


# Two calls.


def test_calls_that_share_are_said_to_share_however_they_are_written(app):
    task = add(app, report)
    difference = explain_difference(task, task.s("acme"), ((), {"customer": "acme", "verbose": False}))
    assert difference.shares
    assert difference.places == ()
    assert str(difference).splitlines() == [
        "report('acme')",
        "report(customer='acme', verbose=False)",
        f"share the key {key_of(task, 'acme')}",
    ]


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("left", "right", "place"),
    [
        (1, "1", "customer  1 | '1'"),
        (1, True, "customer  1 | True"),
        (None, "None", "customer  None | 'None'"),
        ([1, 2], [2, 1], "customer[0]  1 | 2"),
        ([1], [1, 2], "customer  [1] | [1, 2]"),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, "customer['a']['b'][0]  1 | 2"),
        ({"a": 1}, {"a": 1, "b": 2}, "customer['b']  not given | 2"),
        ({"a": 1, "b": 2}, {"a": 1}, "customer['b']  2 | not given"),
        (Colour.RED, "blue", "customer  'red' | 'blue'"),
        ([0.0], [-0.0], "customer[0]  0.0 | -0.0"),
    ],
)
def test_a_difference_names_the_innermost_place(app, left, right, place):
    task = add(app, report)
    difference = explain_difference(task, task.s(left), task.s(right))
    assert not difference.shares
    assert lines(difference)[2:] == ["do not share, because of", f"  {place}"]


def test_two_signatures_are_enough(app):
    task = add(app, report)
    short = explain_difference(task.s("a"), task.s("b"))
    assert str(short) == str(explain_difference(task, task.s("a"), task.s("b")))
    assert not short.shares


def test_a_difference_names_each_argument_that_differs_and_no_other(app):
    task = add(app, report)
    difference = explain_difference(task, task.s("a", [1]), task.s("b", [1], verbose=True))
    assert [place.where for place in difference.places] == ["customer", "verbose"]


def test_what_the_serializer_makes_the_same_is_named(app):
    task = add(app, report)
    difference = explain_difference(task, task.s((1, {2: 3})), task.s([1, {"2": 3}]))
    assert difference.shares
    assert lines(difference)[2:] == [
        "  customer  (1, {2: 3}) | [1, {'2': 3}]  both are [1, {'2': 3}] as json delivers it"
    ]


def test_what_a_to_str_makes_the_same_or_not_is_named(app):
    task = add(app, report, significant_kwargs=[("customer", str.lower)])
    same = explain_difference(task, task.s("acme"), task.s("ACME", verbose=True))
    assert same.shares
    assert lines(same)[2:] == [
        "  customer  'acme' | 'ACME'   both count as 'acme'",
        "  verbose   not given | True  does not count",
    ]
    other = explain_difference(task, task.s("a"), task.s("B"))
    assert lines(other)[3:] == ["  customer  'a' | 'B'  count as 'a' and 'b'"]


def test_a_name_that_only_one_call_gives_is_a_difference(app):
    task = add(app, loose, significant_kwargs=["x"])
    difference = explain_difference(task, task.s(1), task.s(1, x=None))
    assert lines(difference)[3:] == ["  x  not given | None"]
    assert explain_difference(task, task.s(1), task.s(2)).shares


def test_a_default_without_a_form_is_no_obstacle(app):
    sentinel = object()

    def sparse(n=sentinel): ...

    task = add(app, sparse)
    assert explain_difference(task, task.s(), task.s()).shares
    assert not explain_difference(task, task.s(), task.s(None)).shares


@pytest.mark.parametrize("call", ["acme", 5, (1, 2, 3), ("acme", ["x"]), None])
def test_what_is_no_call_is_refused_with_what_is_accepted(app, call):
    task = add(app, report)
    with pytest.raises(TypeError, match=r"give a signature, such as task\.s\(1, year=2026\)"):
        explain_difference(task, task.s("acme"), call)


def test_a_call_of_another_task_is_refused(app):
    task, other = add(app, report), add(app, loose)
    with pytest.raises(TypeError, match="is a call of 'loose', and not of 'report'"):
        explain_difference(task, task.s("acme"), other.s(1))


def test_a_pickling_task_shows_values_as_they_are(new_app):
    task = add(new_app(task_serializer="pickle", accept_content=["pickle"]), report)
    today = datetime.date(2026, 11, 22)
    assert lines(explain(task, today, {1})) == [
        "report(datetime.date(2026, 11, 22), {1})",
        "  customer  datetime.date(2026, 11, 22)",
        "  verbose   False                        the default",
        "  years     {1}",
    ]
