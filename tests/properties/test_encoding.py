"""The canonical encoding: one for what is the same, another for all else, in every interpreter."""

from itertools import combinations

import pytest

from jobtastic_signals.keys.canonical import encode, register_type

from . import specs
from .interpreters import Pool
from .profiles import given
from .specs import build, meaning
from .strategies import Source, drawn, leaf, long_sequence, near, same, value

for cls, content in specs.REGISTERED.items():
    register_type(cls, content)


def alike(source: Source):
    """A description, the same in another way, several that differ in little, and one of its own."""
    one = source.one((value, leaf, value, leaf, long_sequence))(source)
    others = [near(source, one) for _ in range(4)]
    return [one, same(source, one), *others, near(source, source.one(others)), value(source)]


@given(drawn(alike, size=160))
def test_values_have_one_encoding_exactly_if_they_mean_the_same(described):
    written = [(encode(build(spec)), meaning(spec)) for spec in described]
    for (left, left_meaning), (right, right_meaning) in combinations(written, 2):
        assert (left == right) == (left_meaning == right_meaning)


@given(drawn(alike, size=160))
def test_no_encoding_is_the_beginning_of_another(described):
    """Else values could meet where their encodings are written one after the other."""
    written = sorted({encode(build(spec)) for spec in described})
    for left, right in combinations(written, 2):
        assert not right.startswith(left)


@given(drawn(lambda source: [one := value(source), same(source, one), same(source, one)]))
def test_neither_order_nor_a_tuple_for_a_list_matters(described):
    one, *others = (encode(build(spec)) for spec in described)
    assert others == [one, one]


@pytest.fixture(scope="module")
def interpreters():
    with Pool() as pool:
        yield pool


@given(drawn(lambda source: [value(source) for _ in range(3)], size=120, models=False))
def test_every_interpreter_writes_the_same(interpreters, described):
    own = [encode(build(spec)).hex() for spec in described]
    for name, answer in interpreters.ask(described):
        assert [theirs or ours for ours, theirs in zip(own, answer, strict=True)] == own, name


def test_the_interpreters_differ(interpreters):
    """In how they order sets, or there would be nothing to see."""
    described = [["set", [["str", text] for text in "abcdefgh"]]]
    orders = {tuple(order) for _, order in interpreters.ask(described, order=True)}
    assert len(orders) > 1
