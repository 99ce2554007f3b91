"""A real worker for each way of running one, started when a test first needs it and used by all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobtastic_signals.registry import installation_on

from .project import close, create_app
from .servers import free_port, rabbitmq_server, redis_server, running, wait_until

ROOT = Path(__file__).parents[2]

#: Broker and pool; every one of them runs what a test does not restrict. A serializer can follow, as in
#: ``redis-prefork-pickle``.
SETUPS = ("filesystem-prefork", "redis-prefork", "redis-threads", "redis-solo", "rabbitmq-prefork")


def on(*setups: str) -> pytest.MarkDecorator:
    """Run a test with these workers in place of all of them."""
    return pytest.mark.parametrize("project", setups, indirect=True)


class Projects:
    """Starts servers and workers on demand, and keeps them until the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._servers: dict[str, str] = {}
        self._projects: dict[str, SimpleNamespace] = {}
        self._databases = iter(range(16))
        self.workers: list[subprocess.Popen] = []

    def get(self, setup: str) -> SimpleNamespace:
        if setup not in self._projects:
            self._projects[setup] = self._start(setup)
        return self._projects[setup]

    def redis(self) -> str:
        """The URL of a database that nobody else uses."""
        return f"{self._server('redis', redis_server)}/{next(self._databases)}"

    def _server(self, name: str, start: Callable[[Path], Any]) -> str:
        if name not in self._servers:
            folder = self._folder / f"server-{name}"
            folder.mkdir()
            self._servers[name] = self._stack.enter_context(start(folder))
        return self._servers[name]

    def _start(self, setup: str) -> SimpleNamespace:
        broker, pool, *serializer = setup.split("-")
        folder = self._folder / setup
        folder.mkdir()
        conf = {
            **self._transport(broker, folder),
            "jobtastic_store": f"disk://{folder}/store",
            # Celery waits for this long before it says that a killed process is lost.
            "worker_lost_wait": 0.5,
        }
        if serializer:
            conf.update(task_serializer=serializer[0], accept_content=["json", serializer[0]])
        made = {"conf": conf, "journal": str(folder / "journal")}
        project = create_app(**made)
        self._stack.callback(close, project.app)
        project.setup, project.made, project.folder = setup, made, folder
        project.store = installation_on(project.app).store
        project.log = folder / "worker.log"
        self.workers.append(self._stack.enter_context(worker(made, pool, project.log)))
        wait_until(lambda: b" ready." in project.log.read_bytes(), timeout=60, what=f"{setup} ready")
        return project

    def _transport(self, broker: str, folder: Path) -> dict[str, Any]:
        if broker == "filesystem":
            return filesystem(folder)
        if broker == "redis":
            return {"broker_url": self.redis(), "result_backend": self.redis()}
        return {
            "broker_url": self._server("rabbitmq", rabbitmq_server),
            "result_backend": "rpc://" if broker == "rpc" else self.redis(),
            "task_default_queue": "celery" if broker == "rabbitmq" else "rpc",
            # Without it RabbitMQ forgets the priority of a message.
            "task_queue_max_priority": 10,
        }


def filesystem(folder: Path) -> dict[str, Any]:
    """Celery's file transport and result backend in *folder*, mended as for the demo: no server needed."""
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    return {
        "broker_url": "filesystem://localhost",
        "broker_transport": "jobtastic_signals.demo.broker:Transport",
        "broker_transport_options": {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.02,
        },
        "result_backend": f"jobtastic_signals.demo.results:Backend+file://{folder}/results",
    }


def celery(
    made: dict[str, Any],
    module: str,
    log: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Any:
    """A ``celery`` command, running; *module* makes its app of *made*."""
    env = {
        **(env or {}),
        "TEST_PROJECT": json.dumps(made),
        "PYTHONPATH": str(ROOT),
        "C_FORCE_ROOT": "1",
        # Another order of sets than the test has, also where somebody fixed the seed for all.
        "PYTHONHASHSEED": "random",
    }
    command = [*prefix, sys.executable, "-m", "celery", "-A", f"tests.workers.{module}", *arguments]
    return running(command, log, env)


def worker(made: dict[str, Any], pool: str, log: Path, concurrency: int = 4, **options: Any) -> Any:
    """A worker on the project *made*, running; its name is its own, for control commands."""
    queue = made["conf"].get("task_default_queue", "celery")
    return celery(
        made,
        "worker",
        log,
        "worker",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--hostname=w{free_port()}@%h",
        "--loglevel=INFO",
        f"--queues={queue},{queue}-other",
        "--without-gossip",
        "--without-mingle",
        **options,
    )


@pytest.fixture(scope="session")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projects]:
    with ExitStack() as stack:
        projects = Projects(tmp_path_factory.mktemp("projects"), stack)
        yield projects
        for process in projects.workers:
            process.terminate()  # Each of them takes its time, so all at once.


@pytest.fixture(params=SETUPS)
def project(request: pytest.FixtureRequest, projects: Projects) -> Iterator[SimpleNamespace]:
    """A client of the project; where a test fails, the end of its worker's log is shown."""
    project = projects.get(request.param)
    start = project.log.stat().st_size
    yield project
    print(f"worker log of {project.setup}:\n{project.log.read_bytes()[start:][-20_000:].decode()}")


@pytest.fixture
def token() -> str:
    """An argument that no other test uses."""
    return os.urandom(4).hex() + uuid.uuid4().hex[:4]
