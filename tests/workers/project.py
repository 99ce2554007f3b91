"""The project that real workers run in these tests, and that the tests call.

A worker gets its configuration from the environment (``celery -A tests.workers.worker``), a test by
calling :func:`create_app`. Each body writes a line to the journal, so that a test can count runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from jobtastic_signals import Jobtastic
from jobtastic_signals.registry import installation_on

HERD = 300.0


def create_app(conf: dict[str, Any], journal: str, *, plugin: bool = True) -> SimpleNamespace:
    """The app and its tasks, each by its name.

    ``runs(name, *what)`` reads the journal; ``key(name, *args)`` is the key of such a call.
    """
    app = Celery("project", set_as_current=False)
    app.conf.update(conf)
    if plugin:
        Jobtastic(app)
    tasks = {name: app.tasks[lazy.name] for name, lazy in _define(app, Path(journal)).items()}

    def key(name: str, *args: Any) -> str:
        return installation_on(app).policy_of(type(tasks[name])).keys.key(tasks[name], args, {})

    return SimpleNamespace(app=app, runs=partial(read, Path(journal)), key=key, **tasks)


def close(app: Celery) -> None:
    """Close the connections of *app*, which Celery leaves to the garbage collector."""
    app.close()
    client = getattr(app.backend, "client", None)
    if client is not None:
        client.close()
        client.connection_pool.disconnect()


def read(journal: Path, *what: Any) -> list[dict[str, Any]]:
    """The runs whose task and first arguments are *what*, in the order of their start."""
    if not journal.exists():
        return []
    # A line without an end is being written.
    lines = [
        json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]
    wanted = json.loads(json.dumps(what))
    return [line for line in lines if [line["task"], *line["what"]][: len(wanted)] == wanted]


def _define(app: Celery, journal: Path) -> dict[str, Task]:
    # Not shared with the other apps of this process, which have tasks of the same names.
    task = partial(app.task, bind=True, shared=False)

    def note(running: Task, *what: Any) -> int:
        """Write a line to the journal; how many such lines there are now."""
        name = running.name.rpartition(".")[2]
        request = running.request
        line = {
            "task": name,
            "what": what,
            "id": request.id,
            "pid": os.getpid(),
            "at": time.time(),
            "retries": request.retries,
            "queue": (request.delivery_info or {}).get("routing_key"),
            "priority": (request.delivery_info or {}).get("priority"),
            "expires": str(request.expires or ""),
            "argsrepr": request.argsrepr,
            "waits": (getattr(request, "jobtastic", None) or {}).get("waits", 0),
            "headers": {key: value for key, value in (request.headers or {}).items() if key != "jobtastic"},
        }
        file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)
        return len(read(journal, name, *what))

    @task(herd_avoidance_timeout=HERD)
    def double(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return n * 2

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def cached(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def only_number(self: Task, token: Any, seconds: float = 0.0) -> Any:
        note(self, token)
        time.sleep(seconds)
        return 7

    @task(cache_duration=0, herd_avoidance_timeout=HERD)
    def kept(self: Task, n: Any) -> Any:
        note(self, n)
        return [n, self.request.id]

    @task(cache_duration=600, significant_kwargs=[("n", str)])
    def only_cached(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=1.0)
    def hasty(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=1.0, cache_duration=600)
    def hasty_cached(self: Task, n: Any, first: float, then: float) -> Any:
        time.sleep(first if note(self, n) == 1 else then)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=HERD, ignore_result=True)
    def silent(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)

    @task()
    def plus(self: Task, n: Any, more: Any) -> Any:
        note(self, more)
        return n + more

    @task()
    def total(self: Task, numbers: Any, mark: Any = None) -> Any:
        note(self, mark)
        return sum(numbers)

    @task()
    def mark(self: Task, what: Any, value: Any = None) -> Any:
        note(self, what, value)

    @task(herd_avoidance_timeout=HERD, max_retries=5)
    def stubborn(self: Task, what: Any, fails: int, countdown: float = 0.1) -> Any:
        if note(self, what) <= fails:
            raise self.retry(countdown=countdown)
        return [what, self.request.retries]

    @task(
        herd_avoidance_timeout=HERD,
        autoretry_for=(ConnectionError,),
        retry_kwargs={"max_retries": 5, "countdown": 0.1},
    )
    def flaky(self: Task, what: Any, fails: int) -> Any:
        if note(self, what) <= fails:
            raise ConnectionError("not yet")
        return [what, self.request.retries]

    @task(herd_avoidance_timeout=HERD)
    def ends(self: Task, token: str, how: str) -> Any:
        """End in the way of *how* the first time, and well from then on."""
        if note(self, token) > 1:
            return "well"
        return _end(how)

    @task(herd_avoidance_timeout=HERD, acks_late=True)
    def put_back(self: Task, token: str) -> Any:
        """Put the message back the first time; that takes a message that is not acknowledged yet."""
        if note(self, token) > 1:
            return "well"
        raise Reject("later", requeue=True)

    @task(herd_avoidance_timeout=HERD, soft_time_limit=1)
    def ends_by_soft_limit(self: Task, token: str) -> Any:
        if note(self, token) > 1:
            return "well"
        time.sleep(60)

    @task(herd_avoidance_timeout=HERD, time_limit=1)
    def ends_by_hard_limit(self: Task, token: str) -> Any:
        if note(self, token) > 1:
            return "well"
        time.sleep(60)

    @task(herd_avoidance_timeout=HERD)
    def again(self: Task, token: str, times: int) -> Any:
        """Schedule itself, with its own arguments, until it has run *times* times."""
        if note(self, token) < times:
            self.apply_async((token, times), countdown=0.1)

    return {name: made for name, made in locals().items() if hasattr(made, "apply_async")}


def _end(how: str) -> Any:
    if how == "exception":
        raise ValueError("wrong")
    if how == "soft limit":
        raise SoftTimeLimitExceeded
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        sys.exit(3)
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("no", requeue=False)
    if how == "unserialisable":
        return object()
    if how == "sleep":
        time.sleep(60)
    raise AssertionError(how)
