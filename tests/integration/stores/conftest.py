import itertools
import socket
import time
from contextlib import ExitStack

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.management import call_command

from jobtastic_signals.stores import open_store
from tests.support.servers import memcached, redis_server, reserve_port
from tests.support.stores.django_caches import configuration, configure
from tests.support.stores.operations import PATIENT


@pytest.fixture(scope="session")
def deaf_ports():
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield {
            "nobody listens": reserve_port(),
            "nobody accepts": full.getsockname()[1],
            "nobody answers": silent.getsockname()[1],
        }


@pytest.fixture(params=["nobody listens", "nobody accepts", "nobody answers"])
def deaf(deaf_ports, request):
    """A port of loopback on which nobody listens, accepts, or says a word."""
    return deaf_ports[request.param]


@pytest.fixture(scope="session")
def django_conf(tmp_path_factory):
    """Django's settings in this process, with a cache of each kind on servers that run."""
    folder = tmp_path_factory.mktemp("django")
    with redis_server(folder) as redis_url, memcached(folder) as (memcached_url, _):
        conf = configuration(folder, redis_url, memcached_url)
        configure(conf)
        call_command("createcachetable")
        yield conf


@pytest.fixture
def open_django(django_conf):
    """Opens stores in Django's caches, which are empty, and closes them in the end."""
    made = []

    def open_django(clock=time.time, *, alias="redis", timeout=PATIENT):
        made.append(open_store(f"django://{alias.replace(' ', '%20')}", clock=clock, timeout=timeout))
        return made[-1]

    for alias in ("redis", "memcached", "database", "locmem"):
        caches[alias].clear()
    yield open_django
    for store in made:
        store.close()


_added = itertools.count()


@pytest.fixture
def add_cache(django_conf, monkeypatch):
    """Adds one to Django's settings: the alias it gets."""

    def add_cache(**conf):
        # Never one again: threads that live on know what was behind it.
        alias = f"added-{next(_added)}"
        monkeypatch.setitem(django_settings.CACHES, alias, conf)
        return alias

    return add_cache
