"""What the endpoints answer with: a status code, headers and a body, in no framework's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sse import Feed

__all__ = [
    "METHODS",
    "Answer",
    "Refusal",
    "no_stream_any_more",
    "only_reading",
    "script",
    "to_json",
    "to_stream",
]

#: All of them are routed to the endpoints, which answer the first two.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_EVENTS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
SCRIPT = Path(__file__).parent / "static" / "jobtastic-progress.js"


@dataclass(frozen=True)
class Answer:
    """An answer; one with a feed streams that in place of a body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    feed: Feed | None = None

    def to(self, method: str) -> Answer:
        """The same for *method*: with the headers alone for ``HEAD``."""
        return replace(self, body=b"", feed=None) if method == "HEAD" else self


class Refusal(Exception):  # noqa: N818 - it is an answer to give, and nobody's error
    """The request goes no further: :attr:`answer` says why."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.answer = to_json(status, {"error": {"code": code, "message": message}}, headers)


def to_json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """*content* as JSON that nobody keeps."""
    return _answer(
        status,
        json.dumps(content, allow_nan=False).encode(),
        {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
    )


def to_stream(feed: Feed) -> Answer:
    """*feed* as server-sent events, which nobody keeps either, and which Nginx is not to collect."""
    return Answer(200, {**_EVENTS, "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}, feed=feed)


def no_stream_any_more() -> Answer:
    """The one answer after which an ``EventSource`` does not come again."""
    return Answer(204, _EVENTS)


def script(method: str, if_none_match: str | None) -> Answer:
    """The module for browsers, unless they say that they have got it.

    :raises Refusal: for methods that do not read.
    """
    only_reading(method)
    content, etag = _script()
    headers = {
        "Content-Type": "text/javascript; charset=utf-8",
        "Cache-Control": "public, no-cache",
        "ETag": etag,
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Answer(304, headers)
    return _answer(200, content, headers)


def only_reading(method: str) -> None:
    """Go on for methods that read.

    :raises Refusal: for others.
    """
    if method not in METHODS[:2]:
        message = f"{method} is not accepted here; GET and HEAD are"
        raise Refusal(405, "method_not_allowed", message, {"Allow": ", ".join(METHODS[:2])})


@cache
def _script() -> tuple[bytes, str]:
    content = SCRIPT.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _matches(if_none_match: str, etag: str) -> bool:
    # A proxy that compresses makes a tag weak.
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(tags & {etag, "*"})


def _answer(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    always = {"Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
    return Answer(status, {**headers, **always}, body)
