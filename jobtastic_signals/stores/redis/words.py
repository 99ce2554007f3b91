"""What a Redis store says to its scripts, and how it reads their answers."""

from __future__ import annotations

import json
from typing import Any

from ..base import Claim, Result

__all__ = ["decoded", "encoded", "flag", "found", "hold", "number", "optional"]


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
    """Return what a script answered: the time, and a claim or the value that has a result."""
    if answer is None:
        return None
    at, value = answer
    head, line, payload = value.partition(b"\n")
    record = json.loads(decoded(head))
    if line:
        return _result(record["result"], payload, float(at))
    return _claim(record["claim"], record.get("previous"), float(at))


def _claim(fields: dict[str, Any], previous: str | None, at: float) -> Claim:
    return Claim(
        fields["owner"],
        float(fields["expires"]),
        float(fields["since"]),
        fields.get("delivery"),
        fields.get("awaited", False),
        _end(fields.get("message_expires")),
        previous,
        at,
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
        at,
    )


def _end(text: str | None) -> float | None:
    return None if text is None else float(text)
