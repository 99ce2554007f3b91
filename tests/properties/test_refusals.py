"""What has no canonical form never gets a key, wherever it is, and the error names the argument."""

import re

import pytest

from jobtastic_signals import UnkeyableError
from jobtastic_signals.keys.canonical import encode, register_type
from tests.support.keys import SERIALIZERS, keys_of

from . import specs
from .foreign import ENDLESS, FOREIGN, UNKNOWN, WITH_ADDRESS
from .profiles import given
from .specs import Fixed, Pair, Point, Token, build
from .strategies import drawn, hashable, value
from .test_delivery import NOTHING, carried

for cls, content in specs.REGISTERED.items():
    register_type(cls, content)


def greedy(self, x, *args, c=3, **kwargs): ...


KEYS = {serializer: keys_of(greedy, serializer=serializer) for serializer in SERIALIZERS}

#: Ways to put something into a container, beside another.
AROUND = (
    lambda inner, beside: [beside, inner],
    lambda inner, beside: (inner, beside),
    lambda inner, beside: {"k": inner, "beside": beside},
    lambda inner, beside: [1] * 16 + [inner],
    lambda inner, beside: Point(beside, inner),
    lambda inner, beside: Pair(inner, beside),
    lambda inner, beside: Token([inner]),
    lambda inner, beside: {5: beside, None: inner},
    lambda inner, beside: {inner: beside},
    lambda inner, beside: {inner, 1},
    lambda inner, beside: frozenset([inner]),
    lambda inner, beside: Fixed(inner, 1),
)


def hidden(source, kinds=tuple(UNKNOWN)):
    """Something foreign, the containers around it, and what is beside it."""
    around = [source.below(len(AROUND)) for _ in range(source.below(5))]
    beside = [hashable(source, 1) if way in (9, 10) else value(source, 1) for way in around]
    if kinds is not WITH_ADDRESS and source.below(64) == 63:
        kinds = tuple(ENDLESS)
    name = source.one(("x", "args", "c", "z", "kwargs"))
    return source.one(kinds), list(zip(around, beside, strict=True)), name


def built(kind, ways):
    inner = FOREIGN[kind]()
    for way, beside in ways:
        try:
            inner = AROUND[way](inner, build(beside))
        except TypeError:
            inner = [inner]  # What cannot be hashed.
    return inner


def called(key, name, argument):
    if name == "x":
        return key(argument)
    return key(1, argument) if name == "args" else key(1, **{name: argument, "y": 1})


@pytest.mark.parametrize("serializer", SERIALIZERS)
@given(drawn(hidden, size=50))
def test_what_has_no_form_is_refused_by_name_wherever_it_is(serializer, described):
    kind, ways, name = described
    argument = built(kind, ways)
    arrived = carried(argument, serializer) if serializer != "pickle" else NOTHING
    if arrived is not NOTHING:
        try:
            encode(arrived)
        except TypeError:
            pass
        else:
            # Such as JSON's int of a subclass of int.
            key = KEYS[serializer]
            assert called(key, name, argument) == called(key, name, arrived)
            return
    with pytest.raises(UnkeyableError) as caught:
        called(KEYS[serializer], name, argument)
    assert caught.value.argument == name
    reason = str(caught.value).partition(f"argument {name!r} has no canonical form: ")[2]
    assert re.match(rf"((a key|an item|the content) of )*{name}\b", reason)


AS_TEXT = [
    keys_of(greedy, serializer=serializer, significant_kwargs=(("x", to_str),))
    for serializer in ("json", "pickle")
    for to_str in (str, repr)
]


@given(drawn(lambda source: (source.below(4), hidden(source, WITH_ADDRESS)), size=50))
def test_a_text_with_an_address_is_refused_wherever_it_is(described):
    key, (kind, ways, _) = described
    with pytest.raises(UnkeyableError, match="address") as caught:
        AS_TEXT[key](built(kind, ways))
    assert caught.value.argument == "x"


class Labelled:
    """Has a form, but the text that Python gives to everything."""


@pytest.mark.parametrize("key", AS_TEXT)
def test_a_text_with_an_address_is_refused_of_what_has_a_form_as_well(key):
    register_type(Labelled, lambda labelled: "x")
    with pytest.raises(UnkeyableError, match="address"):
        key(Labelled())
