"""A client of server-sent events that takes compressed answers, as browsers do."""

from __future__ import annotations

import http.client
import json
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

#: Seconds to wait for an event.
PATIENCE = 60.0


class Events:
    """A stream at *path* of a site, read line by line."""

    def __init__(self, url: str, path: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        self._connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        self.response = self._connection.getresponse()

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def line(self) -> str:
        return self.response.readline().decode().rstrip("\n")

    def next(self) -> Any:
        """What the next ``data:`` line says of the task; None at the end of the stream."""
        end = time.monotonic() + PATIENCE
        while line := self.response.readline():
            # Signs of life keep a connection from timing out.
            assert time.monotonic() < end, f"there was no event for {PATIENCE} s"
            if line.startswith(b"data: "):
                return json.loads(line.removeprefix(b"data: "))["task"]
        return None

    def close(self) -> None:
        self.response.close()
        self._connection.close()
