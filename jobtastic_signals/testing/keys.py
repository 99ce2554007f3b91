"""Property-based checks of cache keys.

They search many generated calls for a counterexample, and report the simplest that they find (see
Hypothesis).
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any

import hypothesis
from celery import Signature, Task
from hypothesis import strategies as st
from kombu import serialization

from ..explanation import arguments_of, explain, explain_difference
from ..installation import required_sharing_of
from ..keys.canonical import encode
from ..keys.recipe import Argument
from ..keys.roundtrip import models_dumped, serializer_of

__all__ = ["assert_key_survives_serializer", "assert_keys_distinguish", "calls"]


def calls(task: Task[Any, Any], /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Signature]:
    """Return a strategy for signatures of *task*, made from the annotations of its parameters.

    Some calls leave out arguments that have a default. Arguments are given by position in some calls and by
    name in others. A parameter without an annotation gets plain data: ``None``, numbers, texts, lists and
    dicts.

    :param arguments: strategies for single parameters, or for keywords that ``**kwargs`` accepts.
    :raises TypeError: for an argument that the task does not accept.

    >>> from celery import Celery
    >>> app = Celery("proj", broker="memory://")
    >>> @app.task(name="report")
    ... def report(customer: str, year: int = 2026): ...
    >>> strategy = calls(report, year=st.integers(2000, 2030))
    >>> hypothesis.find(strategy, lambda call: call.kwargs.get("year", 0) > 2020).kwargs["year"]
    2021
    """
    parameters = inspect.signature(task.run).parameters
    catches_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for name in arguments:
        if name not in parameters and not catches_all:
            raise TypeError(
                f"{task.name!r} has no argument {name!r}; its arguments are {', '.join(parameters) or 'none'}"
            )
    return _calls(task, {**_strategies_for(task), **arguments})


def assert_keys_distinguish(
    task: Task[Any, Any],
    strategy: st.SearchStrategy[Signature] | None = None,
    *,
    settings: hypothesis.settings | None = None,
) -> None:
    """Assert that no ``to_str`` of *task* makes the same text of two different values.

    Calls that differ only in such values would share one result. A ``to_str`` that merges values on purpose,
    such as ``str.lower``, needs a *strategy* for values that it has to distinguish.

    :param strategy: a strategy for signatures of *task*; by default, :func:`calls` of it.
    :param settings: settings of Hypothesis; by default, those of the profile.
    :raises AssertionError: with two calls that share, and why.
    :raises TypeError: for values without a canonical form and without an ``__eq__``.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.
    """
    __tracebackhide__ = True
    required_sharing_of(task)
    # Kept from one example to the next, since a thousand calls contain pairs that ten do not.
    seen: dict[tuple[str, bytes], tuple[Signature, Argument]] = {}

    def check(drawn: list[Signature]) -> None:
        for call in drawn:
            args, kwargs = arguments_of(task, call)
            for argument in explain(task, *args, **kwargs).arguments:
                if argument.to_str is not None and not argument.is_missing:
                    other, others = seen.setdefault((argument.name, argument.form), (call, argument))
                    if not _are_same(task, argument, others):
                        difference = explain_difference(task, other, _with_argument(task, other, argument))
                        raise _CounterexampleError(
                            f"a to_str of {task.name!r} gives different values the same text:\n{difference}"
                        )

    calls_of_task = calls(task) if strategy is None else strategy
    _search(check, st.lists(calls_of_task, min_size=5, max_size=20), settings)


def assert_key_survives_serializer(
    task: Task[Any, Any],
    strategy: st.SearchStrategy[Signature] | None = None,
    *,
    settings: hypothesis.settings | None = None,
) -> None:
    """Assert that a worker, which reads the arguments from a message, makes the same key as the caller.

    A ``to_str`` breaks that if its text depends on an object's identity or hash, on the order of a set, or on
    whether a value is a list or a tuple.

    :param strategy: a strategy for signatures of *task*; by default, :func:`calls` of it.
    :param settings: settings of Hypothesis; by default, those of the profile.
    :raises AssertionError: with a call whose keys differ, or that the serializer cannot carry.
    :raises JobtasticError: if *task* has no options of ours, or the plugin is not enabled on its app.
    """
    __tracebackhide__ = True
    required_sharing_of(task)

    def check(call: Signature) -> None:
        args, kwargs = arguments_of(task, call)
        caller = explain(task, *args, **kwargs)
        args, kwargs = _delivered(task, args, kwargs)
        worker = explain(task, *args, **kwargs)
        if caller.key != worker.key:
            raise _CounterexampleError(
                f"the key of {call!r} does not survive {serializer_of(task)}. At the caller\n{caller}\n"
                f"and at the worker\n{worker}"
            )

    _search(check, calls(task) if strategy is None else strategy, settings)


class _CounterexampleError(AssertionError):
    """A complete description of what is wrong with a call, to which Hypothesis need not add anything."""


def _search(
    check: Callable[[Any], None], strategy: st.SearchStrategy[Any], settings: hypothesis.settings | None
) -> None:
    __tracebackhide__ = True
    deadline_free = hypothesis.settings(settings, deadline=None, report_multiple_bugs=False)
    try:
        deadline_free(hypothesis.given(strategy)(check))()
    except _CounterexampleError as found:
        raise AssertionError(str(found)) from None


# Half of the values are drawn from a few that look alike, so that many calls contain pairs that a careless
# to_str makes the same.
_LOOK_ALIKES = st.sampled_from(["None", "True", "1", "1.0", "[]"])
_FEW = {
    str: st.text("aA1 ", max_size=5) | _LOOK_ALIKES,
    int: st.sampled_from([0, 1, -1, 2, 10, 11]),
}
_TEXTS, _INTEGERS = _FEW[str] | st.text(), _FEW[int] | st.integers()

_PLAIN = st.one_of(st.none(), st.booleans(), _FEW[int], _LOOK_ALIKES) | st.recursive(
    st.none() | st.booleans() | _INTEGERS | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=5).filter(
    lambda name: not iskeyword(name)
)


def _strategies_for(task: Task[Any, Any]) -> dict[str, st.SearchStrategy[Any]]:
    """Return a strategy for each parameter of *task*. That of ``*args`` or ``**kwargs`` is for each item."""
    try:
        hints = typing.get_type_hints(task.run, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}  # Such as a name that is imported only for type checkers.
    return {name: _from_hint(hints.get(name, Any)) for name in inspect.signature(task.run).parameters}


def _from_hint(hint: Any) -> st.SearchStrategy[Any]:
    if hint in (Any, object):
        return _PLAIN
    if hint is str or hint is int:
        return _TEXTS if hint is str else _INTEGERS
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_from_hint(each) for each in inner])
    if origin in (list, set, frozenset) and len(inner) == 1:
        return _lists(inner[0], unique=origin is not list).map(origin)
    if origin is tuple and inner[1:] == (...,):
        return _lists(inner[0]).map(tuple)
    if origin is dict and len(inner) == 2:
        return st.dictionaries(_from_hint(inner[0]), _from_hint(inner[1]), max_size=4)
    return st.from_type(hint)


def _lists(hint: Any, *, unique: bool = False) -> st.SearchStrategy[list[Any]]:
    some = st.lists(_from_hint(hint), max_size=5, unique=unique)
    if hint is str or hint is int:
        return st.lists(_FEW[hint], max_size=3, unique=unique) | some
    return some


@st.composite
def _calls(
    draw: st.DrawFn, task: Task[Any, Any], strategies: Mapping[str, st.SearchStrategy[Any]]
) -> Signature:
    parameters = inspect.signature(task.run).parameters
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    by_position = True
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += draw(st.lists(strategies[name], max_size=2)) if by_position else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            caught = st.dictionaries(
                _NAMES.filter(lambda each: each not in parameters), strategies[name], max_size=2
            )
            kwargs.update(draw(caught))
            extra = [each for each in strategies if each not in parameters and draw(st.booleans())]
            kwargs.update({each: draw(strategies[each]) for each in extra})
        elif parameter.default is not parameter.empty and draw(st.booleans()):
            by_position = False
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            args += [draw(strategies[name])] if by_position else []
        elif parameter.kind is parameter.KEYWORD_ONLY or not by_position or draw(st.booleans()):
            kwargs[name] = draw(strategies[name])
            by_position = False
        else:
            args.append(draw(strategies[name]))
    return task.s(*args, **kwargs)


def _delivered(task: Task[Any, Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments as a worker of *task* receives them."""
    serializer = serializer_of(task)
    try:
        body = serialization.dumps(models_dumped(task, args, kwargs), serializer)
        content_type, encoding, data = body
        args, kwargs = serialization.loads(data, content_type, encoding, accept={content_type})
    except Exception as error:
        raise _CounterexampleError(
            f"{serializer} cannot carry {task.s(*args, **kwargs)!r}, so publishing it would fail: {error}"
        ) from None
    return args, kwargs


def _are_same(task: Task[Any, Any], one: Argument, other: Argument) -> bool:
    try:
        return encode(one.value) == encode(other.value)
    except TypeError:
        pass
    if "__eq__" not in {name for cls in type(one.value).__mro__[:-1] for name in vars(cls)}:
        raise TypeError(
            f"two values of argument {one.name!r} of {task.name!r} cannot be compared, because "
            f"{type(one.value).__qualname__} has no __eq__ and is not registered; give it an __eq__, or "
            "register it with jobtastic_signals.register_type"
        )
    return bool(one.value == other.value)


def _with_argument(task: Task[Any, Any], call: Signature, argument: Argument) -> Signature:
    """Return *call* with *argument* instead of its own."""
    args, kwargs = arguments_of(task, call)
    bound = inspect.signature(task.run).bind(*args, **kwargs)
    if argument.name in bound.signature.parameters:
        bound.arguments[argument.name] = argument.given
    else:
        catch_all = next(reversed(bound.signature.parameters))
        bound.arguments[catch_all] = {**bound.arguments.get(catch_all, {}), argument.name: argument.given}
    return task.s(*bound.args, **bound.kwargs)
