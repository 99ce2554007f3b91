"""Projects whose configuration and workers a test has for itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_servers import RedisServer, redis_server
from tests.support.workers.rigs import Rig


@pytest.fixture(scope="module")
def redis_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes the URL of a database that nobody else uses, on a Redis of the module's own."""
    numbers = itertools.count()
    with redis_server(tmp_path_factory.mktemp("redis"), "--databases", "200") as server:
        yield lambda: f"{server.url}/{next(numbers)}"


@pytest.fixture
def open_rig(redis_database: Callable[[], str], tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes a project without workers; keywords are its configuration. Logs are shown where a test fails."""
    with ExitStack() as stack:
        rigs: list[Rig] = []

        def open_rig(**conf: Any) -> Rig:
            folder = tmp_path / f"rig-{len(rigs)}"
            folder.mkdir()
            places = {"broker_url": redis_database(), "result_backend": redis_database()}
            rigs.append(Rig(folder, stack, {**places, **conf}))
            return rigs[-1]

        yield open_rig
    for rig in rigs:
        print(f"workers of {rig.folder}:\n{rig.log()[-20_000:]}")


@pytest.fixture
def store_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for the store alone, which a test can stop."""
    folder = tmp_path / "store-server"
    folder.mkdir()
    with redis_server(folder) as server:
        yield server
