"""The project of the harness, for workers and callers: tasks that journal, and points where they stop."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.result import AsyncResult

from jobtastic_signals import Jobtastic, Middleware
from jobtastic_signals.calls import Run
from jobtastic_signals.installation import installation_on
from jobtastic_signals.sharing.waiting import Wait

from .journal import Journal

__all__ = ["CACHED_FOR", "SHARED", "Points", "Project", "Setup"]

#: The seconds for which ``cached`` caches, and the names of the tasks that share.
CACHED_FOR = 1.5
SHARED = ("work", "cached")


@dataclass(frozen=True)
class Setup:
    """What all processes of a row have to know.

    :ivar folder: where the journal and the points are.
    :ivar late: whether messages are acknowledged late.
    :ivar time_limit: the hard limit of a run; ``None`` for none.
    """

    folder: str
    broker: str
    backend: str
    store: str
    store_options: Mapping[str, Any] = field(default_factory=dict)
    lease: float = 3.0
    herd_avoidance_timeout: float = 120.0
    visibility_timeout: float = 5.0
    late: bool = False
    time_limit: float | None = None
    queue: str = "celery"

    def dumps(self) -> str:
        """Return it as text, for the environment."""
        return json.dumps(asdict(self))


class Points:
    """Places where a run stops once, if the harness has armed them, until the harness opens them."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder, self._journal = folder / "points", journal
        self._folder.mkdir(parents=True, exist_ok=True)

    def arm(self, point: str, key: str) -> None:
        """Let whoever comes to *point* next with *key* stop there."""
        (self._folder / f"{point}-{key}.armed").touch()

    def open(self) -> None:
        """Let all go on that have stopped, and nobody stop any more."""
        for armed in self._folder.glob("*.armed"):
            armed.unlink(missing_ok=True)
        for taken in self._folder.glob("*.taken"):
            taken.with_suffix(".open").touch()

    def pass_by(self, point: str, key: str) -> None:
        """Stop here if this is armed."""
        armed = self._folder / f"{point}-{key}.armed"
        taken = armed.with_suffix(".taken")
        try:
            armed.rename(taken)
        except FileNotFoundError:
            return
        self._journal.write("at", point=point, key=key, parent=os.getppid())
        deadline = time.monotonic() + 600
        while not taken.with_suffix(".open").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


class Faults(Middleware):
    """Stops a run between its result and its release, and journals what is decided. It is the last."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal, self._points = journal, points

    def before_run(self, run: Run) -> None:
        if run.decision is not None:
            waits = isinstance(run.decision, Wait)
            self._journal.write(
                "waits" if waits else "served", id=run.id, key=run.args[0], task=run.task.name
            )

    def after_run(self, run: Run, state: str | None, value: Any) -> None:
        if run.decision is None:
            self._journal.write("stored", id=run.id, key=run.args[0], state=state)
            self._points.pass_by("result", run.args[0])


class Project:
    """The app, and what goes with it in this process."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.journal = Journal(Path(setup.folder) / "journal")
        self.points = Points(Path(setup.folder), self.journal)
        self.app = app = Celery("crash", broker=setup.broker, backend=setup.backend, set_as_current=False)
        app.conf.update(_configuration(setup))
        Jobtastic(app, middleware=[Faults(self.journal, self.points)])
        self._connect()
        self._add_tasks()

    @property
    def store(self) -> Any:
        """The store as the package talks to it."""
        installation = installation_on(self.app)
        assert installation is not None
        return installation.store

    def key_of(self, task: str, key: str) -> str:
        """Return the store's key of a call."""
        found = installation_on(self.app)
        assert found is not None
        each = self.app.tasks[task]
        policy = found.policy_of(type(each))
        assert policy is not None
        made = policy.key_of(each, (key,), {})
        assert made is not None
        return made

    def call(
        self, task: str, key: str, kind: str = "plain", *, kwargs: Mapping[str, Any] | None = None, **how: Any
    ) -> tuple[str, AsyncResult[Any] | None]:
        """Make a call and journal it. Return its name there, and its result; ``None`` if it raised."""
        name = uuid.uuid4().hex[:8]
        if kind == "own id":
            how["task_id"] = f"own-{name}"
        countdown = how.get("countdown", 0)
        self.journal.write("call", call=name, key=key, task=task, how=kind, countdown=countdown)
        try:
            result = self.app.tasks[task].apply_async((key,), dict(kwargs or {}), **how)
        except Exception as error:
            self.journal.write("refused", call=name, error=repr(error))
            return name, None
        self.journal.write("called", call=name, id=result.id)
        return name, result

    def close(self) -> None:
        """Let go of handlers and connections."""
        signals.before_task_publish.disconnect(self._handlers[0])
        signals.task_postrun.disconnect(self._handlers[1])
        with contextlib.suppress(Exception):
            self.store.close()
        with contextlib.suppress(Exception):
            self.app.close()

    def _connect(self) -> None:
        def publishing(sender: str, body: Any, **_: Any) -> None:
            if sender in SHARED:
                self.points.pass_by("publishing", body[0][0])

        def done(task: Any, args: Any, task_id: str, **_: Any) -> None:
            if task.name in SHARED:
                self.journal.write("done", id=task_id, key=args[0])

        # After the handlers of the package.
        signals.before_task_publish.connect(publishing, weak=False)
        signals.task_postrun.connect(done, weak=False)
        self._handlers = publishing, done

    def _add_tasks(self) -> None:
        shared = {
            "bind": True,
            "shared": False,
            "significant_kwargs": ["key"],
            "herd_avoidance_timeout": self.setup.herd_avoidance_timeout,
        }
        self.app.task(name="work", **shared)(_body(self, "work"))
        self.app.task(name="cached", cache_duration=CACHED_FOR, **shared)(_body(self, "cached"))

        def fill(name: str) -> None:
            """Occupy a process of the pool."""
            self.points.pass_by("body", name)

        def relay(task: str, key: str) -> None:
            """Call another task, from within a worker."""
            self.call(task, key)

        self.app.task(name="fill", shared=False)(fill)
        self.app.task(name="relay", shared=False)(relay)


def _configuration(setup: Setup) -> dict[str, Any]:
    conf: dict[str, Any] = {
        "jobtastic_store": setup.store,
        "jobtastic_store_options": dict(setup.store_options),
        "jobtastic_lease": setup.lease,
        "task_default_queue": setup.queue,
        "task_acks_late": setup.late,
        "task_reject_on_worker_lost": setup.late,
        "task_time_limit": setup.time_limit,
        "worker_lost_wait": 0.5,
        "worker_prefetch_multiplier": 8,
        "worker_hijack_root_logger": True,
        "broker_connection_retry_on_startup": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }
    if setup.broker.startswith("redis"):
        conf["broker_transport_options"] = {
            "visibility_timeout": setup.visibility_timeout,
            # Kombu's lock for restoring messages. A worker that dies with it would keep it for five minutes.
            "unacked_mutex_expire": math.ceil(setup.visibility_timeout),
        }
    return conf


def _body(project: Project, name: str) -> Callable[..., Any]:
    journal, points = project.journal, project.points

    def body(self: Any, key: str, seconds: float = 0.0, how: str | None = None) -> str:
        token = f"{name}|{key}|{uuid.uuid4().hex[:10]}"
        ended = "failed"
        try:
            journal.write("start", id=self.request.id, key=key, task=name, token=token)
            points.pass_by("body", key)
            time.sleep(seconds)
            if how == "hoards":
                _hoard()
            if how == "retries" and self.request.retries < 1:
                ended = "retried"
                raise self.retry(countdown=1, max_retries=3)
            if how == "fails":
                raise ValueError(token)
            ended = "returned"
        finally:
            journal.write("end", id=self.request.id, token=token, ended=ended)
        return token

    body.__name__ = body.__qualname__ = name
    return body


def _hoard() -> None:
    """Take more memory than the process may have."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20, limits[1]))
    try:
        hoard: list[bytearray] = []
        while True:
            hoard.append(bytearray(16 * 2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
