"""How an entry is written: a line of JSON, which names its fields, and then the payload as it is.

A reader ignores fields that it does not know. It refuses a record of another :data:`~.base.FORMAT_VERSION`,
and anything else that it cannot read. So a later release may add fields freely. It changes the version
only if a reader of today would misunderstand what it writes.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from ..support.rare_warnings import rare_warnings
from ..support.shown import shown, shown_error
from .entry import FORMAT_VERSION, Claim, Counts, Entry, Forgetting, Result
from .values import Value

__all__ = ["Pieces", "ResultInPieces", "dump", "is_identity", "load", "warn_of_unreadable"]

logger: logging.Logger = logging.getLogger(__name__)

_HEX = re.compile(r"[0-9a-f]{32}")

#: Entries that a process remembers having warned of.
_MOST_WARNED = 1000

_warned: set[tuple[str, str]] = set()


@dataclass(eq=False, repr=False)
class Pieces(Value):
    """Where the payload of a result lies, if it is too large for the record."""

    name: str
    count: int

    @property
    def names(self) -> list[str]:
        """The name of each piece, in order."""
        return [f"{self.name}-{number}" for number in range(self.count)]


@dataclass(eq=False, repr=False)
class ResultInPieces(Result):
    """A result as it is recorded if its payload lies in pieces. Its own ``payload`` is empty."""

    pieces: Pieces = field(kw_only=True)

    @classmethod
    def of(cls, result: Result, pieces: Pieces) -> ResultInPieces:
        """Return *result* with its payload in *pieces*."""
        return cls(**{**vars(result), "payload": b"", "pieces": pieces})

    def with_payload(self, payload: bytes) -> Result:
        """Return the result as it was before its payload was put into pieces."""
        return Result(**{**_named(self, _RESULT, _RESULT_DEFAULTS), "payload": payload})


_Types: TypeAlias = Mapping[str, tuple[type, ...]]

_TEXT, _TIME, _NONE = (str,), (float,), (type(None),)

_CLAIM: _Types = {
    "owner": _TEXT,
    "expires": _TIME,
    "since": _TIME,
    "delivery": _TEXT + _NONE,
    "awaited": (bool,),
    "message_expires": _TIME + _NONE,
}

_RESULT: _Types = {
    "owner": _TEXT,
    "state": _TEXT,
    "began": _TIME,
    "ended": _TIME,
    "expires": _TIME + _NONE,
    "kept": _TIME + _NONE,
}

#: What is left out of a record where it has this value, which is usual.
_CLAIM_DEFAULTS: Mapping[str, Any] = {"fresh": False, "joined": 0, "left": ()}
_RESULT_DEFAULTS: Mapping[str, Any] = {"stale_until": None}

_FORGETTING: _Types = {"at": _TIME, "expires": _TIME + _NONE}

_PIECES: _Types = {"name": _TEXT, "count": (float,)}

# Made once, since each costs as much as what it does. To a reader all numbers are alike. No entry is part of
# itself, so nobody has to look for that.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_decode = json.JSONDecoder(parse_int=float).decode


def dump(entry: Entry) -> bytes:
    """Return the record of *entry*.

    >>> load(dump(Entry(Claim("owner", expires=1060.5, since=1000.5)))).claim.expires
    1060.5
    """
    result = entry.result
    fields: dict[str, Any] = {"version": FORMAT_VERSION}
    for name, claim in (("claim", entry.claim), ("next", entry.next)):
        if claim is not None:
            fields[name] = _named(claim, _CLAIM, _CLAIM_DEFAULTS)
    if entry.forgotten is not None:
        fields["forgotten"] = _named(entry.forgotten, _FORGETTING)
    if entry.counts is not None:
        fields["counts"] = {"expires": entry.counts.expires, "amounts": dict(entry.counts.amounts)}
    if result is not None:
        fields["result"] = _named(result, _RESULT, _RESULT_DEFAULTS)
    if isinstance(result, ResultInPieces):
        fields["result"]["pieces"] = _named(result.pieces, _PIECES)
    payload = b"" if result is None else result.payload
    return _encode(fields).encode() + b"\n" + payload


def load(record: bytes, *, most_pieces: int = 1000) -> Entry:
    """Return the entry of which :func:`dump` made *record*.

    :param most_pieces: the number of pieces that a payload may have. Each costs memory to look for.
    :raises ValueError: if this version cannot read it.
    """
    try:
        head, _, payload = record.partition(b"\n")
        fields = _decode(head.decode())
        version = fields["version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"format version {version!r}")
        return Entry(
            _claim(fields.get("claim")),
            _result(fields.get("result"), payload, most_pieces),
            _claim(fields.get("next")),
            _forgetting(fields.get("forgotten")),
            _counts(fields.get("counts")),
        )
    except (TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def is_identity(text: bytes | str | None) -> bool:
    """Return whether *text* is what the stores of this package write as their identity: 32 digits.

    >>> is_identity(b"0" * 32), is_identity("0" * 33), is_identity(None)
    (True, False, False)
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return isinstance(text, str) and _HEX.fullmatch(text) is not None


def warn_of_unreadable(store: str, key: str, record: object, error: Exception) -> None:
    """Warn that an entry counts as absent, once per process for each key of a store, and once in a minute."""
    if (store, key) in _warned or not rare_warnings.are_due(f"entry: {store}"):
        return
    if len(_warned) >= _MOST_WARNED:
        _warned.clear()
    _warned.add((store, key))
    logger.warning(
        "the store %s: the entry of %s cannot be read (%s), so it counts as absent: %s",
        store,
        shown(key),
        shown_error(error),
        shown(record),
    )


def _named(
    record: Claim | Result | Forgetting | Pieces,
    types: _Types,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    named = {name: getattr(record, name) for name in types}
    for name, default in defaults.items():
        value = getattr(record, name)
        if value != default:
            named[name] = value
    return named


def _checked(fields: Any, types: _Types) -> dict[str, Any]:
    """Return the fields that have *types*, without those that this version does not know."""
    found = {}
    for name, kinds in types.items():
        value = found[name] = fields[name]
        kind = type(value)
        if kind not in kinds or (kind is float and not math.isfinite(value)):
            raise ValueError(f"{name}={value!r}")
    return found


def _claim(fields: Any) -> Claim | None:
    if fields is None:
        return None
    known = _checked(fields, _CLAIM)
    if fields.keys() <= _CLAIM.keys():  # Most have nothing else.
        return Claim(**known)
    fresh, joined, left = (fields.get(name, default) for name, default in _CLAIM_DEFAULTS.items())
    if not isinstance(fresh, bool) or isinstance(joined, bool) or joined != int(joined) or joined < 0:
        raise ValueError(f"fresh={fresh!r}, joined={joined!r}")
    if not isinstance(left, list | tuple) or not all(isinstance(seat, str) for seat in left):
        raise ValueError(f"left={left!r}")
    return Claim(**known, fresh=fresh, joined=int(joined), left=tuple(left))


def _time(value: Any) -> float | None:
    return None if value is None else float(_checked({"time": value}, {"time": _TIME})["time"])


def _forgetting(fields: Any) -> Forgetting | None:
    return None if fields is None else Forgetting(**_checked(fields, _FORGETTING))


def _counts(fields: Any) -> Counts | None:
    if fields is None:
        return None
    amounts = fields["amounts"]
    return Counts(
        _checked(amounts, dict.fromkeys(amounts, _TIME)), _checked(fields, {"expires": _TIME})["expires"]
    )


def _result(fields: Any, payload: bytes, most_pieces: int) -> Result | None:
    if fields is None:
        return None
    result = {**_checked(fields, _RESULT), "stale_until": _time(fields.get("stale_until"))}
    pieces = fields.get("pieces")
    if pieces is None:
        return Result(payload=payload, **result)
    return ResultInPieces(payload=b"", pieces=_pieces(pieces, most_pieces), **result)


def _pieces(fields: Any, most: int) -> Pieces:
    where = _checked(fields, _PIECES)
    name, count = where["name"], where["count"]
    if not _HEX.fullmatch(name) or not 1 <= count <= most or count != int(count):
        raise ValueError(f"pieces={shown(where)}")
    return Pieces(name, int(count))
