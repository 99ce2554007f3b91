"""The examples, run by the commands that their Compose files state, on free ports of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.support.servers import accepts, ended, reserve_port, running, wait_until
from tests.support.shared import Remote, Shared
from tests.support.web.servers import ROOT
from tests.support.workers.projects import ENDS_BY

#: What the log of a service says when it is ready.
READY = {"worker": " ready.", "beat": "beat: Starting..."}


@dataclass(frozen=True)
class Example:
    """A running example.

    :ivar env: the environment of its services.
    """

    name: str
    url: str
    folder: Path
    env: dict[str, str]

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    def run(self, command: str, *arguments: str, **env: str) -> str:
        """Return what a command prints, in a container that has it."""
        done = subprocess.run(
            [*shlex.split(command), *arguments],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


#: What takes six seconds in all. The reports of Globex take a minute here, so they are there to be seen.
SLOW = "time.sleep(0.5)"
SLOWER = "time.sleep(5 if customer == 'Globex' else 0.2)"


#: Each runs in one process of pytest-xdist where that heeds groups.
EXAMPLES = [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("django", "fastapi", "flask")
]


@pytest.fixture(scope="module", params=EXAMPLES)
def example(
    request: pytest.FixtureRequest, shared: Shared | Remote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    """A copy of an example with all its services."""
    folder = tmp_path_factory.mktemp(request.param) / "example"
    shutil.copytree(ROOT / "examples" / request.param, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tasks,) = folder.rglob("tasks.py")
    tasks.write_text(tasks.read_text().replace(SLOW, SLOWER))
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    port = reserve_port()
    # The programs that came with this Python, and this package from the checkout.
    env = {
        **os.environ,
        **services["app"]["environment"],
        "REDIS_URL": shared.redis(),
        "DATABASE": str(folder / "db.sqlite3"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{ROOT}",
        "PYTHONUNBUFFERED": "1",
    }
    example = Example(request.param, f"http://127.0.0.1:{port}", folder, env)
    commands = {
        name: f"cd '{folder}' && exec {_here(service['command'], folder, port)}"
        for name, service in services.items()
        if "command" in service
    }
    if "migrate" in commands:
        example.run("sh -c", commands.pop("migrate"))
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(running(["sh", "-c", command], folder / f"{name}.log", env, by=ENDS_BY))
            for name, command in commands.items()
        }
        for name, process in processes.items():
            wait_until(partial(_is_ready, example, name, process, port), what=f"{name} of {request.param}")
        yield example


def _is_ready(example: Example, service: str, process: subprocess.Popen[bytes], port: int) -> bool:
    ended(process, example.folder / f"{service}.log")
    return accepts(("127.0.0.1", port)) if service == "app" else READY[service] in example.log(service)


def _here(command: str, folder: Path, port: int) -> str:
    """Return the command of a container for this machine."""
    there = {"0.0.0.0:8000": f"127.0.0.1:{port}", "--host=0.0.0.0": "--host=127.0.0.1"}
    there |= {"--port=8000": f"--port={port}", "/data": str(folder)}
    for text, own in there.items():
        command = command.replace(text, own)
    return command
