"""Encodings and keys are what they always were: other versions of this package have made some, too."""

import json

import pytest

from jobtastic_signals.keys.canonical import WRITERS, encode

from . import golden
from .specs import FLAGS, HERE, MODELS, RECORDS, TOKENS, build

golden.registered()

KNOWN = json.loads(golden.FILE.read_text())
VALUES = [(spec, written.encode("latin-1")) for spec, written in KNOWN["values"]]


def test_encodings_are_what_they_were():
    written = {json.dumps(spec): (encode(build(spec)), old) for spec, old in VALUES if golden.buildable(spec)}
    assert {spec: new for spec, (new, _) in written.items()} == {
        spec: old for spec, (_, old) in written.items()
    }


@pytest.mark.parametrize("name", golden.CALLS)
def test_keys_are_what_they_were_and_digests_of_what_is_written_here_by_hand(name):
    assert golden.key_of(name) == (KNOWN["keys"][name],) * 2


def test_all_kinds_of_values_are_known():
    assert len(VALUES) >= 150
    assert len(KNOWN["keys"]) == len(golden.CALLS) >= 20
    assert [spec for spec, _ in VALUES] == [
        spec for spec in golden.VALUES if spec[0] in ("Model", "Sample") or golden.buildable(spec)
    ]
    tags = {old[:1] for _, old in VALUES}
    assert tags >= set(map(bytes, zip(b"NTFifsbDamhpzZuPlIXSdECR")))
    known = {type(build(spec)) for spec, _ in VALUES if golden.buildable(spec)}
    others = {"PosixPath", "WindowsPath"} - {HERE}
    assert {cls for cls in WRITERS if cls.__name__ not in others} <= known
    kinds = {spec[0] for spec, _ in VALUES}
    assert kinds >= {*RECORDS, *MODELS, *TOKENS, *FLAGS, "Model", "Colour", "Level"}
    by_hand = b" ".join(digested for *_, digested in golden.CALLS.values())
    assert all(tag in by_hand for tag in (b"n1:x", b"n6:kwargs", b"t3:", b"n1:y=", b"n1:z-"))
