"""Redis, sites and a browser that tests share: each is started when a test first needs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from selenium.webdriver import Chrome

from tests.support.servers import redis_server
from tests.support.web.browser import Page, chromium
from tests.support.web.servers import Site, serve


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def celery_conf(redis_url: str) -> Callable[[], dict[str, Any]]:
    """Makes a configuration with a database; there are 16, so tests share them where ids differ."""
    databases = itertools.cycle(range(16))

    def make() -> dict[str, Any]:
        return {"broker_url": "memory://", "result_backend": f"{redis_url}/{next(databases)}"}

    return make


@pytest.fixture(scope="module")
def open_site(
    celery_conf: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Site]]:
    """Opens a site as ``serve`` does, or gives the one that has been opened in this way."""
    with ExitStack() as stack:
        opened: dict[str, Site] = {}

        def open_site(server: str, *, conf: dict[str, Any] | None = None, **options: Any) -> Site:
            key = repr((server, conf, sorted(options.items())))
            if key not in opened:
                folder = tmp_path_factory.mktemp(server)
                opened[key] = stack.enter_context(
                    serve(server, {**celery_conf(), **(conf or {})}, folder, **options)
                )
            return opened[key]

        yield open_site


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(browser: Chrome) -> Iterator[Page]:
    page = Page(browser)
    yield page
    page.close()


@pytest.fixture
def redis_commands() -> Callable[[Site], int]:
    """How often a value was read from a site's Redis, by anybody."""

    def count(site: Site) -> int:
        address = urlsplit(site.app.conf.result_backend)
        with redis.Redis(address.hostname, address.port) as client:
            return client.info("commandstats").get("cmdstat_get", {}).get("calls", 0)

    return count
