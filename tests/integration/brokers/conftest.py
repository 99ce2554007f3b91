"""A Redis for the tests of brokers."""

from __future__ import annotations

import pytest

from tests.support.servers import redis_server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
