"""Exceptions whose text cannot be made any more after Celery has rebuilt them."""

from __future__ import annotations

from typing import Any


class ResponseError(Exception):
    """Like ``aiohttp.ClientResponseError``: Celery rebuilds it from texts instead of what it was made of."""

    def __init__(self, request_info: Any, history: Any, status: int | None = None) -> None:
        self.request_info, self.status = request_info, status
        super().__init__(request_info, history)

    def __str__(self) -> str:
        return f"{self.status}, url={self.request_info.real_url}"

    def __repr__(self) -> str:
        return f"<{self.status}, url={self.request_info.real_url}>"


class KeyMismatchError(Exception):
    """Like ``paramiko.BadHostKeyException``: its text is made of methods of its arguments."""

    def __init__(self, hostname: str, got: Any, expected: Any) -> None:
        super().__init__(hostname, got, expected)
        self.got = got

    def __str__(self) -> str:
        text: str = self.got.get_base64()
        return text


class SilentError(Exception):
    """Keeps no arguments, and has no text."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Proxy:
    """What a message can carry of a response: its text."""

    real_url = "http://127.0.0.1/"


ERRORS: list[type[Exception]] = [ResponseError, KeyMismatchError, SilentError]
