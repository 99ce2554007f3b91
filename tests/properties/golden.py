"""Values and calls whose encodings and keys stay as they are, for as long as the scheme is called v1.

``python -m tests.properties.golden`` writes them to ``golden.json``, which changes nothing unless keys
change for everybody: results that are kept would not be found again.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jobtastic_signals.keys.canonical import encode, register_type
from tests.support.keys import keys_of

from . import specs
from .specs import build
from .strategies import DECIMALS, FRACTIONS, NUMBERS, SURROGATES, TEXTS

FILE = Path(__file__).with_suffix(".json")

INT, TEXT = ["int", "1"], ["str", "a"]
UTC, EAST, BERLIN = ["timezone", 0, None], ["timezone", 7_200_000_000, None], ["ZoneInfo", "Europe/Berlin"]
LONG_INTS = [["int", str(number)] for number in range(-2, 14)]
LONG_TEXTS = [["str", "ab\u00fc"[: index % 4]] for index in range(16)]


def _ints(*numbers):
    return [["int", hex(number)] for number in numbers]


VALUES = [
    *(["none"], ["bool", True], ["bool", False]),
    *_ints(*NUMBERS),
    *(["float", text] for text in FRACTIONS),
    *(["str", text] for text in TEXTS[:30]),
    *(["surrogates", points] for points in SURROGATES),
    *(["bytes", digits] for digits in ("", "61", "00", "ff", "31", "73313a61")),
    *(["Decimal", text] for text in (*DECIMALS, "sNaN", "-sNaN12")),
    *(["date", parts] for parts in ([1, 1, 1], [2024, 2, 29], [9999, 12, 31])),
    *(["datetime", [2020, 10, 25, 2, 30], tz, fold] for tz in (None, UTC, EAST, BERLIN) for fold in (0, 1)),
    *(
        ["datetime", [2020, 1, 2, *rest], None, 0]
        for rest in ([], [3, 4, 5], [3, 4, 5, 6], [0, 0, 0, 100_000])
    ),
    ["datetime", [9999, 12, 31, 23, 59, 59, 999_999], ["timezone", -86_399_999_999, "é"], 1],
    *(["time", [2, 30], tz, fold] for tz in (None, EAST, BERLIN) for fold in (0, 1)),
    *(["time", parts, None, 0] for parts in ([0], [1, 2, 3], [23, 59, 59, 999_999])),
    *(
        ["timedelta", parts]
        for parts in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [-5, 86400, 7])
    ),
    *(
        UTC,
        EAST,
        ["timezone", 0, "Z"],
        ["timezone", 7_200_000_000, "UTC"],
        ["timezone", -1_800_000_001, None],
    ),
    *(BERLIN, ["ZoneInfo", "UTC"], ["ZoneInfo", "Etc/GMT-2"]),
    *(["UUID", digits] for digits in ("00" * 16, "00" * 15 + "05", "ff" * 16)),
    *([name, member] for name in specs.ENUMS for member in ("RED", "BLUE")),
    ["Colour", "CRIMSON"],
    *([name, value] for name in specs.FLAGS for value in (0, 1, 5, 7)),
    *([name, text] for name in ("PurePosixPath", "PureWindowsPath") for text in ("a/b", "/a", ".", "é")),
    *(["PosixPath", "a/b"], ["WindowsPath", "a/b"]),
    *([kind, []] for kind in ("list", "tuple", "set", "frozenset", "dict")),
    *(
        ["list", [INT]],
        ["tuple", [INT, TEXT]],
        ["list", [["list", []], ["list", [INT]]]],
        ["list", [["none"]]],
    ),
    *(
        ["list", LONG_INTS],
        ["tuple", LONG_INTS],
        ["list", LONG_INTS[:15]],
        ["list", [*LONG_INTS, ["bool", True]]],
    ),
    *(["list", [*LONG_INTS, *_ints(2**63 - 1, -(2**63))]], ["list", [*LONG_INTS, *_ints(2**63)]]),
    *(["list", LONG_TEXTS], ["tuple", LONG_TEXTS], ["list", LONG_TEXTS[:15]], ["list", [*LONG_TEXTS, INT]]),
    ["list", [*LONG_TEXTS, ["surrogates", [0xD83D]], ["surrogates", [0xDE00]]]],
    ["list", [["float", "0x1p+0"]] * 16],
    *(
        ["set", [INT]],
        ["frozenset", [["int", "10"], ["int", "9"], TEXT]],
        ["set", [["tuple", [INT]], ["none"]]],
    ),
    ["set", [["float", "nan"], ["float", "nan"]]],
    ["frozenset", [["frozenset", []], ["frozenset", [INT]]]],
    *(["dict", [[TEXT, INT]]], ["dict", [[["str", "b"], INT], [TEXT, ["none"]]]], ["dict", [[INT, TEXT]]]),
    ["dict", [[["str", "\uffff"], INT], [["str", "\U0001f600"], TEXT], [["str", ""], TEXT]]],
    ["dict", [[INT, TEXT], [TEXT, INT], [["tuple", [INT]], ["dict", []]], [["none"], ["set", []]]]],
    ["dict", [[["float", "nan"], INT], [["float", "nan"], TEXT]]],
    ["dict", [[["float", "nan"], TEXT], [["float", "-nan"], INT]]],
    *([name, INT, TEXT] for name in specs.RECORDS),
    ["Point", ["Pair", INT, ["list", LONG_INTS]], ["dict", [[TEXT, ["Colour", "RED"]]]]],
    *([name, content] for name in specs.TOKENS for content in (INT, ["list", [TEXT]])),
    *([name, INT, TEXT, extra, ["none"]] for name in ("Model", "Sample") for extra in ([], [["z", INT]])),
    ["Model", INT, TEXT, [["z", INT], ["w", TEXT]], ["list", [INT]]],
]


def one(self, x): ...


def two(self, x, y=2): ...


def greedy(self, a, *args, c=3, **kwargs): ...


def unkeyable(self, x, y=object()): ...  # noqa: B008 - meant


def _textual(value):
    return str(value).upper()


#: The function, its options, the call, and the bytes that its key is to be the digest of, by hand.
CALLS: dict[str, Any] = {
    "an int": (one, {}, [INT], {}, b"n1:xi1;"),
    "a text": (one, {}, [TEXT], {}, b"n1:xs1:a"),
    "none": (one, {}, [["none"]], {}, b"n1:xN"),
    "a list": (one, {}, [["tuple", [INT, TEXT]]], {}, b"n1:xl2:i1;s1:a"),
    "a dict, by JSON": (one, {}, [["dict", [[INT, TEXT]]]], {}, b"n1:xd1:s1:1s1:a"),
    "a dict, by pickle": (one, {"serializer": "pickle"}, [["dict", [[INT, TEXT]]]], {}, b"n1:xd1:i1;s1:a"),
    "a default": (two, {}, [INT], {}, b"n1:xi1;n1:yi2;"),
    "by name": (two, {}, [], {"y": TEXT, "x": INT}, b"n1:xi1;n1:ys1:a"),
    "all of a prefix": (two, {"cache_prefix": "family"}, [INT, INT], {}, b"n1:xi1;n1:yi1;"),
    "a default without form": (unkeyable, {}, [INT], {}, b"n1:xi1;n1:y="),
    "an optional one left out": (
        greedy,
        {"significant_kwargs": (("a", None), ("z", None))},
        [INT],
        {},
        b"n1:ai1;n1:z-",
    ),
    "an optional one": (greedy, {"significant_kwargs": (("z", None),)}, [INT], {"z": INT}, b"n1:zi1;"),
    "nothing that counts": (two, {"significant_kwargs": ()}, [INT], {}, b""),
    "one that counts": (two, {"significant_kwargs": (("y", None),)}, [INT, TEXT], {}, b"n1:ys1:a"),
    "to_str": (one, {"significant_kwargs": (("x", _textual),)}, [TEXT], {}, b"n1:xt1:A"),
    "to_str of a list": (one, {"significant_kwargs": (("x", str),)}, [["tuple", [INT]]], {}, b"n1:xt3:[1]"),
    "to_str of a default": (two, {"significant_kwargs": (("y", str),)}, [INT], {}, b"n1:yt1:2"),
    "to_str beyond ASCII": (
        one,
        {"significant_kwargs": (("x", str),)},
        [["str", "é"]],
        {},
        b"n1:xt2:\xc3\xa9",
    ),
    "what is caught": (
        *(greedy, {}, [INT, TEXT], {"y": INT, "c": TEXT, "x": TEXT}),
        b"n1:ai1;n4:argsl1:s1:an1:cs1:an6:kwargsd2:s1:xs1:as1:yi1;",
    ),
    "nothing caught": (greedy, {}, [INT], {}, b"n1:ai1;n4:argsl0:n1:ci3;n6:kwargsd0:"),
    "much": (one, {"serializer": "pickle"}, [["bytes", "61" * 20_000]], {}, b"n1:xb20000:" + b"a" * 20_000),
}


def buildable(spec):
    """Whether *spec* can be built: models need pydantic, and each system has paths of its own."""
    return spec[0] in specs.KINDS and spec[0] not in {"PosixPath", "WindowsPath"} - {specs.HERE}


def key_of(name):
    function, options, args, kwargs, digested = CALLS[name]
    made = keys_of(function, **options)(
        *map(build, args), **{name: build(spec) for name, spec in kwargs.items()}
    )
    by_hand = blake2b(digested, digest_size=20).hexdigest()
    return made, f"v1:{options.get('cache_prefix', 'proj.task')}:{by_hand}"


def registered():
    for cls, content in specs.REGISTERED.items():
        register_type(cls, content)


def main():
    registered()
    # As one character for each byte, so that most can be read.
    values = [[spec, encode(build(spec)).decode("latin-1")] for spec in VALUES if buildable(spec)]
    keys = {name: key_of(name)[0] for name in CALLS}
    lines = ",\n".join(json.dumps(pair) for pair in values)
    FILE.write_text(f'{{"values": [\n{lines}\n],\n"keys": {json.dumps(keys, indent=0)}}}\n')


if __name__ == "__main__":
    main()
