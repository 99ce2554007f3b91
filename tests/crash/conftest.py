"""One RabbitMQ for all that need it, and folders with short names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .servers import RabbitMQ


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RabbitMQ]]:
    """Gives the node, started when it is first needed."""
    started: list[RabbitMQ] = []

    def node() -> RabbitMQ:
        if not started:
            started.append(RabbitMQ(tmp_path_factory.mktemp("rabbitmq") / "node"))
        return started[0]

    yield node
    for server in started:
        server.kill()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name, which names processes and queues too."""
    return tmp_path_factory.mktemp("row")
