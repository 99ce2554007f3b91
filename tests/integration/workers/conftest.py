"""A client of a real worker, which the whole session shares."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from tests.support.rare import mainly
from tests.support.shared import Shared
from tests.support.workers.project import close
from tests.support.workers.projects import OFTEN, SETUPS, client_of


@pytest.fixture(scope="session")
def open_project(shared: Shared) -> Iterator[Callable[[str], SimpleNamespace]]:
    """Opens a client of a setup's worker, or gives the one that has been opened."""
    opened: dict[str, SimpleNamespace] = {}

    def open_project(setup: str) -> SimpleNamespace:
        if setup not in opened:
            opened[setup] = client_of(**shared.project(setup))
        return opened[setup]

    yield open_project
    for project in opened.values():
        close(project.app)


@pytest.fixture(params=mainly(*OFTEN, of=SETUPS))
def project(
    request: pytest.FixtureRequest, open_project: Callable[[str], SimpleNamespace]
) -> Iterator[SimpleNamespace]:
    """A client of the project, whose worker this test has for itself; its log is shown where a test fails."""
    project = open_project(request.param)
    with project.log.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = project.log.stat().st_size
        yield project
    print(f"worker log of {project.setup}:\n{project.log.read_bytes()[start:][-20_000:].decode()}")


@pytest.fixture
def token() -> str:
    """An argument that no other test uses."""
    return os.urandom(4).hex() + uuid.uuid4().hex[:4]
