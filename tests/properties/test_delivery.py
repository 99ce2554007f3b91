"""Caller and worker make one key, whatever the serializer makes of the arguments."""

import pytest
from kombu import serialization

from jobtastic_signals.keys.canonical import encode, register_type
from jobtastic_signals.keys.roundtrip import delivery_by
from tests.support.keys import SERIALIZERS, keys_of

from . import specs
from .profiles import given
from .specs import build
from .strategies import TEXTS, constant, drawn, fraction, integer, places, text, value

for cls, content in specs.REGISTERED.items():
    register_type(cls, content)

#: What :func:`carried` gives for what the serializer does not take, or does not read again.
NOTHING = object()


def carried(value, serializer):
    """*value*, as it really comes out of a message."""
    try:
        content_type, encoding, data = serialization.dumps(value, serializer)
        return serialization.loads(data, content_type, encoding, accept={content_type})
    except Exception:
        return NOTHING


def one(self, x): ...


def greedy(self, a, *args, c=3, **kwargs): ...


CANONICAL, TEXTUAL, WHOLE = (
    {serializer: keys_of(function, serializer=serializer, **options) for serializer in SERIALIZERS}  # type: ignore[arg-type]
    for function, options in [(one, {}), (one, {"significant_kwargs": (("x", str),)}), (greedy, {})]
)


def has_sets(described):
    """Whose text has no order that others know."""
    return any(part[0] in specs.SETS for _, part in places(described))


def portable(source, depth=3):
    """Mostly what the poorer serializers carry."""
    choice = source.below(16) if depth else 0
    if choice < 7:
        return source.one((text, integer, fraction, constant))(source)
    if choice < 10:
        return [source.one(specs.SEQUENCES), [portable(source, depth - 1) for _ in range(source.below(4))]]
    if choice < 12:
        keys = (text, text, integer, fraction, constant) if source.below(2) else (text,)
        return [
            "dict",
            [[source.one(keys)(source), portable(source, depth - 1)] for _ in range(source.below(4))],
        ]
    if choice < 13:
        # As kombu's JSON writes what JSON has no word for.
        kind = source.one(("bytes", "base64", "decimal", "uuid", "datetime", "other"))
        pairs = [[["str", "__type__"], ["str", kind]], [["str", "__value__"], portable(source, depth - 1)]]
        return ["dict", source.shuffled(pairs)]
    return value(source, depth - 1)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@given(drawn(portable, size=60))
def test_a_value_has_the_key_of_what_arrives(serializer, described):
    sent = build(described)
    delivered = carried(sent, serializer)
    if delivered is not NOTHING:
        assert CANONICAL[serializer](sent) == CANONICAL[serializer](delivered)
        if not has_sets(described):
            assert TEXTUAL[serializer](sent) == TEXTUAL[serializer](delivered)


def bodies(source):
    args = [portable(source, 2) for _ in range(source.below(3) + 1)]
    names = source.shuffled(("c", "x", "__type__", "__value__"))[: source.below(5)]
    return args, {name: portable(source, 2) for name in names}


@pytest.mark.parametrize("serializer", SERIALIZERS)
@given(drawn(bodies, size=60))
def test_a_call_has_the_key_of_the_call_that_arrives(serializer, described):
    args, kwargs = described
    args, kwargs = tuple(map(build, args)), {name: build(spec) for name, spec in kwargs.items()}
    body = carried((args, kwargs, {"callbacks": None, "chain": None}), serializer)
    if body is not NOTHING and isinstance(body[1], dict):
        assert WHOLE[serializer](*args, **kwargs) == WHOLE[serializer](*body[0], **body[1])


@pytest.mark.parametrize("kind", ["other", {}])
def test_keywords_that_look_like_jsons_own_have_the_key_of_what_arrives(kind):
    kwargs = {"c": 1, "__type__": kind, "__value__": {2: 3}}
    args, arrived, _ = carried(((1,), kwargs, {}), "json")
    assert arrived == {"c": 1, "__type__": kind, "__value__": {"2": 3}}
    assert WHOLE["json"](1, **kwargs) == WHOLE["json"](*args, **arrived)


def plain(source, depth=3):
    """What the shortcut is for, and little else."""
    choice = source.below(16) if depth else 0
    if choice < 8:
        return source.one((text, integer, fraction, constant))(source)
    if choice < 12:
        return [source.one(specs.SEQUENCES), [plain(source, depth - 1) for _ in range(source.below(4))]]
    if choice < 15:
        pairs = [[["str", source.one(TEXTS)], plain(source, depth - 1)] for _ in range(source.below(4))]
        return ["dict", pairs]
    return portable(source, 1)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@given(drawn(plain, size=60))
def test_the_shortcut_for_plain_data_gives_what_the_serializer_does(serializer, described):
    sent = build(described)
    arrived, given_out = carried(sent, serializer), delivery_by(serializer)(sent)
    if arrived is NOTHING:
        assert encode(given_out) == encode(sent)
    else:
        assert encode(given_out) == encode(arrived)
        if not has_sets(described):
            assert repr(given_out) == repr(arrived)
