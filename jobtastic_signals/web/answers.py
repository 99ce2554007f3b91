"""The answers of the endpoints: a status code, headers and a body, independent of any framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from .sse import Feed

__all__ = [
    "METHODS",
    "STATIC",
    "Answer",
    "Refusal",
    "check_method",
    "end_of_stream",
    "script",
    "static_file",
    "to_json",
    "to_page",
    "to_stream",
    "to_text",
]

#: The methods that are routed to the endpoints. Only the first two are accepted there.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_EVENTS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    # Not "no-store" alone: a proxy that compresses a stream holds its events back.
    "Cache-Control": "no-store, no-transform",
}
STATIC = Path(__file__).parent / "static"
SCRIPT = STATIC / "jobtastic-progress.js"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True)
class Answer:
    """An answer. If it has a feed, the feed is streamed instead of the body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    feed: Feed | None = None

    def to(self, method: str) -> Answer:
        """Return the answer to a request with *method*: only the headers for ``HEAD``."""
        return replace(self, body=b"", feed=None) if method == "HEAD" else self


class Refusal(Exception):  # noqa: N818  # it is an answer, and not a programming error
    """Ends the handling of a request. :attr:`answer` says why."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.answer: Answer = to_json(status, {"error": {"code": code, "message": message}}, headers)


def to_json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """Return *content* as JSON that must not be cached."""
    return _answer(
        status,
        json.dumps(content, allow_nan=False).encode(),
        {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
    )


def to_stream(feed: Feed) -> Answer:
    """Return *feed* as server-sent events that must not be cached, nor buffered on the way."""
    at_once = {
        "X-Accel-Buffering": "no",  # Nginx
        # What compresses answers, such as Django's GZipMiddleware, leaves encoded ones alone.
        "Content-Encoding": "identity",
    }
    return Answer(200, {**_EVENTS, **at_once, "X-Content-Type-Options": "nosniff"}, feed=feed)


def end_of_stream() -> Answer:
    """Return the only answer after which an ``EventSource`` does not connect again."""
    return Answer(204, _EVENTS)


def to_text(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return *text* that must not be cached."""
    plain = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return _answer(status, text.encode(), {**plain, **(headers or {})})


def to_page(html: str, headers: Mapping[str, str]) -> Answer:
    """Return *html* as a page that must not be cached."""
    kind = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    # Ids from outside can have half of a character, which UTF-8 cannot.
    return _answer(200, html.encode(errors="replace"), {**kind, **headers})


def script(method: str, if_none_match: str | None) -> Answer:
    """Return the JavaScript module, or 304 if the browser has it already.

    :raises Refusal: for methods other than ``GET`` and ``HEAD``.
    """
    return static_file(SCRIPT.name, method, if_none_match)


def static_file(name: str, method: str, if_none_match: str | None) -> Answer:
    """Return a script or a style, or 304 if the browser has it already.

    :raises Refusal: for methods other than ``GET`` and ``HEAD``.
    """
    check_method(method)
    content, etag = _static(name)
    headers = {
        "Content-Type": _TYPES[Path(name).suffix],
        "Cache-Control": "public, no-cache",
        "ETag": etag,
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Answer(304, headers)
    return _answer(200, content, headers)


def check_method(method: str) -> None:
    """Accept ``GET`` and ``HEAD``.

    :raises Refusal: for other methods.
    """
    if method not in METHODS[:2]:
        message = f"the method {method} is not accepted here; use GET or HEAD"
        raise Refusal(405, "method_not_allowed", message, {"Allow": ", ".join(METHODS[:2])})


@cache
def _static(name: str) -> tuple[bytes, str]:
    content = (STATIC / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _matches(if_none_match: str, etag: str) -> bool:
    # A proxy that compresses the module makes its tag weak.
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(tags & {etag, "*"})


def _answer(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    always = {"Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
    return Answer(status, {**headers, **always}, body)
