"""Records that this version cannot read, and what a store makes of them."""

import json
from dataclasses import replace

from jobtastic_signals.stores import records
from jobtastic_signals.stores.entry import FORMAT_VERSION, Claim, Counts, Entry, Forgetting, Result
from jobtastic_signals.stores.records import dump
from jobtastic_signals.support.rare_warnings import rare_warnings
from jobtastic_signals.testing.conformance.base import complete, queue, renew, run
from tests.support.stores.project import warnings_of_ours

__all__ = ["ENTRY", "FIELDS", "FULL", "UNREADABLE", "changed", "counts_as_absent"]

CLAIM = Claim("owner", 2e9 + 0.1, 1e9, "owner/1", True, 2e9)
RESULT = Result("owner", b"4\n2", "SUCCESS", 1e9, 1e9, None, None)

ENTRY = Entry(CLAIM, RESULT)

#: One that has all there is.
FULL = Entry(
    replace(CLAIM, fresh=True, joined=2, left=("owner", "caller")),
    replace(RESULT, expires=1.5e9, kept=1.5e9, stale_until=2e9),
    Claim("next", 2e9, 1e9, None, False, None, fresh=True),
    Forgetting(1e9, None),
    Counts({"calls": 3.0, "run_seconds": 0.5}, 2e9),
)

FIELDS = json.loads(dump(ENTRY).partition(b"\n")[0])


def changed(path, value):
    """Return the record of :data:`ENTRY` with another value at *path*; without one if it is ``...``."""
    fields = json.loads(json.dumps(FIELDS))
    *outer, name = path.split(".")
    inner = fields[outer[0]] if outer else fields
    if value is ...:
        del inner[name]
    else:
        inner[name] = value
    return json.dumps(fields).encode() + b"\n4\n2"


UNREADABLE = {
    "nothing": b"",
    "no JSON": b"no JSON\n42",
    "a pickle": b"\x80\x04K\x01.",
    "zeros": bytes(1000),
    "a number": b"7\n42",
    "a list": b"[1, 2, 3]\n42",
    "a deep list": b"[" * 100_000,
    "no fields": b"{}\n42",
    "an older version": changed("version", FORMAT_VERSION - 1),
    "a newer version": changed("version", FORMAT_VERSION + 1),
    "no version": changed("version", ...),
    "a claim that is text": changed("claim", "owner"),
    "a claim without an owner": changed("claim.owner", ...),
    "an owner that is a number": changed("claim.owner", 7),
    "a time that is text": changed("claim.expires", "soon"),
    "a time that is no number": changed("claim.expires", float("nan")),
    "a time beyond all numbers": changed("result.ended", 10**400),
    "a lease without an end": changed("claim.expires", None),
    "a mark that is a number": changed("claim.awaited", 1),
    "a number that is a mark": changed("claim.fresh", 1),
    "callers that are text": changed("claim.joined", "two"),
    "half a caller": changed("claim.joined", 0.5),
    "less than no caller": changed("claim.joined", -1),
    "more callers than can be": changed("claim.joined", 10**400),
    "a mark that is a caller": changed("claim.joined", True),
    "seats that are text": changed("claim.left", "owner"),
    "a seat that is a number": changed("claim.left", ["owner", 7]),
    "a next claim that is text": changed("next", "owner"),
    "a next claim without an owner": changed("next", {"expires": 2e9, "since": 1e9}),
    "a forgetting that is a time": changed("forgotten", 1e9),
    "a forgetting at no time": changed("forgotten", {"at": None, "expires": 1e9}),
    "a forgetting that ends at no time": changed("forgotten", {"at": 1e9}),
    "counts without an end": changed("counts", {"amounts": {"calls": 1}}),
    "counts that are a list": changed("counts", {"amounts": [1], "expires": 2e9}),
    "a count that is text": changed("counts", {"amounts": {"calls": "1"}, "expires": 2e9}),
    "a count that is no number": changed("counts", {"amounts": {"calls": float("nan")}, "expires": 2e9}),
    "a result that is stale at no time": changed("result.stale_until", "later"),
    "a result that is a list": changed("result", []),
    "a state that is a list": changed("result.state", ["SUCCESS"]),
    "pieces without a count": changed("result.pieces", {"name": "0" * 32}),
    "ten million pieces": changed("result.pieces", {"name": "0" * 32, "count": 10_000_000}),
    "no pieces": changed("result.pieces", {"name": "0" * 32, "count": 0}),
    "half a piece": changed("result.pieces", {"name": "0" * 32, "count": 1.5}),
    "pieces of a name that we do not give": changed("result.pieces", {"name": "a name", "count": 1}),
}


def counts_as_absent(store, key="key"):
    """Check that *store* takes what is under *key* for absent, says so once, and replaces it."""
    # Other tests use the same server and the same key.
    records._warned.clear()
    rare_warnings.forget()
    with warnings_of_ours() as warned:
        assert store.lookup(key) is None
        assert key not in dict(store.entries())
        assert store.forget(key) is False
        assert store.release(key, "owner", "") is False
        assert queue(store, "first", key).previous is None
        assert run(store, "first", key).awaited is False
        assert renew(store, "first", key) is True
        assert complete(store, "first", b"43", key=key) is True
    assert store.lookup(key).payload == b"43"
    assert dict(store.entries())[key].result.payload == b"43"
    (warning,) = warned
    assert "counts as absent" in warning
    assert len(warning) < 500
    return warning
