"""Keys of whole calls: the same for the same call, however it is written, and for no other."""

from itertools import combinations, permutations

from jobtastic_signals.keys.canonical import register_type
from jobtastic_signals.keys.options import SIGNIFICANT_KWARGS
from tests.support.keys import keys_of

from . import specs
from .foreign import FOREIGN
from .profiles import given
from .specs import SEQUENCES, build, meaning
from .strategies import TEXTS, drawn, leaf, near, places, same, text, value

for cls, content in specs.REGISTERED.items():
    register_type(cls, content)


def greedy(self, a, *args, c=3, **kwargs): ...


GREEDY = keys_of(greedy, serializer="pickle")
KEYWORDS = ("c", "x", "args", "kwargs", "self_", "y")


def call(source):
    """Arguments of ``greedy``, described as if they were one value."""
    args = [value(source, 2) for _ in range(source.below(3) + 1)]
    given = source.shuffled(KEYWORDS)[: source.below(4)]
    return ["list", [["list", args], ["dict", [[["str", name], value(source, 2)] for name in given]]]]


def nearby_call(source, described):
    """The same, changed in little, where the result is still a call."""
    changed = near(source, described)
    if changed[0] in SEQUENCES and [part[0] for part in changed[1]] == ["list", "dict"]:
        names = [key[1] for key, _ in changed[1][1][1] if key[0] == "str"]
        if changed[1][0][1] and len(set(names)) == len(changed[1][1][1]) and "a" not in names:
            return changed
    return described


def nearby_calls(source):
    one = call(source)
    other = nearby_call(source, one)
    return [one, other, nearby_call(source, other), nearby_call(source, one), call(source)]


def bound(described):
    (_, (first, *rest)), (_, named) = described[1]
    others = {key[1]: meaning(item) for key, item in named}
    c = others.pop("c", ("int", 3))
    return meaning(first), tuple(map(meaning, rest)), c, frozenset(others.items())


@given(drawn(nearby_calls, size=110))
def test_calls_have_one_key_exactly_if_all_arguments_mean_the_same(described):
    written = []
    for each in described:
        args, kwargs = map(build, each[1])
        written.append((GREEDY(*args, **kwargs), bound(each)))
    for (left, left_meaning), (right, right_meaning) in combinations(written, 2):
        assert (left == right) == (left_meaning == right_meaning)


def two(self, x, y): ...


def as_bytes(text):
    return text.encode("utf-8", "surrogatepass")


FORMS = (None, str, as_bytes)
TEXTUAL = {
    (x, y): keys_of(two, cache_prefix="family", significant_kwargs=(("x", x), ("y", y)), serializer="pickle")
    for x in FORMS
    for y in FORMS
}
SEAMS = ("", "n1:yt1:", "n1:yt", "n1:y", "n1:ys1:", "t1:", "s1:", "n1:yt0:", "yt1:")


def texts_with_seams(source):
    """One row of pieces, divided between two arguments at one place and at another."""
    seam = source.one(SEAMS)
    pieces = [source.one((*TEXTS[:24], "?", "\udc80", "\udfff")) for _ in range(source.below(3) + 2)]
    form = source.one(FORMS), source.one(FORMS)
    divided = []
    for taken in (form, form, (source.one(FORMS), source.one(FORMS))):
        cut = source.below(len(pieces) + 1)
        divided.append((taken, seam.join(pieces[:cut]), seam.join(pieces[cut:])))
    return [*divided, (form, build(text(source)), build(text(source)))]


@given(drawn(texts_with_seams))
def test_texts_of_to_str_never_run_into_each_other_or_into_canonical_ones(calls):
    written = [(TEXTUAL[forms](x, y), [form is None for form in forms], x, y) for forms, x, y in calls]
    for (left, *left_meaning), (right, *right_meaning) in combinations(written, 2):
        assert (left == right) == (left_meaning == right_meaning)


def member_of_family(*names, **options):
    function = eval(f"lambda self, {', '.join(names)}: None", {"unknown": object()})
    return keys_of(function, name="/".join(names), cache_prefix="family", serializer="pickle", **options)


#: By the names that each counts; the last does so by significant_kwargs.
FAMILY = {
    **{
        names: member_of_family(*names) for names in [("a",), ("b",), ("a", "b"), ("a", "c"), ("ab",), ("c",)]
    },
    ("b", "a"): member_of_family("b", "a"),
    ("a", "unknown"): member_of_family("a", "b=unknown"),
    **{
        (*names, "missing"): member_of_family(
            "**kwargs", significant_kwargs=tuple((name, None) for name in names)
        )
        for names in [("a", "b"), ("as1:bnc",), ("a", "b", "c"), ("an1:b",), ()]
    },
}


def calls_of_family(source):
    values = [value(source, 1) if source.below(2) else leaf(source), ["str", "b"], ["none"], ["str", "-"]]
    values.append(near(source, values[0]))
    calls = []
    for names in [source.one(list(FAMILY)) for _ in range(3)]:
        given = {name: source.one(values) for name in names if name not in ("missing", "unknown")}
        if "missing" in names:
            given = {name: item for name, item in given.items() if source.below(2)}
        calls.append((names, given))
        changed = source.one(names or ("",))
        if changed in given and "missing" in names:
            calls.append((names, {name: item for name, item in given.items() if name != changed}))
        elif changed not in ("", "missing", "unknown"):
            calls.append((names, {**given, changed: source.one(values)}))
    return calls


def counted(names, given):
    """What counts of a call, by name."""
    meanings = {name: meaning(spec) for name, spec in given.items()}
    if "unknown" in names:
        meanings["b"] = "unknown"
    if "missing" in names:
        meanings.update(dict.fromkeys(set(names) - set(given) - {"missing"}, "missing"))
    return meanings


@given(drawn(calls_of_family))
def test_tasks_of_one_family_share_keys_exactly_if_names_and_values_are_the_same(calls):
    written = []
    for names, described in calls:
        key = FAMILY[names](**{name: build(spec) for name, spec in described.items()})
        written.append((key, counted(names, described)))
    for (left, left_meaning), (right, right_meaning) in combinations(written, 2):
        assert (left == right) == (left_meaning == right_meaning)


#: JSON delivers the first as another.
DEFAULTS = {"b": ["dict", [[["int", "2"], ["tuple", []]]]], "c": ["dict", [[["str", "x"], ["int", "3"]]]]}


def typical(self, a, b={2: ()}, *, c={"x": 3}, **kwargs): ...  # noqa: B006 - nobody calls it


TYPICAL = {serializer: keys_of(typical, serializer=serializer) for serializer in ("json", "pickle")}


def written_calls(source):
    """One call with all arguments named, and others that come to the same."""
    full = {name: value(source, 2) for name in "abcxy"}
    for name in source.shuffled(DEFAULTS)[: source.below(3)]:
        full[name] = DEFAULTS[name]
    calls = [((), full)]
    for by_position in (0, 1, 2, 1):
        named = [name for name in full if name not in "ab"[:by_position]]
        named = [name for name in named if full[name] != DEFAULTS.get(name) or source.below(2)]
        kept = {name: same(source, full[name]) for name in source.shuffled(named)}
        calls.append(([same(source, full[name]) for name in "ab"[:by_position]], kept))  # type: ignore[arg-type]
    # JSON can make one key of two, such as 1 and "1", and then keeps the last.
    ordered = any(
        key[0] != "str"
        for _, part in places(list(full.values()))
        if part[0] == "dict" and part not in DEFAULTS.values()
        for key, _ in part[1]
    )
    return "pickle" if ordered else source.one(list(TYPICAL)), calls


@given(drawn(written_calls))
def test_how_a_call_is_written_does_not_matter(drawn_calls):
    serializer, calls = drawn_calls
    written = {
        TYPICAL[serializer](*map(build, args), **{name: build(spec) for name, spec in kwargs.items()})
        for args, kwargs in calls
    }
    assert len(written) == 1


#: By the names that count: one for each order in which they can be listed.
SIGNIFICANT = {
    names: [
        keys_of(greedy, serializer="pickle", significant_kwargs=SIGNIFICANT_KWARGS.parse(listed))
        for listed in permutations(names)
    ]
    for names in [(), ("a",), ("x",), ("a", "x"), ("c", ("x", repr)), ("a", "c", "x"), ("args", "a")]
}


def insignificant(source):
    names = source.one(list(SIGNIFICANT))
    given = {name: value(source, 2) for name in ("a", "c", "x", "y")[: source.below(2) + 3]}
    strange = [source.one(list(FOREIGN)) for _ in range(3)]
    return names, given, [source.one((None, *strange)) for _ in range(5)], value(source, 2)


@given(drawn(insignificant))
def test_insignificant_arguments_and_the_order_of_the_others_never_matter(drawn_call):
    names, given, strange, other = drawn_call
    counting = {name if isinstance(name, str) else name[0] for name in names}
    by_repr = counting != set(names)
    given = {name: build(spec) for name, spec in given.items() if not by_repr or name != "x"}

    def key(each, kwargs):
        kwargs = dict(kwargs)
        return each(kwargs.pop("a"), *((1, "a") if "args" in names else more.pop("args", ())), **kwargs)

    more = {}
    first = key(SIGNIFICANT[names][0], given)
    others = {**given, "z": build(other)}
    for name, kind in zip(("a", "c", "x", "y", "w"), strange, strict=True):
        if name not in counting:
            others[name] = build(other) if kind is None else FOREIGN[kind]()
    more["args"] = (build(other), object())
    kwargs = dict(sorted(others.items(), reverse=True))
    for each in SIGNIFICANT[names]:
        more["args"] = (build(other), object())
        assert key(each, kwargs) == first
