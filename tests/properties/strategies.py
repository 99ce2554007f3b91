"""Descriptions of values, and of others that are nearly the same.

All are drawn from a string of bytes, each byte a choice: one draw of Hypothesis' for a whole example, which
makes tens of thousands of them affordable. It shrinks as bytes do, since fewer and smaller ones say
something simpler.
"""

import math
from typing import Any

from hypothesis import strategies as st

from jobtastic_signals.keys.canonical import encode

from . import specs
from .specs import ENUMS, FLAGS, HERE, MODELS, RECORDS, SEQUENCES, SETS, TOKENS, build

ZONES = ("UTC", "Europe/Berlin", "Etc/GMT-2")

NONE = ["none"]


class Source:
    """Choices, as they are read from *data*; once it is used up, each is the first and simplest."""

    def __init__(self, data, *, models=True):
        self._data, self._at = data, 0
        self.models = models and bool(MODELS)

    def below(self, limit):
        """A number from 0 to *limit* - 1."""
        at = self._at
        self._at = at + 1
        return self._data[at] % limit if at < len(self._data) else 0

    def one(self, choices):
        return choices[self.below(len(choices))]

    def shuffled(self, items):
        items = list(items)
        return [items.pop(self.below(len(items))) for _ in range(len(items))]


@st.composite  # type: ignore[arg-type]
def drawn(draw, make, *, size=80, **options):
    """What *make* makes of a source of *size* choices, and of simple ones after these."""
    # Of a size that may vary, Hypothesis mostly draws a handful. What is not needed shrinks to zeros.
    return make(Source(draw(st.binary(min_size=size, max_size=size)), **options))


# Leaves.

NUMBERS = (
    *(0, 1, -1, 2, 10, 16, 17, 255, 256, 0x1A, 12, 123, 2**31, 2**53 + 1),
    *(2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 2**70, -(2**70), 10**30, 10**400),
)
FRACTIONS = (
    *("0x0p+0", "-0x0p+0", "0x1p+0", "-0x1p+0", "0x1.8p+0", "0x1p+1", "0x1.999999999999ap-4"),
    *("0x1p-1074", "0x1.fffffffffffffp+1023", "0x1p+63", "inf", "-inf", "nan", "-nan"),
    *("bits:7ff8000000000001", "bits:fff0000000000001"),
)
# Many look like what the encoding writes itself, or like what another type would be written as.
TEXTS = (
    *("", "a", "b", "ab", "1", "12", "2", "A", "\x00", "a\x00", ":", ";", "1:a", "s1:a", "i1;", "l0:", "N"),
    *("as1:b", "1:as1:b", "n1:y", "n1:yi1;", "T", "None", "True", "1.0", "nan", "null", "2020-01-02", "x"),
    *("ü", "u\u0308", "\u2028", "\ufeff", "\U0001f600", "10", "0x10", "l1:i1;", "d1:s1:xi1;", "RED", "z"),
    *(
        "~",
        "n1:yt1:",
        "-",
        "\uffff",
        "é\x7f\x85",
        "a,b",
        "__type__",
        "__value__",
        "=",
        "<<",
        " a",
        "a at 0x1f",
        "[1]",
        "{}",
    ),
)
SURROGATES = ([0xDC80], [0xD83D], [0xDE00], [0xD83D, 0xDE00], [0x61, 0xD800], [0xDFFF, 0x62])
DECIMALS = (
    *("0", "1", "1.0", "1.00", "-1", "-0", "1E+2", "100", "1.10", "12", "1.2", "1E-7", "NaN", "-NaN"),
    *("NaN12", "Infinity", "-Infinity", "12345678901234567890123456789012345678901234567890", "-1E+400"),
)
ZONED = (None, None, ["timezone", 0, None], ["timezone", 7_200_000_000, None], ["timezone", 0, "Z"])


def integer(source):
    choice = source.below(256)
    if choice < 128:
        return ["int", str(choice // 4 - 16 if choice >= 64 else choice)]
    number = NUMBERS[choice % len(NUMBERS)]
    return ["int", str(number) if -(2**70) <= number <= 2**70 else hex(number)]


def large(source):
    """About as large as 64 bits."""
    return ["int", hex(source.one((2**63, -(2**63), 2**64, 0)) - source.below(3) + 1)]


def fraction(source):
    return ["float", source.one(FRACTIONS)]


def text_of_points(text):
    if any("\ud800" <= each <= "\udfff" for each in text):
        # JSON would make one character of two.
        return ["surrogates", list(map(ord, text))]
    return ["str", text]


def text(source):
    choice = source.below(len(TEXTS) + 24)
    if choice < len(TEXTS):
        return ["str", TEXTS[choice]]
    if choice < len(TEXTS) + len(SURROGATES):
        return ["surrogates", SURROGATES[choice - len(TEXTS)]]
    return ["str", "".join(source.one(TEXTS[:20]) for _ in range(source.below(4)))]


def binary(source):
    return ["bytes", source.one(TEXTS).encode().hex() + source.one(("", "00", "ff", "80"))]


def number(source):
    return ["Decimal", source.one(DECIMALS)]


def zone(source):
    choice = source.below(8)
    if choice < len(ZONED):
        return ZONED[choice]
    if choice == 5:
        return ["ZoneInfo", source.one(ZONES)]
    offset = (source.below(48) - 24) * 1_800_000_000 + source.below(2)
    return ["timezone", offset if choice == 6 else abs(offset), source.one((None, "Z", "é"))]


def date(source):
    return ["date", [source.one((2020, 1, 999, 9999)), source.below(12) + 1, source.below(28) + 1]]


def clock(source):
    hour, minute = source.below(24), source.below(60)
    return [hour, minute, source.one((0, 0, 59)), source.one((0, 0, 1, 100_000, 999_999))]


def moment(source):
    # By the clock that Europe/Berlin turns back on this day.
    day = source.one(([2020, 1, 2], [2020, 10, 25], [1, 1, 1], [9999, 12, 31]))
    return ["datetime", [*day, *clock(source)], zone(source), source.below(2)]


def time(source):
    return ["time", clock(source), zone(source), source.below(2)]


def timedelta(source):
    days, seconds = source.below(5) - 2, source.one((0, 10, 110, -1, 86400))
    return ["timedelta", [days, seconds, source.one((0, 1, -1, 10**6))]]


def timezone(source):
    return zone(source) or ["timezone", 0, None]


def identifier(source):
    return ["UUID", source.one(("00" * 16, "00" * 15 + "05", "ff" * 16, "31" * 16, "05" + "00" * 15))]


def member(source):
    name = source.one(list(ENUMS))
    return [name, source.one(("RED", "BLUE", "CRIMSON") if name == "Colour" else ("RED", "BLUE"))]


def flag(source):
    return [source.one(list(FLAGS)), source.below(8)]


def path(source):
    kind = source.one(("PurePosixPath", "PureWindowsPath", HERE))
    return [kind, source.one(("a", "a/b", "ab", "/a", ".", "..", "A", "a/./b", "/", "c:/a", "é"))]


def constant(source):
    return source.one((NONE, ["bool", False], ["bool", True]))


LEAVES = (
    *(constant, integer, text, integer, text, fraction, binary, number, date, moment, time, timedelta),
    *(timezone, identifier, member, flag, path),
)


def leaf(source):
    return source.one(LEAVES)(source)


# What holds others.


def few(source, make, limit=4):
    return [make(source) for _ in range(source.below(limit))]


def value(source, depth=3):
    """Any description."""
    choice = source.below(32) if depth else 0
    if choice < 12:
        # Those that signal cannot be in a set, and so are no leaf of the others.
        return leaf(source) if source.below(64) < 63 else ["Decimal", source.one(("sNaN", "sNaN12", "-sNaN"))]
    if choice < 18:
        return [SEQUENCES[choice % 2], few(source, lambda source: value(source, depth - 1))]
    if choice < 20:
        return ["dict", few(source, lambda source: [text(source), value(source, depth - 1)])]
    if choice < 22:
        # Of NaNs there can be several in a dict or a set, and all have one form.
        key = fraction if source.below(4) == 3 else hashable
        return ["dict", few(source, lambda source: [key(source), value(source, depth - 1)])]
    if choice < 24:
        nans = [["float", "nan"]] * (source.below(4) if source.below(3) == 2 else 0)
        return [SETS[choice % 2], [*few(source, lambda source: hashable(source, depth - 1)), *nans]]
    if choice < 26:
        return [source.one(list(RECORDS)), value(source, depth - 1), value(source, depth - 1)]
    if choice < 28:
        return [source.one(list(TOKENS)), value(source, depth - 1)]
    if choice < 29 and source.models:
        return model(source, depth - 1)
    return long_sequence(source)


def hashable(source, depth=2):
    """A description of what can be in a set."""
    choice = source.below(16) if depth else 0
    if choice < 10:
        return leaf(source)
    if choice < 12:
        return ["tuple", few(source, lambda source: hashable(source, depth - 1), 3)]
    if choice < 14:
        return ["frozenset", few(source, lambda source: hashable(source, depth - 1), 3)]
    if choice < 15:
        return [source.one(("Pair", "Twin", "Fixed")), leaf(source), hashable(source, depth - 1)]
    return ["Token", leaf(source)]


def model(source, depth):
    extra = [[name, value(source, depth)] for name in ("w", "z")[: source.below(3)]]
    return [source.one(list(MODELS)), value(source, depth), value(source, depth), extra, leaf(source)]


def long_sequence(source):
    """Numbers or texts, about as many as are packed, of which a few are too big or do not belong."""
    size, kind = 16 + source.one((0, 1, -1, 2)), source.below(4)
    start, step = source.below(32), source.below(4)
    if kind % 2:
        items = [["str", TEXTS[(start + step * index) % 32]] for index in range(size)]
    else:
        items = [["int", str(start - 8 + step * index)] for index in range(size)]
    for _ in range(source.below(3)):
        make = (text if kind % 2 else source.one((integer, large))) if source.below(4) else leaf
        items[source.below(size)] = make(source)
    return [source.one(SEQUENCES), items]


# What is nearly the same.


def places(spec, path=()):
    """The ways to all descriptions in *spec*, itself included, each with what is there."""
    if type(spec) is list:
        if spec and type(spec[0]) is str and spec[0] in specs.KINDS:
            yield path, spec
        for index, part in enumerate(spec):
            if type(part) is list:
                yield from places(part, (*path, index))


def replaced(spec, path, new):
    if not path:
        return new
    copy = list(spec)
    copy[path[0]] = replaced(spec[path[0]], path[1:], new)
    return copy


def near(source, spec):
    """*spec*, changed in little; now and then not at all, where a change would leave what cannot be built."""
    path, part = (), spec
    if source.below(2):
        found = list(places(spec))
        path, part = found[source.below(len(found))]
    changed = replaced(spec, path, source.one(_CHANGES)(source, part))
    try:
        build(changed)
    except (TypeError, OverflowError):
        return spec  # A list in a set, for one, or for a time zone; or too many days.
    return changed


def _text_in(spec):
    return build(spec) if spec[0] in ("str", "surrogates") else None


_BITS = (["int", "0"], ["int", "1"])


def _otherwise_typed(source, spec):
    """What prints, reads or compares alike."""
    built, kind = build(spec), spec[0]
    alike: list[Any] = [["str", str(built)[:500]] if "surrogates" not in str(spec) else NONE]
    if kind in ("int", "bool", *FLAGS, "Level"):
        number = int(getattr(built, "value", built))
        alike += [["int", hex(number)], ["str", f"{number:x}"], ["bool", bool(number)]]
        alike += [["Decimal", str(number % 10**30)], ["timedelta", [number % 9, 0, 0]]]
        if abs(number) <= 2**53:
            alike += [["float", float(number).hex()]]
        alike += [[name, number % 8] for name in FLAGS]
    elif kind == "float":
        alike += [["Decimal", str(built).upper()], ["int", str(int(built))] if abs(built) < 1e9 else NONE]
    elif kind in ("str", "surrogates"):
        alike += [["bytes", built.encode("utf-8", "surrogatepass").hex()], ["PurePosixPath", "a"], NONE]
        if built.isdecimal() and built.isascii():
            alike += [["int", built.lstrip("0") or "0"], ["Decimal", built]]
    elif kind == "bytes":
        alike += [["str", built.decode("latin-1")], ["UUID", (spec[1] + "00" * 16)[:32]]]
    elif kind == "date":
        alike += [["datetime", spec[1], None, 0], ["datetime", spec[1], None, 1]]
    elif kind == "datetime":
        alike += [["date", spec[1][:3]], ["time", spec[1][3:], spec[2], spec[3]]]
    elif kind == "time":
        alike += [["datetime", [1, 1, 1, *spec[1]], spec[2], spec[3]]]
    elif kind == "timezone":
        alike += [["timedelta", [0, 0, spec[1]]], ["ZoneInfo", "UTC"]]
    elif kind == "ZoneInfo":
        alike += [["timezone", 0, spec[1]], ["timezone", 0, None]]
    elif kind == "UUID":
        alike += [["bytes", spec[1]], ["int", str(built.int)]]
    elif kind in ENUMS:
        alike += [[name, "RED" if spec[1] == "CRIMSON" else spec[1]] for name in ENUMS]
        alike += [["str", spec[1]], ["int", str(built.value)]]
    elif kind in specs.PATHS:
        alike += [[name, spec[1]] for name in ("PurePosixPath", "PureWindowsPath", HERE)]
    elif kind in SEQUENCES or kind in SETS:
        alike += [[name, spec[1]] for name in (*SEQUENCES, *SETS)]
        truth = [["bool", item[1] == "1"] if item in _BITS else item for item in spec[1]]
        alike += [[kind, truth]] * (1 + len(SETS) * (truth != spec[1]))
        alike += [[kind, [["int", str(len(item[1]))] if item[0] == "str" else item for item in spec[1]]]]
        if len(spec[1]) == 2:
            alike += [[name, *spec[1]] for name in RECORDS] + [["dict", [spec[1]]]]
        alike += [["dict", [item[1] for item in spec[1] if item[0] in SEQUENCES and len(item[1]) == 2]]]
    elif kind == "dict":
        pairs = [["tuple", pair] for pair in spec[1]]
        alike += [["list", pairs], ["set", pairs], ["list", _parts_of(spec)]]
        alike += [["list", [key for key, _ in spec[1]]], ["set", [key for key, _ in spec[1]]]]
        if len(spec[1]) == 2:
            alike += [[name, spec[1][0][1], spec[1][1][1]] for name in RECORDS]
    elif kind in RECORDS or kind in MODELS:
        fields = [["str", "x"], spec[1]], [["str", "y"], spec[2]]
        alike += [["dict", list(fields)], ["list", spec[1:3]]]
        alike += [[name, spec[1], spec[2]] for name in RECORDS]
        if source.models:
            alike += [[name, spec[1], spec[2], [], NONE] for name in MODELS]
        if kind in MODELS:
            alike += [[name, *spec[1:]] for name in MODELS]
    elif kind in TOKENS:
        alike += [spec[1], *([name, spec[1]] for name in TOKENS)]
    return source.one(alike[::-1])


def _a_little_else(source, spec):
    """Of the same type, but another."""
    kind = spec[0]
    choice = source.below(4)
    if kind == "int":
        number = int(spec[1], 0)
        other = (number + 1, -number, number * 16 + source.below(16), number - 1)[choice]
        return ["int", hex(other)]
    if kind == "float" and choice:
        built = build(spec)
        other = -built if choice == 1 else math.nextafter(built, math.inf if choice == 2 else 0)
        return ["float", other.hex()]
    if kind == "float":
        return fraction(source)
    if kind in ("str", "surrogates"):
        written = _text_in(spec)
        if kind == "surrogates" and source.below(2):
            return source.one((["surrogates", source.one(SURROGATES)], ["str", "?" * len(written)]))
        other = (written + source.one("ab\x00:;1"), written[:-1], written[::-1], written.swapcase())[choice]
        return text_of_points(other)
    if kind == "bytes":
        longer = spec[1] + f"{source.below(256):02x}"
        return ["bytes", (longer, spec[1][2:], spec[1][:-2], spec[1] + "00")[choice]]
    if kind == "bool":
        return ["bool", not spec[1]]
    if kind == "Decimal":
        turned, finite = spec[1].removeprefix("-"), build(spec).is_finite()
        if choice < 2:
            return ["Decimal", turned if turned != spec[1] else f"-{turned}"]
        if choice == 2 and finite and "E" not in spec[1]:
            return [
                "Decimal",
                spec[1] + source.one(("0", "E+1", "E-1") if "." in spec[1] else (".0", "E+1", "0")),
            ]
        return ["Decimal", source.one((*DECIMALS, "sNaN", "NaN1"))]
    if kind in ("datetime", "time"):
        _, parts, tz, fold = spec
        if choice == 0:
            return [kind, parts, tz, 1 - fold]
        if choice == 1:
            return [kind, parts, zone(source), fold]
        if choice == 2:
            return [kind, parts, None, fold]
        least = 3 if kind == "datetime" else 0
        padded = [*parts, 0, 0, 0, 0][: least + 4]
        return [kind, [*padded[:-1], (padded[-1] + source.one((1, 10, 999_999))) % 10**6], tz, fold]
    if kind == "timedelta":
        days, seconds, microseconds = spec[1]
        if choice and days >= 0 and 0 <= seconds < 1000:
            # Read without what stands between them, 1 and 10 are 11 and 0.
            digits = f"{days}{seconds}{microseconds % 10**6}"
            first = source.below(len(digits) - 2) + 1
            second = first + 1 + source.below(len(digits) - first - 1)
            return ["timedelta", [int(digits[:first]), int(digits[first:second]), int(digits[second:])]]
        shifted = [seconds, microseconds, days], [days, seconds + 1, microseconds], [days, seconds, 0]
        return ["timedelta", source.one((*shifted, [days + 1, seconds - 86400, microseconds]))]
    if kind == "timezone" and choice:
        name = source.one((spec[2], spec[2], "Z", "UTC", "UTC+02:00", None))
        return ["timezone", spec[1] if choice == 1 else (spec[1] + 10**6) % 10**10, name]
    if kind == "ZoneInfo":
        return ["ZoneInfo", source.one(ZONES)]
    if kind in SEQUENCES or kind in SETS or kind == "dict":
        return _held_otherwise(source, spec)
    if kind in RECORDS:
        return [kind, *((spec[2], spec[1]) if choice % 2 else (spec[1], near(source, spec[2])))]
    if kind in MODELS:
        _, x, y, extra, note = spec
        changed = (x, y, [], note), (y, x, extra, note), (x, y, [["w", note]], y), (x, y, extra, leaf(source))
        return [kind, *source.one(changed)]
    return _ANEW.get(kind, constant)(source)


_ANEW = {
    **dict.fromkeys(ENUMS, member),
    **dict.fromkeys(FLAGS, flag),
    **dict.fromkeys(specs.PATHS, path),
    "date": date,
    "UUID": identifier,
    "timezone": timezone,
    "ZoneInfo": timezone,
}


def _held_otherwise(source, spec):
    """A container with its items dropped, doubled, added, exchanged or turned round."""
    kind, items = spec[0], spec[1]
    choice = source.below(6)
    if not items or choice == 0:
        return [kind, [*items, [leaf(source), leaf(source)] if kind == "dict" else leaf(source)]]
    at = source.below(len(items))
    if choice == 1:
        return [kind, items[:at] + items[at + 1 :]]
    if choice == 2:
        return [kind, [*items[:at], items[at], *items[at:]]]
    if choice == 3 and kind == "dict":
        return [kind, [*items[:at], items[at][::-1], *items[at + 1 :]]]
    if choice == 4 and kind == "dict":
        values = source.shuffled([item for _, item in items])
        return [kind, [[key, item] for (key, _), item in zip(items, values, strict=True)]]
    if choice == 3:
        return [kind, items[:at] + items[at + 1 :] + [items[at]]]
    if choice == 5 and kind == "dict":
        return [kind, [*items[:at], [near(source, items[at][0]), items[at][1]], *items[at + 1 :]]]
    return [kind, items[:-1]]


def _moved(source, spec):
    """What neighbours hold, divided between them in another way; or an item wrapped or unwrapped."""
    items = _parts_of(spec)
    if not items:
        return ["list", [spec]]
    at = source.below(len(items))
    left, right = items[at], items[(at + 1) % len(items)]
    choice = source.below(6)
    if choice == 0:
        items[at] = ["list", [left]]
    elif choice == 1 and left[0] in (*SEQUENCES, *SETS):
        items[at : at + 1] = left[1]
    elif len(items) > 1:
        texts = _text_in(left), _text_in(right)
        if None not in texts and source.below(3):
            joined = texts[0] + source.one(("", "", "s1:", f"s{len(texts[1])}:", "n1:y", "1:")) + texts[1]
            cut = source.below(len(joined) + 1)
            items[at] = text_of_points(joined[:cut])
            items[(at + 1) % len(items)] = text_of_points(joined[cut:])
        elif left[0] in SEQUENCES and right[0] in SEQUENCES:
            joined = left[1] + right[1]
            cut = source.below(len(joined) + 1)
            items[at], items[(at + 1) % len(items)] = [left[0], joined[:cut]], [right[0], joined[cut:]]
        elif left[0] in SEQUENCES and choice < 4:
            items[at : at + 2] = [[left[0], [*left[1], right]]]
        elif right[0] in SEQUENCES and choice < 4:
            items[at : at + 2] = [[right[0], [left, *right[1]]]]
        else:
            items[at], items[(at + 1) % len(items)] = right, left
    else:
        return left
    return _with_parts(spec, items)


def _parts_of(spec):
    if spec[0] in SEQUENCES or spec[0] in SETS:
        return list(spec[1])
    if spec[0] == "dict":
        return [part for pair in spec[1] for part in pair]
    if spec[0] in RECORDS:
        return list(spec[1:])
    return []


def _with_parts(spec, items):
    if spec[0] == "dict":
        return ["dict", [items[at : at + 2] for at in range(0, len(items) // 2 * 2, 2)]]
    if spec[0] in RECORDS and len(items) == 2:
        return [spec[0], *items]
    return [spec[0] if spec[0] not in RECORDS else "list", items]


def _as_encoded(source, spec):
    """A text or bytes that say what the encoding would write for it."""
    written = encode(build(spec))
    cut = written[source.below(3) :]
    return source.one((["bytes", cut.hex()], ["str", cut.decode("latin-1")]))


_CHANGES = (_a_little_else, _otherwise_typed, _moved, _a_little_else, _otherwise_typed, _moved, _as_encoded)


# What is the same.


def same(source, spec):
    """Another description of the same meaning: lists as tuples, sets and dicts in another order."""
    kind = spec[0]
    if kind in SEQUENCES:
        return [source.one(SEQUENCES), [same(source, item) for item in spec[1]]]
    if kind in SETS:
        items = [same_hashable(source, item) for item in specs.members(spec[1]).values()]
        return [source.one(SETS), source.shuffled(items)]
    if kind == "dict":
        pairs = specs.entries(spec[1]).values()
        again = [[same_hashable(source, key), same(source, item)] for key, item in pairs]
        return ["dict", source.shuffled(again)]
    if kind in RECORDS:
        return [kind, same(source, spec[1]), same(source, spec[2])]
    if kind in MODELS:
        extra = source.shuffled([name, same(source, item)] for name, item in dict(spec[3]).items())
        return [kind, same(source, spec[1]), same(source, spec[2]), extra, same(source, spec[4])]
    if kind in TOKENS:
        return [kind, same(source, spec[1])]
    return same_hashable(source, spec)


def same_hashable(source, spec):
    kind = spec[0]
    if kind == "float" and build(spec) != build(spec):
        return ["float", source.one(FRACTIONS[-4:])]
    if kind == "Colour" and spec[1] != "BLUE":
        return ["Colour", source.one(("RED", "CRIMSON"))]
    if kind == "timedelta":
        days, seconds, microseconds = spec[1]
        return ["timedelta", [days - 1, seconds + 86399, microseconds + 10**6]]
    if kind == "timezone" and spec[2] is None and spec[1] == 0:
        return ["timezone", 0, source.one(("UTC", None))]
    if kind in ("tuple", "frozenset"):
        items = spec[1] if kind == "tuple" else specs.members(spec[1]).values()
        items = [same_hashable(source, item) for item in items]
        return [kind, items if kind == "tuple" else source.shuffled(items)]
    return spec
