import pytest
from django.core.management import call_command

from jobtastic_signals.testing import Clock

from ..workers.servers import memcached, redis_server
from .django_caches import configuration, configure


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def django_conf(tmp_path_factory):
    """Django's settings in this process, with a cache of each kind on servers that run."""
    folder = tmp_path_factory.mktemp("django")
    with redis_server(folder) as redis_url, memcached(folder) as (memcached_url, _):
        conf = configuration(folder, redis_url, memcached_url)
        configure(conf)
        call_command("createcachetable")
        yield conf
