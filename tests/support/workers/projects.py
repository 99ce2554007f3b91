"""A real worker for each way of running one, started when a test first needs it and used by all."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from jobtastic_signals.installation import installation_on
from tests.support.rare import rare
from tests.support.servers import running, wait_until

from .project import create_app

ROOT = Path(__file__).parents[3]

#: A worker takes seconds to end as it should, and has nothing to say but what it covered.
ENDS_BY = signal.SIGTERM if "COVERAGE_PROCESS_CONFIG" in os.environ else signal.SIGKILL

#: Broker and pool; every one of them runs what a test does not restrict. A serializer can follow, as in
#: ``redis-prefork-pickle``.
SETUPS = ("filesystem-prefork", "redis-prefork", "redis-threads", "redis-solo", "rabbitmq-prefork")

#: Those of the normal tests.
OFTEN = ("redis-prefork", "redis-threads", "rabbitmq-prefork")


def on(*setups: str, rarely: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Run a test with these workers instead of all of them; the thorough tests add those of *rarely*."""
    return pytest.mark.parametrize("project", [*setups, *map(rare, rarely)], indirect=True)


class Servers(Protocol):
    """Where servers are to be had that run for the whole session."""

    def redis(self) -> str: ...

    def rabbitmq(self) -> str: ...


def start_project(setup: str, folder: Path, servers: Servers, stack: ExitStack) -> dict[str, Any]:
    """Start the worker of *setup*, and return what clients have to know of it."""
    broker, pool, *serializer = setup.split("-")
    conf = {
        **_transport(broker, folder, servers),
        "jobtastic_store": f"disk://{folder}/store",
        # Celery waits for this long before it says that a killed process is lost.
        "worker_lost_wait": 0.5,
        # So that a claim which is gone has been released, and has not lapsed.
        "jobtastic_lease": 300,
    }
    if serializer:
        conf.update(task_serializer=serializer[0], accept_content=["json", serializer[0]])
    made = {"conf": conf, "journal": str(folder / "journal")}
    log = folder / "worker.log"
    stack.enter_context(worker(made, pool, log, concurrency=4))
    wait_until_ready(log)
    return {"setup": setup, "made": made, "log": log}


def _transport(broker: str, folder: Path, servers: Servers) -> dict[str, Any]:
    if broker == "filesystem":
        return filesystem(folder)
    if broker == "redis":
        return {"broker_url": servers.redis(), "result_backend": servers.redis()}
    return {
        "broker_url": servers.rabbitmq(),
        "result_backend": "rpc://" if broker == "rpc" else servers.redis(),
        "task_default_queue": "celery" if broker == "rabbitmq" else "rpc",
        # Without it RabbitMQ forgets the priority of a message.
        "task_queue_max_priority": 10,
    }


def wait_until_ready(*logs: Path) -> None:
    """Wait until the worker that writes each of *logs* takes messages."""
    for log in logs:
        wait_until(lambda log=log: b" ready." in log.read_bytes(), what=f"the worker of {log}")


def client_of(setup: str, made: dict[str, Any], log: Path) -> SimpleNamespace:
    """Return a client of a project that has been started."""
    project = create_app(**made)
    project.setup, project.made, project.log = setup, made, log
    project.store = installation_on(project.app).store
    return project


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
    command = [*prefix, sys.executable, "-m", "celery", "-A", f"tests.support.workers.{module}", *arguments]
    return running(command, log, env, by=ENDS_BY)


def worker(made: dict[str, Any], pool: str, log: Path, concurrency: int = 2, **options: Any) -> Any:
    """A worker on the project *made*, running; its name is its own, for control commands."""
    queue = made["conf"].get("task_default_queue", "celery")
    return celery(
        made,
        "worker",
        log,
        "worker",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--hostname=w{uuid.uuid4().hex[:8]}@%h",
        "--loglevel=INFO",
        f"--queues={queue},{queue}-other",
        "--without-gossip",
        "--without-mingle",
        **options,
    )
