"""The store on the primary that sentinels know: the contract, and what becomes of it as primaries go."""

import itertools
import threading
import time
from contextlib import closing, contextmanager

import pytest
import redis
from redis.connection import Connection

from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import StoreConformance
from jobtastic_signals.testing.conformance.base import complete, queue, run
from tests.support.redis_servers import redis_server, sentinels, tls_options
from tests.support.servers import reserve_port, wait_until
from tests.support.stores.redis_places import makes_stores


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with sentinels(tmp_path_factory.mktemp("sentinel")) as watched:
        yield watched


@pytest.fixture
def make_store(watched):
    with makes_stores(watched) as make_store:
        yield make_store


@pytest.mark.thorough
class TestRedisStoreWithSentinels(StoreConformance):
    examples, rounds = 5, 5

    @pytest.fixture
    def make_store(self, make_store):
        return make_store


# What the sentinels are asked


def test_options_are_spelt_as_for_celery(watched):
    celerys = {"master_name": "main", "sentinel_kwargs": {"password": watched.sentinel_password}}
    with closing(open_store(watched.bare_url, timeout=10, **celerys)) as store:
        queue(store, "owner")
    with watched.primary.client as client:
        assert list(client.info("keyspace")) == ["db1"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?master_name=main&sentinel_password=wrong", "invalid username-password pair"),
        ("?master_name=main", "Authentication required"),
        ("?master_name=other&sentinel_password=0070", "No such master"),
        ("?master_name=main&sentinel_password=0070&min_other_sentinels=3", "it sees too few others"),
    ],
)
def test_what_the_sentinels_refuse_is_told_with_their_addresses_and_no_password(watched, query, said):
    store = open_store(watched.bare_url + query, timeout=10)
    with pytest.raises(redis.ConnectionError) as error:
        store.lookup("key")
    assert str(error.value).count(said) == 3
    assert all(f"127.0.0.1:{sentinel.port}" in str(error.value) for sentinel in watched.sentinels)
    assert watched.password not in f"{error.value} {store}"


def test_sentinels_and_the_primary_are_reached_by_tls(tmp_path):
    cert, options = tls_options(tmp_path)
    ports = [reserve_port(), reserve_port()]
    own = tmp_path / "sentinel.conf"
    own.write_text(f"sentinel monitor main 127.0.0.1 {ports[0]} 1\n")
    watches = [str(own), "--sentinel", *options, "--tls-replication", "yes", "--tls-port", str(ports[1])]
    tls = f"ssl=true&ssl_ca_certs={cert}&sentinel_ssl=true&sentinel_ssl_ca_certs={cert}"
    url = f"sentinel://127.0.0.1:{ports[1]}?master_name=main&{tls}"
    with (
        redis_server(tmp_path, *options, "--tls-port", str(ports[0])) as primary,
        redis_server(tmp_path, *watches),
        closing(open_store(url, timeout=10)) as store,
    ):
        assert queue(store, "owner").owner == "owner"
        with primary.client as client:
            assert client.keys() == [b"jobtastic:key"]


def test_sentinels_that_hang_are_passed_over_and_asked_last_from_then_on(watched, monkeypatch):
    primary, (first, second, third) = watched.primary, watched.sentinels
    asked, connect = [], Connection._connect

    def remember(connection):
        asked.append(connection.port)
        return connect(connection)

    with closing(open_store(watched.url, timeout=1)) as store:
        # Sentinels that hang for two seconds would trust nothing for half a minute.
        with paused(first, second):
            store.lookup("key")
        primary.ask("CLIENT KILL TYPE", "normal")
        monkeypatch.setattr(Connection, "_connect", remember)
        store.lookup("key")
    assert third.port in asked
    assert not {first.port, second.port} & set(asked)


@contextmanager
def paused(*servers):
    for server in servers:
        server.pause()
    try:
        yield
    finally:
        for server in servers:
            server.resume()


def test_a_primary_that_is_a_replica_by_now_is_not_believed(watched, make_store):
    primary = watched.primary
    store = make_store()
    primary.ask("REPLICAOF", "127.0.0.1", watched.sentinels[0].port)
    try:
        with pytest.raises(redis.ConnectionError, match="is a slave, which sentinels still call the master"):
            store.lookup("key")
    finally:
        primary.ask("REPLICAOF", "NO", "ONE")
    assert store.lookup("key") is None


# Other primaries


@contextmanager
def in_use(store, *, threads=4):
    """Yield what becomes of each thread's operations on *store*: when, and if rightly, or ``None``."""
    over, seen = threading.Event(), [[] for _ in range(threads)]

    def use(own):
        for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
            key, me = f"{id(own)}-{number}", f"owner-{number}"
            try:
                right = run(store, me, key).owner == me and complete(store, me, key=key, ttl=60)
                own.append((time.monotonic(), right))
            except redis.RedisError:
                own.append((time.monotonic(), None))
                time.sleep(0.05)

    workers = [threading.Thread(target=use, args=(own,)) for own in seen]
    for worker in workers:
        worker.start()
    try:
        yield seen
    finally:
        over.set()
        for worker in workers:
            worker.join()


def kill(watched):
    watched.primary.kill()


def demote(watched):
    old = watched.primary
    watched.sentinels[0].ask("SENTINEL FAILOVER", "main")
    wait_until(lambda: watched.primary is not old, what="another primary")
    # As the sentinels do, but they take ten seconds, in which it goes on to answer as a primary.
    old.ask("REPLICAOF", "127.0.0.1", watched.primary.port)


def is_used(store, watched):
    """Return whether the primary has what *store* writes."""
    try:
        run(store, "owner", "new")
        with closing(open_store(f"redis://:{watched.password}@127.0.0.1:{watched.primary.port}/1")) as direct:
            found = direct.lookup("new")
        return found is not None and found.owner == "owner"
    except redis.RedisError:
        return False


@pytest.mark.parametrize("end", [demote, kill])  # What is killed is not there for another test.
def test_a_store_in_use_goes_on_by_itself_with_the_next_primary(watched, make_store, end):
    wait_until(watched.replicated, what="replicas of the primary")
    make_store()
    old = watched.primary

    def all_work():
        now = time.monotonic()
        wait_until(
            lambda: all(any(when > now and right for when, right in list(own)) for own in seen),
            what="all threads using the store",
        )

    with closing(open_store(watched.url, timeout=1)) as store, in_use(store) as seen:
        all_work()
        end(watched)
        wait_until(lambda: watched.primary is not old, what="another primary")
        all_work()
        # On a busy machine the sentinels may call the next primary down as well.
        wait_until(lambda: is_used(store, watched), what="the store using the primary")
    assert all(right is not False for own in seen for _, right in own)
