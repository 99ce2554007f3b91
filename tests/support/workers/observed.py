"""An app whose every message and every stored state is written down, for a worker and its callers.

``celery -A tests.support.workers.observed`` is a worker of it.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, chain, chord, group, signals
from celery._state import _deregister_app
from celery.result import AsyncResult

from jobtastic_signals import Jobtastic
from jobtastic_signals.demo.results import Backend
from jobtastic_signals.sharing import counting
from tests.support.servers import wait_until

from .projects import celery, wait_until_ready

TIMEOUT = 60

BOTH = {"herd_avoidance_timeout": 300.0, "cache_duration": 600}

#: Names of the folder's files.
MESSAGES, STATES = "messages", "states"


class Sleeps:
    """A clock that shows how long the tasks of this process have slept, and nothing that a machine adds."""

    total = 0.0

    @classmethod
    def sleep(cls, seconds: float) -> None:
        time.sleep(seconds)
        cls.total += seconds

    @classmethod
    def monotonic(cls) -> float:
        return cls.total


def append(file: Path, line: Any) -> None:
    """Write *line* in one step."""
    number = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(number, json.dumps(line, default=repr).encode() + b"\n")
    finally:
        os.close(number)


class Recording(Backend):
    """Writes down what is stored."""

    def set(self, key: bytes, value: Any) -> None:
        if key.startswith(b"celery-"):  # Not what tries the folder.
            stored = json.loads(value)
            # Where the plugin is enabled, its lines are among those that called the body.
            stored.pop("traceback", None)
            append(Path(self.app.conf.folder) / STATES, [key.decode(), stored])
        super().set(key, value)


def create_app(folder: str, conf: dict[str, Any], *, plugin: bool) -> SimpleNamespace:
    """The app and its tasks, each by its name."""
    app = Celery("observed", set_as_current=False)
    _deregister_app(app)
    app.conf.update(conf, folder=folder)
    if plugin:
        Jobtastic(app)
    tasks = {name: app.tasks[lazy.name] for name, lazy in _define(app, Path(folder)).items()}

    @signals.task_received.connect(weak=False)
    def record(request: Any, **_: Any) -> None:
        message = request.message
        append(Path(folder) / MESSAGES, [message.headers, message.payload, message.properties])

    return SimpleNamespace(app=app, folder=Path(folder), **tasks)


def _define(app: Celery, folder: Path) -> dict[str, Any]:
    @app.task(shared=False, **BOTH)
    def cached(n: Any, seconds: float = 0.0) -> Any:
        Sleeps.sleep(seconds)
        return [n]

    @app.task(shared=False, herd_avoidance_timeout=300.0)
    def herd(n: Any, seconds: float = 0.0) -> Any:
        Sleeps.sleep(seconds)
        return [n]

    @app.task(shared=False, **BOTH)
    def total(numbers: Any) -> int:
        return len(numbers)

    @app.task(shared=False, ignore_result=True, **BOTH)
    def silent(n: Any) -> None: ...

    @app.task(shared=False, **BOTH)
    def fails(n: Any) -> None:
        raise ValueError(n)

    @app.task(shared=False, bind=True, **BOTH)
    def retries(self: Any, n: Any) -> Any:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return n

    @app.task(shared=False, bind=True, **BOTH)
    def replaced(self: Any, n: Any) -> Any:
        return self.replace(cached.s(n))

    @app.task(shared=False, bind=True, **BOTH)
    def slow(self: Any, n: Any) -> Any:
        """Take longer than ``jobtastic_progress_after``, and report nothing."""
        time.sleep(0.8)
        return n

    @app.task(shared=False)
    def wait_for(name: str) -> None:
        """Occupy a process until there is a file of this name."""
        wait_until((folder / name).exists, what=name)

    return {name: made for name, made in locals().items() if hasattr(made, "apply_async")}


def calls(project: SimpleNamespace) -> Iterator[Callable[[], AsyncResult]]:
    """Calls of all kinds, most of them identical ones; each ends before the next begins."""
    cached, herd, total = project.cached, project.herd, project.total
    for n in (1, 1, 2):
        yield partial(cached.delay, n)
        yield partial(herd.apply_async, (n,), priority=3, headers={"x-tenant": "acme"})
    yield lambda: [cached.delay(3) for _ in range(3)][-1]
    yield lambda: cached.apply_async((4,), task_id="mine")
    yield lambda: cached.apply_async((4,), link=herd.si(4), link_error=herd.si(5))
    yield lambda: chain(cached.s(5), total.s(), herd.s()).delay()
    yield lambda: group(cached.s(6) for _ in range(3)).delay()
    yield lambda: chord([cached.s(7), cached.s(7)])(total.s())
    yield lambda: cached.apply_async((8,), countdown=0.5)
    yield lambda: cached.apply_async((9,), expires=-1)
    yield lambda: cached.apply_async((9,), expires=600)
    for name in ("fails", "retries", "replaced", "slow"):
        for _ in range(2):
            yield partial(getattr(project, name).delay, 10)
    yield lambda: [project.silent.delay(11), cached.apply_async((12,), ignore_result=True)][-1]
    yield lambda: cached.delay(12)


def call_all(project: SimpleNamespace) -> None:
    """Make all calls, and wait for the end of each, and of what follows it."""
    for call in calls(project):
        call().get(timeout=TIMEOUT, propagate=False, interval=0.02)
        # The only process works off what is before it.
        project.wait_for.delay("").get(timeout=TIMEOUT, interval=0.02)


@contextmanager
def observed_project(
    folder: Path, broker: str, *, plugin: bool = True, concurrency: int = 1, **conf: Any
) -> Iterator[SimpleNamespace]:
    """A client of the project, and its worker."""
    folder.mkdir()
    (folder / "results").mkdir()
    conf = {
        # Messages arrive in the order in which they were sent.
        "broker_url": broker,
        "task_default_queue": uuid.uuid4().hex,
        "result_backend": f"{__name__}:Recording+file://{folder}/results",
        "jobtastic_store": f"disk://{folder}/store",
        "jobtastic_lease": 300,
        **conf,
    }
    made: dict[str, Any] = {"folder": str(folder), "conf": conf, "plugin": plugin}
    log = folder / "worker.log"
    options = [f"--concurrency={concurrency}", "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    with celery(made, "observed", log, "worker", "--pool=prefork", *options):
        wait_until_ready(log)
        try:
            yield create_app(**made)
        finally:
            print(f"worker of {folder}:\n{log.read_text()[-10_000:]}")


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:\+00:00|Z)?")


def records(folder: Path) -> tuple[list[Any], list[Any]]:
    """The messages and the states of a worker in their order.

    Times and processes are left out, and ids are replaced by numbers.
    """
    numbers: dict[str, str] = {}
    queue = json.loads((folder / MESSAGES).read_text().splitlines()[0])[2]["delivery_info"]["routing_key"]

    def normal(text: str) -> Any:
        text = _ID.sub(lambda found: numbers.setdefault(found[0], f"id-{len(numbers)}"), text)
        text = re.sub(r'(gen|"pid": )\d+', r"\g<1>0", _TIME.sub("a time", text))
        return json.loads(text.replace(queue, "queue"))

    messages = [normal(line) for line in (folder / MESSAGES).read_text().splitlines()]
    states = [normal(line) for line in (folder / STATES).read_text().splitlines()]
    return messages, states


if "folder" in (_made := json.loads(os.environ.get("TEST_PROJECT", "{}"))):
    vars(counting).update(time=Sleeps)
    app = create_app(**_made).app
