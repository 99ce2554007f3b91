"""The tools for users' tests find what they look for, and nothing where there is nothing."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, Optional

import hypothesis
import pytest
from celery import Celery, Signature, Task
from hypothesis import strategies as st

from jobtastic_signals import testing
from jobtastic_signals.installation import installation_on
from jobtastic_signals.testing import (
    assert_key_survives_serializer,
    assert_keys_distinguish,
    calls,
    isolated_store,
)
from tests.support.unit_apps import key_of, published

jobtastic_in_memory = testing.jobtastic_in_memory

#: The same examples each time, and as many as by default.
# How fast examples come says how busy the machine is.
FIXED = hypothesis.settings(
    derandomize=True,
    max_examples=100,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)

#: Versions of Hypothesis draw different examples, and a hundred of them can miss what is there. What is found
#: need not be small.
MANY = hypothesis.settings(FIXED, max_examples=500, phases=[hypothesis.Phase.generate])


def add(app: Celery, body: Any, **options: Any) -> Task:
    options = {"herd_avoidance_timeout": 60, **options}
    return app.task(name=body.__name__.strip("<>"), shared=False, **options)(body)


def task_with(app: Celery, hint: Any, to_str: Any) -> Task:
    """A task of one argument, with such an annotation and such a ``to_str``."""

    def task(n): ...

    task.__annotations__ = {"n": hint}
    return add(app, task, significant_kwargs=[("n", to_str)])


# Calls.


def typical(customer: str, year: int = 2026, *, verbose: bool = False) -> None: ...


def greedy(first: int, /, second: str = "x", *more: float, **others: list[int]) -> None: ...


def bare(a, b=None): ...


@pytest.mark.parametrize("body", [typical, greedy, bare])
def test_calls_are_such_as_the_task_takes_and_of_the_annotated_types(new_app, body):
    task = add(new_app(), body)

    @FIXED
    @hypothesis.given(calls(task))
    def check(call: Signature) -> None:
        assert call.task == task.name
        bound = inspect.signature(body).bind(*call.args, **call.kwargs)
        for name, value in bound.arguments.items():
            hint = {"customer": str, "second": str, "year": int, "first": int, "verbose": bool}.get(
                name, object
            )
            assert isinstance(value, hint)
        assert key_of(task, *call.args, **call.kwargs)

    check()


@pytest.mark.parametrize(
    "wanted",
    [
        lambda call: call.args and call.kwargs,
        lambda call: len(call.args) == 2,
        lambda call: set(call.kwargs) == {"customer", "year", "verbose"},
        lambda call: set(call.kwargs) == {"customer"},
        lambda call: "verbose" in call.kwargs and "year" not in call.kwargs and len(call.args) == 1,
    ],
)
def test_calls_are_written_in_every_way(new_app, wanted):
    assert hypothesis.find(calls(add(new_app(), typical)), wanted, settings=FIXED)


def test_calls_use_the_strategies_that_they_are_given(new_app):
    task = add(new_app(), greedy)
    strategy = calls(task, first=st.just(7), second=st.just("y"), extra=st.just([8]))

    @FIXED
    @hypothesis.given(strategy)
    def check(call: Signature) -> None:
        assert call.args[0] == 7
        assert {*call.args[1:2], call.kwargs.get("second", "y")} == {"y"}
        assert call.kwargs.get("extra", [8]) == [8]

    check()
    assert hypothesis.find(strategy, lambda call: "extra" in call.kwargs, settings=FIXED)


def test_a_strategy_for_what_the_task_does_not_take_is_an_error(new_app):
    with pytest.raises(
        TypeError, match="'typical' has no argument 'yeer'; its arguments are customer, year, verbose"
    ):
        calls(add(new_app(), typical), yeer=st.integers())


@dataclass
class Order:
    number: int
    note: Optional[str] = None  # noqa: UP045 - both spellings are in use


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (Order, Order),
        (list[int], list),
        (set[str], set),
        (frozenset[int], frozenset),
        (tuple[int, ...], tuple),
        (tuple[int, str], tuple),
        (dict[str, list[int]], dict),
        (int | None, (int, type(None))),
        (Annotated[int, []], int),
        (Annotated[list[str], {}], list),
        (Optional[str], (str, type(None))),  # noqa: UP045 - both spellings are in use
    ],
)
def test_calls_understand_annotations(new_app, hint, kind):
    task = task_with(new_app(), hint, str)

    @FIXED
    @hypothesis.given(calls(task))
    def check(call: Signature) -> None:
        (value,) = [*call.args, *call.kwargs.values()]  # type: ignore[misc]
        assert isinstance(value, kind)  # type: ignore[has-type]

    check()


def test_annotations_that_cannot_be_evaluated_count_as_none(new_app):
    def task(n): ...

    task.__annotations__ = {"n": "NoSuchName"}
    assert hypothesis.find(calls(add(new_app(), task)), lambda call: True, settings=FIXED).args == (None,)


# Distinguishing.


@pytest.mark.parametrize(
    ("hint", "to_str"),
    [
        (str, str.lower),
        (str, str.strip),
        (str, lambda text: text[:3]),
        (Any, str),
        (int, lambda number: str(abs(number))),
        (float, lambda number: f"{number:.2f}"),
        (list[int], lambda numbers: "".join(map(str, numbers))),
        (list[int], lambda numbers: str(sorted(numbers))),
        (list[str], ",".join),
        (dict[str, int], lambda counts: str(sum(counts.values()))),
        (int | None, lambda number: str(number or 0)),
        (Any, lambda value: "the same"),
    ],
)
def test_a_to_str_that_merges_is_found(new_app, hint, to_str):
    task = task_with(new_app(), hint, to_str)
    with pytest.raises(
        AssertionError, match="a to_str of 'task' gives different values the same text"
    ) as caught:
        assert_keys_distinguish(task, settings=MANY)
    assert "share the key v1:task:" in str(caught.value)
    assert "both count as" in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "to_str"),
    [
        (str, str),
        (str, repr),
        (int, str),
        (list[int], str),
        (list[int], repr),
        (int | None, str),
        (float, repr),
    ],
)
def test_a_to_str_that_tells_all_apart_passes(new_app, hint, to_str):
    assert_keys_distinguish(task_with(new_app(), hint, to_str), settings=FIXED)


def test_the_two_calls_that_are_shown_do_share(new_app):
    task = add(new_app(), typical, significant_kwargs=["year", ("customer", str.lower)])
    strategy = st.sampled_from([task.s("a", 1), task.s("b", 2), task.s("A", 3), task.s(customer="b", year=4)])
    with pytest.raises(AssertionError) as caught:
        assert_keys_distinguish(task, strategy, settings=FIXED)
    shown = [line for line in str(caught.value).splitlines() if line.startswith("typical(")]
    left, right = (eval(line, {"typical": task.s}) for line in shown)
    assert key_of(task, *left.args, **left.kwargs) == key_of(task, *right.args, **right.kwargs)
    assert {left.args[0], right.args[0]} == {"a", "A"}


def test_what_is_caught_by_name_is_compared_too(new_app):
    task = add(new_app(), greedy, significant_kwargs=[("x", lambda numbers: str(len(numbers)))])
    with pytest.raises(AssertionError, match=r"x  .* both count as"):
        assert_keys_distinguish(task, calls(task, x=st.lists(st.integers(0, 3), max_size=2)), settings=MANY)


def test_values_that_a_strategy_does_not_make_are_not_tried(new_app):
    task = task_with(new_app(), str, str.lower)
    assert_keys_distinguish(task, calls(task, n=st.text("abc")), settings=FIXED)


def test_arguments_that_do_not_count_and_those_without_a_to_str_never_fail(new_app):
    assert_keys_distinguish(add(new_app(), typical, significant_kwargs=["customer"]), settings=FIXED)
    assert_keys_distinguish(add(new_app(), typical), settings=FIXED)


class Named:
    def __init__(self, name):
        self.name = name


class Comparable(Named):
    def __eq__(self, other):
        return self.name == other.name

    __hash__ = None  # type: ignore[assignment]


def test_objects_are_compared_by_their_own_eq(new_app):
    task = task_with(new_app(task_serializer="pickle"), Any, lambda each: each.name.lower())
    same, other = (calls(task, n=st.sampled_from(names).map(Comparable)) for names in ("ab", "aA"))
    assert_keys_distinguish(task, same, settings=FIXED)
    with pytest.raises(AssertionError, match="both count as 'a'"):
        assert_keys_distinguish(task, other, settings=FIXED)


def test_objects_that_cannot_be_compared_are_an_error_that_says_so(new_app):
    task = task_with(new_app(task_serializer="pickle"), Any, lambda each: each.name)
    with pytest.raises(
        TypeError, match=r"argument 'n' of 'task' .* Named has no __eq__ and is not registered"
    ):
        assert_keys_distinguish(task, calls(task, n=st.builds(Named, st.just("a"))), settings=FIXED)


# Serializers.


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("body", [typical, greedy, bare])
def test_canonical_keys_survive(new_app, body, serializer):
    assert_key_survives_serializer(add(new_app(task_serializer=serializer), body), settings=FIXED)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize(
    "to_str", [lambda n: str(id(n)), lambda n, seen=[]: seen.append(n) or str(len(seen))]
)
def test_a_to_str_that_tells_copies_apart_does_not_survive(new_app, to_str, serializer):
    task = task_with(new_app(task_serializer=serializer), list[int], to_str)
    with pytest.raises(AssertionError, match=f"the key of .* does not survive {serializer}") as caught:
        assert_key_survives_serializer(task, settings=FIXED)
    assert "At the caller\ntask(" in str(caught.value)
    assert "and at the worker\ntask(" in str(caught.value)


def test_a_call_that_cannot_be_carried_is_found(new_app):
    task = task_with(new_app(), set[int], lambda numbers: str(sorted(numbers)))
    with pytest.raises(AssertionError, match=r"json cannot carry task\(.*so publishing it would fail"):
        assert_key_survives_serializer(task, settings=FIXED)


def test_a_task_without_our_options_is_refused(new_app):
    task = new_app().task(name="bare", shared=False)(bare)
    for check in (assert_keys_distinguish, assert_key_survives_serializer):
        with pytest.raises(Exception, match="'bare' shares nothing"):
            check(task, settings=FIXED)


# A store of a test's own.


def counting(app: Celery) -> tuple[Task, list[int]]:
    runs: list[int] = []

    def count(n):
        runs.append(n)
        return n

    return add(app, count, cache_duration=60), runs


def test_an_isolated_store_is_empty_and_leaves_the_others_alone(new_app):
    app = new_app()
    task, runs = counting(app)
    store = installation_on(app).store
    task.apply((1,))
    for _ in range(2):
        with isolated_store(app):
            assert [task.apply((1,)).get(), task.apply((1,)).get()] == [1, 1]
            assert installation_on(app).store is not store
    assert runs == [1, 1, 1]
    assert installation_on(app).store is store
    assert task.apply((1,)).get() == 1
    assert len(runs) == 3


def test_an_isolated_store_switches_the_plugin_on_for_its_time(new_app):
    app = new_app(plugin=False)
    task, runs = counting(app)
    with isolated_store(app):
        task.apply((1,))
        task.apply((1,))
    assert installation_on(app) is None
    task.apply((1,))
    assert runs == [1, 1]


def test_an_isolated_store_does_not_keep_the_configuration_from_switching_on(new_app):
    app = new_app(plugin=False, task_annotations=["jobtastic_signals:Jobtastic"])
    with isolated_store(app):
        pass
    task, runs = counting(app)
    task.apply((1,))
    task.apply((1,))
    assert runs == [1]


def test_an_isolated_store_needs_none_of_the_apps_own(new_app):
    app = new_app(jobtastic_store="disk:///dev/null/nothing")
    task, _ = counting(app)
    with isolated_store(app):
        assert task.delay(1).id == task.delay(1).id
        assert len(published(app)) == 1


def test_an_isolated_store_goes_when_the_test_fails(new_app):
    app = new_app()
    store = installation_on(app).store
    with pytest.raises(ZeroDivisionError), isolated_store(app):
        1 / 0  # noqa: B018
    assert installation_on(app).store is store


def test_the_fixture_isolates_until_the_test_ends(new_app, jobtastic_in_memory):
    app = new_app()
    before = installation_on(app).store
    jobtastic_in_memory(app)
    assert installation_on(app).store is not before
