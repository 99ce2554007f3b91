"""What a Redis store says to its scripts, and how it reads their answers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from ..entry import NOTHING, Claim, Entry, Result
from ..values import replace

__all__ = ["counted", "decoded", "encoded", "flag", "found", "found_entry", "hold", "number", "optional"]


def encoded(text: str) -> bytes:
    """Return *text* in the encoding of the store, which has all of Python's texts."""
    return text.encode("utf-8", "surrogatepass")


def decoded(raw: bytes) -> str:
    """Return the text of *raw*. What nobody can have :func:`encoded` becomes another text."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


def number(number: float | None) -> bytes:
    return b"" if number is None else repr(float(number)).encode()


def flag(condition: bool) -> bytes:
    return b"1" if condition else b""


def optional(text: str | None) -> bytes:
    """Return a word that is not empty, unless *text* is ``None``."""
    return b"" if text is None else b"=" + encoded(text)


def hold(claim: Claim | None) -> tuple[bytes, ...]:
    """Return who has *claim*: the owner and the delivery. Nothing is sent for ``None``, which is usual."""
    return () if claim is None else (optional(claim.owner), optional(claim.delivery))


def found(answer: list[bytes] | None) -> Result | Claim | None:
    """Return what a script answered.

    That is the time, and a claim or the value that has a result. Then there may be what the result backend
    has of the owner, and the owner that is to renew the result.
    """
    if answer is None:
        return None
    at, record, payload = _opened(answer)
    found = _shown(record, at) if payload is None else _result(record["result"], payload, at)
    told, renewal = [*answer[2:], None, None][:2]
    if renewal is not None and isinstance(found, Result):
        found = replace(found, renewal=decoded(renewal))
    found.told = told
    return found


def found_entry(answer: list[bytes] | None) -> Entry:
    """Return what a script answered: the time, and the value of an entry as it is shown."""
    if answer is None:
        return NOTHING
    at, record, payload = _opened(answer)
    claim = _shown(record, at) if "claim" in record else None
    result = None if payload is None else _result(record["result"], payload, at)
    return Entry(claim, result, None if claim is None else claim.next)


def counted(answer: list[bytes]) -> dict[str, float]:
    """Return the numbers of a hash. Their names have a ``=`` before them."""
    amounts = {}
    for name, amount in zip(answer[::2], answer[1::2], strict=True):
        with suppress(ValueError):  # Somebody else wrote it.
            if name.startswith(b"="):
                amounts[decoded(name[1:])] = float(amount)
    return amounts


def _opened(answer: list[bytes]) -> tuple[float, dict[str, Any], bytes | None]:
    """Return the time, the record, and the payload if there is a result."""
    head, line, payload = answer[1].partition(b"\n")
    return float(answer[0]), json.loads(decoded(head)), payload if line else None


def _shown(record: dict[str, Any], at: float) -> Claim:
    return _claim(
        record["claim"],
        previous=record.get("previous"),
        next=_claim(record["next"]) if "next" in record else None,
        forgotten=_end(record.get("forgotten")),
        at=at,
    )


def _claim(fields: dict[str, Any], **shown: Any) -> Claim:
    return Claim(
        fields["owner"],
        float(fields["expires"]),
        float(fields["since"]),
        fields.get("delivery"),
        fields.get("awaited", False),
        _end(fields.get("message_expires")),
        fields.get("fresh", False),
        int(fields.get("joined", 0)),
        tuple(fields.get("left", ())),
        **shown,
    )


def _result(fields: dict[str, Any], payload: bytes, at: float) -> Result:
    return Result(
        fields["owner"],
        payload,
        fields["state"],
        float(fields["began"]),
        float(fields["ended"]),
        _end(fields.get("expires")),
        _end(fields.get("kept")),
        _end(fields.get("stale_until")),
        at=at,
    )


def _end(text: str | None) -> float | None:
    return None if text is None else float(text)
