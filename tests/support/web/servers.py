"""Web servers for tests: each framework's site in a process of its own, on a free loopback port."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

from tests.support.servers import reserve_port, running, wait_until
from tests.support.workers.project import close

from .site import create_celery

ROOT = Path(__file__).parents[3]

#: The site's module and its server, for the sites that all tests run on.
SERVERS = {
    "flask": ("flask_site", "waitress"),
    "flask-werkzeug": ("flask_site", "werkzeug"),
    "django": ("django_site", "waitress"),
    "django-asgi": ("django_site", "uvicorn"),
    "asgi": ("asgi_site", "uvicorn"),
}

#: Sites under Gunicorn, which loads the app, lets it answer requests of its own, and then forks.
PRELOADED = {
    "flask-gthread": ("flask_site", "gthread"),
    "flask-gevent": ("flask_site", "gevent"),
    "django-gthread": ("django_site", "gthread"),
    "django-gevent": ("django_site", "gevent"),
    "asgi-gunicorn": ("asgi_site", "asgi"),
    "asgi-uvicorn-worker": ("asgi_site", "uvicorn.workers.UvicornWorker"),
}
WORKERS = 2


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    """A running site; ``app`` has the same result backend."""

    url: str
    app: Celery
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def store(self, task_id: str, meta: Any, state: str, **options: Any) -> None:
        """Set the state of *task_id*, as a worker does."""
        self.app.backend.store_result(task_id, meta, state, **options)

    def token(self, task_id: str) -> str:
        return self.get(f"/token/{task_id}").body.decode()

    def get(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
        connection = self.connect()
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def head(self, path: str) -> bytes:
        """All that is sent for a HEAD, in which a client of HTTP would not look for a body."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(
                f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            return b"".join(iter(lambda: connection.recv(4096), b""))

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout)

    def fail(self, part: str, *, times: int, status: int = 500) -> None:
        """Let the next *times* requests to paths that contain *part* fail."""
        (self.folder / f"fail-{part.strip('/').replace('/', '-')}").write_text(
            json.dumps([times, status, part])
        )

    def put(self, name: str, content: str | bytes) -> str:
        """Put a file onto the site; its URL."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / "files" / name).write_bytes(data)
        return f"{self.url}/file/{name}"


@contextmanager
def serve(
    name: str,
    celery_conf: dict[str, Any],
    tmp_path: Path,
    *,
    authorize: str | None = None,
    stream: bool | None = None,
    max_age: float | None = None,
    traceback: bool | None = None,
    cancel: bool | None = None,
    operator: bool = False,
    journal: str | None = None,
) -> Iterator[Site]:
    """The site *name*, of ``SERVERS`` or ``PRELOADED``; see :mod:`.site` for its pages and *authorize*.

    With *operator* it has the page for operators. With a *journal* it has the tasks of
    :mod:`tests.support.workers.project`.
    """
    module, server = (SERVERS | PRELOADED)[name]
    port = reserve_port()
    (tmp_path / "files").mkdir(parents=True, exist_ok=True)
    config = {
        "conf": celery_conf,
        "folder": str(tmp_path),
        "server": server,
        "port": port,
        "preloaded": name in PRELOADED,
        "authorize": authorize,
        "stream": stream,
        "max_age": max_age,
        "traceback": traceback,
        "cancel": cancel,
        "operator": operator,
        "journal": journal,
    }
    env = {"TEST_SITE": json.dumps(config), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    place = f"tests.support.web.{module}"
    command = gunicorn(server, port, f"{place}:create_app()", tmp_path) if name in PRELOADED else [place]
    log = tmp_path / "site.log"
    with running([sys.executable, "-W", "default", "-m", *command], log, env) as process:
        site = Site(f"http://127.0.0.1:{port}", create_celery(celery_conf), tmp_path, log, process)
        try:
            wait_until(lambda: _serves(site, process), what=f"{name} answering")
            if name in PRELOADED:
                # Gunicorn loses a signal to a process that has just been forked.
                wait_until(lambda: log.read_text().count(READY) == WORKERS, what="all processes")
            yield site
        finally:
            close(site.app)
            print(f"log of {name}:\n{log.read_bytes()[-20_000:].decode(errors='replace')}")


#: What each process of Gunicorn prints when it serves.
READY = "this process serves\n"


def gunicorn(worker: str, port: int, app: str, folder: Path) -> list[str]:
    """The arguments of Python for a Gunicorn that would wait for ten minutes for an open answer."""
    hooks = folder / "gunicorn_hooks.py"
    hooks.write_text(f"def post_worker_init(worker):\n    print({READY!r}, end='', flush=True)\n")
    return [
        "gunicorn",
        f"--config={hooks}",
        "--preload",
        f"--bind=127.0.0.1:{port}",
        f"--worker-class={worker}",
        f"--workers={WORKERS}",
        "--threads=4",
        "--graceful-timeout=600",
        "--no-control-socket",
        app,
    ]


def _serves(site: Site, process: Any) -> bool:
    assert process.poll() is None, f"the site ended:\n{site.log.read_text()}"
    try:
        return site.get("/page/nothing").status == 200
    except (ConnectionError, http.client.HTTPException):
        return False
