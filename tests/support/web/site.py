"""What the sites of all frameworks have in common: their configuration, pages, files and planned failures.

Each site serves the endpoints below ``/task``, and for the tests of browsers and clients:

``/page/<reference>?name=value``
    A page with a strict content security policy and one ``<jobtastic-progress>``, whose attributes are the
    query's; ``?stream`` has no value, ``?src=...`` replaces the one of the reference.
``/file/<name>``
    A file that a test has put into the folder ``files``, under the same policy.
``/token/<task id>``
    What the framework's ``task_token`` makes of it.
``/ask/<task id>``
    Lets the session remember that its visitor asked for a task. The cookie ``user`` signs a user in.
``/held/<token>``
    The token of a call of the task ``held`` of :mod:`tests.support.workers.project`.
``/jobtastic/``
    The page for operators, if the test wants one.
``/start/<number>``
    The ids of two calls of a task.
"""

from __future__ import annotations

import html
import json
import logging
import mimetypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from celery.result import AsyncResult

import tests.support.foreign_errors  # noqa: F401  # Celery finds the classes of exceptions in modules that are loaded
from jobtastic_signals import Jobtastic, delay_or_fail
from tests.support.workers.project import create_app

#: All sites sign with it.
SECRET = "a secret of these tests, and of nobody else"
POLICY = "default-src 'self'"

config: dict[str, Any] = json.loads(os.environ.get("TEST_SITE", "{}"))
folder = Path(config.get("folder", "."))
_counting = threading.Lock()


def log_everything() -> None:
    """Write warnings and errors to the log of the site, whatever its framework does with them."""
    logging.basicConfig(level=logging.WARNING)
    # Waitress tells whenever a request waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def create_celery(conf: dict[str, Any]) -> Celery:
    if config.get("journal") is not None:
        app: Celery = create_app(conf, config["journal"]).app
        return app
    app = Celery("site", set_as_current=False)
    app.conf.update(conf)
    if "jobtastic_store" in conf:
        Jobtastic(app)
    return app


def create_tasks(app: Celery) -> None:
    """Give *app* a task that shares, if the test wants a store."""
    if "jobtastic_store" not in config["conf"]:
        return
    Jobtastic(app)

    @app.task(name="site.add", herd_avoidance_timeout=30, cache_duration=60)
    def add(a, b):
        return a + b


def held(app: Celery, token: str) -> AsyncResult:
    """The result of a call of that task."""
    return app.tasks["tests.support.workers.project.held"].delay(token)


def start(app: Celery, number: int) -> str:
    """The ids of two calls, one with a deadline and one without."""
    add = app.tasks["site.add"]
    return f"{delay_or_fail(add, number, 1).id} {add.delay(number, 2).id}"


def warm_up(get: Callable[[str], object]) -> None:
    """Let a site that is preloaded answer *get* before it forks, as a check that it works would."""
    if config["preloaded"]:
        print("before the fork:", get("/task/nothing/status/"), flush=True)
        if "jobtastic_store" in config["conf"]:
            print("before the fork:", get("/start/0"), flush=True)


def options(request_cookies: Any, may_see: Any) -> dict[str, Any]:
    """What the test wants ``status_routes`` to be given; *request_cookies* gets those of a request.

    *may_see* is that of the framework's module.
    """
    chosen = {
        name: config[name]
        for name in ("max_age", "stream", "traceback", "cancel")
        if config.get(name) is not None
    }
    hooks = {
        "everybody": lambda request, task_id: True,
        "nobody": lambda request, task_id: False,
        "mine": lambda request, task_id: task_id.startswith("mine"),
        "cookie": lambda request, task_id: request_cookies(request).get("user") == "owner",
        "broken": _broken,
        "owners": may_see,
    }
    if (name := config.get("authorize")) is not None:
        chosen["authorize"] = hooks[name]
    return chosen


def operator_options(request_cookies: Any) -> dict[str, Any] | None:
    """What ``operator_page`` is given, if the test wants one: the cookie ``role`` says who may do what."""

    def role(request: Any) -> Any:
        return request_cookies(request).get("role")

    if not config.get("operator"):
        return None
    return {
        "authorize": lambda request: role(request) in ("viewer", "operator"),
        "may_change": lambda request: role(request) == "operator",
    }


def _broken(request: Any, task_id: str) -> bool:
    raise RuntimeError("a bug of the site's own")


def page(reference: str, attributes: dict[str, str]) -> str:
    given = {"src": f"/task/{reference}/status/", **attributes}
    written = "".join(
        f' {html.escape(name)}="{html.escape(value)}"' if value else f" {html.escape(name)}"
        for name, value in given.items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Progress</title>
<script type="module" src="/task/progress.js"></script>
<jobtastic-progress{written}></jobtastic-progress>
"""


def file(name: str) -> tuple[bytes, str]:
    """The content and type of a file that a test has put there."""
    path = folder / "files" / name
    return path.read_bytes(), mimetypes.guess_type(path)[0] or "application/octet-stream"


def failure(path: str) -> int:
    """The status with which a request to *path* is to fail, as ``Site.fail`` planned; 0 if it is not to."""
    for plan in folder.glob("fail-*"):
        with _counting:
            times, status, part = json.loads(plan.read_text())
            if part in path and times:
                plan.write_text(json.dumps([times - 1, status, part]))
                return status
    return 0
