"""Projects with a configuration and workers of their own, and what tests of claims ask of any project."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, _state, signals
from celery.contrib.testing.worker import start_worker

from jobtastic_signals.installation import installation_on
from jobtastic_signals.stores import Claim
from tests.support.servers import wait_until

from .project import HERD, close, create_app, let_go
from .projects import celery


class Rig:
    """A project whose workers are started by :meth:`start`.

    :ivar client: the project as a caller has it.
    :ivar logs: the log of each worker.
    """

    def __init__(self, folder: Path, stack: ExitStack, conf: Mapping[str, Any]) -> None:
        self.folder, self._stack = folder, stack
        defaults = {"jobtastic_store": f"disk://{folder}/store", "worker_lost_wait": 0.5}
        self.made: dict[str, Any] = {"conf": {**defaults, **conf}, "journal": str(folder / "journal")}
        self.client = create_app(**self.made)
        stack.callback(close, self.client.app)
        self.client.made = self.made
        self.client.store = self.store = installation_on(self.client.app).store
        self.logs: list[Path] = []

    def start(
        self,
        *arguments: str,
        pool: str = "prefork",
        concurrency: int = 2,
        module: str = "worker",
        queues: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a worker, and return its process once it takes messages."""
        log = self.folder / f"worker-{len(self.logs)}.log"
        self.logs.append(log)
        options = [f"--pool={pool}", f"--concurrency={concurrency}", f"--hostname=w{uuid.uuid4().hex[:8]}@%h"]
        options += ["--loglevel=INFO", "--without-gossip", "--without-mingle", *arguments]
        if queues is not None:
            options.append(f"--queues={queues}")
        running = celery(self.made, module, log, "worker", *options, env=env)
        process: subprocess.Popen[bytes] = self._stack.enter_context(running)
        wait_until(lambda: b" ready." in log.read_bytes(), timeout=60, what=f"the worker of {log}")
        return process

    def log(self) -> str:
        """Return what all workers have logged."""
        return "\n".join(log.read_text() for log in self.logs)


@contextmanager
def worker_in_this_process(app: Celery) -> Iterator[None]:
    """Run a worker whose pool is threads, and leave logging and the current app as they were."""
    default, current = _state.default_app, _state._tls.current_app
    signals.setup_logging.connect(_leave_logging_alone)
    try:
        with start_worker(app, pool="threads", concurrency=3, perform_ping_check=False):
            yield
    finally:
        signals.setup_logging.disconnect(_leave_logging_alone)
        _state.set_default_app(default)
        _state._tls.current_app = current


def _leave_logging_alone(**info: Any) -> None:
    """Stand for a user's own setup. Celery configures nothing then."""


def go_on(project: SimpleNamespace, token: str) -> None:
    """Let the runs of *token* end."""
    let_go(Path(project.made["journal"]), token, 1)


def deliveries(log: str, task_id: str) -> int:
    """Return how often workers have received the message of *task_id*, as their *log* says."""
    return log.count(f"{task_id}] received")


def waits(log: str, *task_ids: str) -> bool:
    """Return whether each of *task_ids* has been sent again by now to wait, as the workers' *log* says."""
    return all(f"{task_id}] ignored" in log for task_id in task_ids)


def most_at_once(spans: list[dict[str, Any]]) -> int:
    """Return how many runs went on at the same time at most; *spans* are the journal's lines of them."""
    now = most = 0
    for line in spans:
        now += 1 if line["what"][1] == "begins" else -1
        most = max(most, now)
    return most


@dataclass
class Elsewhere:
    """A run on a host that is not ours: all that others see of it is its claim."""

    project: SimpleNamespace
    key: str
    owner: str
    delivery: str

    def fail(self) -> None:
        """End without a result."""
        self.project.store.release(self.key, self.owner, self.delivery)


@contextmanager
def running_elsewhere(project: SimpleNamespace, name: str, *args: Any) -> Iterator[Elsewhere]:
    """Let a run on another host have the claim of such a call."""
    run = Elsewhere(project, project.key(name, *args), uuid.uuid4().hex, f"elsewhere/{uuid.uuid4().hex}")
    claim = project.store.claim(run.key, run.owner, run.delivery, HERD)
    assert isinstance(claim, Claim)
    assert claim.owner == run.owner
    try:
        yield run
    finally:
        run.fail()
