"""A site that answers as a test says, for answers that no framework of ours gives by itself."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobtastic_signals.web.answers import SCRIPT


class Stub:
    """A site with ``/page``, an element in it, and one answer for all that the element asks.

    Its task is always ``t``. A path below ``/moved/`` is answered like the status.
    """

    def __init__(self, server: http.server.ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.attributes = 'interval="100"'
        self.content = ""
        self.head = ""
        #: For a part of a path: the status, headers and body of the answer.
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        #: The paths that were asked for.
        self.asked: list[str] = []
        self._held: dict[str, threading.Event] = {}
        self.answer(status="PENDING", result=None)

    def answer(self, **task: Any) -> None:
        """Answer with the status of a task."""
        body = json.dumps({"task": {"id": "t", **task}}).encode()
        self.answers["/status/"] = self.answers["/moved/"] = 200, {"Content-Type": "application/json"}, body

    def refuse(self, status: int, path: str = "/status/", **headers: str) -> None:
        """Answer what is asked for at *path* with *status*."""
        self.answers[path] = status, headers, b"<!doctype html>Log in"

    @contextmanager
    def holding(self, path: str) -> Iterator[None]:
        """Answer what is asked for at *path* only after the block."""
        self._held[path] = threading.Event()
        try:
            yield
        finally:
            self._held.pop(path).set()

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        if path in self._held:
            self._held[path].wait()
        for part, answer in self.answers.items():
            if part in path:
                return answer
        if path == "/progress.js":
            return 200, {"Content-Type": "text/javascript"}, SCRIPT.read_bytes()
        return 200, {"Content-Type": "text/html"}, self.page().encode()

    def page(self) -> str:
        element = (
            f'<jobtastic-progress src="/t/status/" {self.attributes}>{self.content}</jobtastic-progress>'
        )
        script = '<script type="module" src="/progress.js"></script>'
        head = '<!doctype html><meta name="viewport" content="width=device-width">'
        no_request = '<link rel="icon" href="data:,">'
        return f"{head}{no_request}{script}{self.head}{element}<hr>"


@contextmanager
def stub() -> Iterator[Stub]:
    """A stub that serves."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = site.get(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Stub(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
