"""The store on a real Memcached: the contract, and what is its own."""

from contextlib import closing
from functools import partial

import pytest
from pymemcache.client.base import Client

from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import StoreConformance

from ..workers.servers import memcached

#: A busy machine is no failure.
open_patient = partial(open_store, timeout=30.0)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with memcached(tmp_path_factory.mktemp("memcached")) as (url, _):
        yield url


def flush(url):
    place = url.removeprefix("memcached://")
    with closing(Client(place, timeout=5, connect_timeout=5, default_noreply=False)) as client:
        client.flush_all()


class TestMemcachedStore(StoreConformance):
    examples, rounds = 20, 5

    @pytest.fixture
    def make_store(self, url):
        def make_store(clock):
            flush(url)
            return open_patient(url, clock=clock)

        return make_store


def test_a_large_result_whose_piece_is_lost_is_missing_and_not_wrong(url):
    flush(url)
    with closing(open_patient(url)) as store:
        store.settle("key", "owner", bytes(range(256)) * 10_000, None)
        place = url.removeprefix("memcached://")
        with closing(Client(place, timeout=5, default_noreply=False)) as client:
            client.flush_all()
        assert store.lookup("key") is None
