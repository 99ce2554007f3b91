"""The store on one Redis: the contract, by TCP, by TLS and by a socket, and what is Redis' own."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.connection import Connection

from jobtastic_signals import Claim, Result
from jobtastic_signals.stores import _STORES, open_store
from jobtastic_signals.stores.redis.store import RedisStore
from jobtastic_signals.stores.rules import LAPSED_CLAIMS
from jobtastic_signals.testing import Clock, StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from tests.workers.servers import free_port, wait_until

from .operations import OPERATIONS, every_operation
from .redis_places import counted_exchanges, makes_stores
from .servers import redis_server, tls_options

CROWD, TIMEOUT = 8, 60


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """A server, and its URLs."""
    folder = tmp_path_factory.mktemp("redis")
    cert, options = tls_options(folder)
    port, socket = free_port(), folder / "redis.sock"
    with redis_server(folder, *options, "--tls-port", str(port), "--unixsocket", str(socket)) as server:
        yield {
            "server": server,
            "redis": server.url,
            "valkey": f"valkey://127.0.0.1:{server.port}/1",
            "rediss": f"rediss://127.0.0.1:{port}/2?ssl_ca_certs={cert}",
            "valkeys": f"valkeys://127.0.0.1:{port}?ssl_cert_reqs=CERT_NONE&db=3",
            "unix": f"unix://{socket}?db=4",
            "redis+socket": f"redis+socket://{socket}?virtual_host=5",
        }


@pytest.fixture
def server(ways):
    return ways["server"]


@pytest.fixture
def make_store(server):
    with makes_stores(server) as make_store:
        yield make_store


@pytest.fixture
def store(make_store):
    """A store that goes by the server's clock."""
    return make_store()


# The contract


class TestRedisStore(StoreConformance):
    examples = 40

    @pytest.fixture
    def make_store(self, make_store):
        return make_store


class TestRedisStoreByTls(StoreConformance):
    examples, rounds = 5, 3

    @pytest.fixture
    def make_store(self, ways):
        with makes_stores(ways["server"], ways["rediss"]) as make_store:
            yield make_store


class TestRedisStoreByASocket(StoreConformance):
    examples, rounds = 5, 3

    @pytest.fixture
    def make_store(self, ways):
        with makes_stores(ways["server"], ways["unix"]) as make_store:
            yield make_store


DATABASES = {"redis": 0, "valkey": 1, "rediss": 2, "valkeys": 3, "unix": 4, "redis+socket": 5}


@pytest.mark.parametrize("way", DATABASES)
def test_each_scheme_leads_to_its_database(ways, way):
    ways["server"].flush()
    with closing(open_store(ways[way], timeout=10)) as store:
        store.admit("key", "owner", 60)
    assert list(ways["server"].ask("INFO", "keyspace")) == [f"db{DATABASES[way]}"]


def test_all_schemes_of_the_store_can_be_opened():
    known = {scheme for scheme, (path, _) in _STORES.items() if path == ".redis:RedisStore"}
    assert known == set(RedisStore.schemes)


# Round trips


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "entries"])
def test_an_operation_is_one_round_trip(store, monkeypatch, name):
    OPERATIONS[name](store)
    exchanges = counted_exchanges(monkeypatch)
    OPERATIONS[name](store)
    assert exchanges == [1]


def test_entries_are_read_many_at_a_time(store, monkeypatch):
    for number in range(100):
        store.settle(f"key-{number}", "owner", b"42", None)
    store.lookup("key")
    exchanges = counted_exchanges(monkeypatch)
    assert len(list(store.entries())) == 100
    assert sorted(exchanges) == [0, 4, 32, 32, 32]


def test_a_payload_is_sent_to_none_whom_it_does_not_answer(server, store):
    store.admit("key", "owner", 60)
    store.admit("key", "waiter", 60)
    store.settle("key", "owner", bytes(1_000_000), 0, handover=60)
    before = server.ask("INFO", "stats")["total_net_output_bytes"]
    assert store.lookup("key") is None
    assert store.admit("key", "next", 60).owner == "next"
    assert list(store.entries()) == [("key", store.lookup("key"))]
    assert store.extend("key", "next", 60)
    assert store.release("key", "next")
    assert store.forget("key") is False
    assert server.ask("INFO", "stats")["total_net_output_bytes"] - before < 100_000


# Scripts


@every_operation
def test_scripts_that_the_server_has_lost_are_sent_again(server, make_store, clock, use):
    answers = []
    for lost in (False, True):
        store = make_store(clock)
        store.admit("key", "owner", 60)
        identity = store.identity
        if lost:
            server.ask("SCRIPT FLUSH")
        answers.append(identity == use(store) if use is OPERATIONS["identity"] else use(store))
    assert answers[0] == answers[1]
    assert answers[0] is not None


# Time


def test_the_time_is_the_servers_whatever_the_host_thinks(server, store, monkeypatch):
    seconds, _ = server.ask("TIME")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    claim = store.admit("key", "owner", 60)
    assert 0 <= claim.expires - seconds - 60 < 10
    assert store.lookup("key") == claim
    store.settle("key", "owner", b"42", 60)
    assert 0 <= store.lookup("key").expires - seconds - 60 < 10


def test_what_is_read_later_equals_what_was_answered(store):
    for number in range(50):
        lease = 60 + number / 7
        claim = store.admit(f"key-{number}", "owner", lease)
        assert store.lookup(f"key-{number}") == claim
        assert store.admit(f"key-{number}", "other", 60).expires == claim.expires


def test_no_digit_of_a_time_is_lost(make_store):
    clock = Clock(1_700_000_000 + 1 / 3)
    store = make_store(clock)
    assert store.admit("key", "owner", 1 / 7) == store.lookup("key") == Claim("owner", clock() + 1 / 7)
    store.settle("key", "owner", b"42", 1 / 11)
    assert store.lookup("key").expires == clock() + 1 / 11


def test_nobody_is_not_an_owner_without_a_name(store):
    store.admit("key", "", 60)
    store.admit("key", "waiter", 60)
    assert store.admit("key", "waiter", 60, stale=None).owner == ""
    store.settle("key", "", b"42", 0, handover=60)
    assert isinstance(store.admit("key", "waiter", 60, waited_for=None), Claim)
    assert store.admit("key", "waiter", 60, waited_for="").payload == b"42"


def test_claims_and_results_end_by_the_servers_time(store):
    store.admit("claimed", "owner", 0.05)
    store.settle("settled", "owner", b"42", 0.05)
    assert isinstance(store.lookup("claimed"), Claim)
    assert isinstance(store.lookup("settled"), Result)
    wait_until(lambda: list(store.entries()) == [], what="the end of both")
    assert store.admit("claimed", "next", 60).previous == "owner"


# How long a key stays


@pytest.fixture
def seconds_left(server):
    def seconds_left(key="key"):
        left = server.ask("PTTL", f"jobtastic:{key}")
        return left if left < 0 else left / 1000

    return seconds_left


GONE, FOR_EVER = -2, -1


def test_a_claim_stays_for_a_while_after_it_lapsed(store, seconds_left):
    store.admit("key", "owner", 60)
    assert seconds_left() == pytest.approx(60 + LAPSED_CLAIMS, abs=5)
    store.admit("key", "waiter", 600)
    assert seconds_left() == pytest.approx(60 + LAPSED_CLAIMS, abs=5)
    store.extend("key", "owner", 6000)
    assert seconds_left() == pytest.approx(6000 + LAPSED_CLAIMS, abs=5)
    store.release("key", "owner")
    assert seconds_left() == GONE


@pytest.mark.parametrize(("ttl", "expected"), [(None, FOR_EVER), (60, 60), (10**12, 10**12), (0, GONE)])
def test_a_result_stays_for_as_long_as_it_answers(store, seconds_left, ttl, expected):
    store.admit("key", "owner", 60)
    store.settle("key", "owner", b"42", ttl)
    assert seconds_left() == pytest.approx(expected, abs=5)
    store.forget("key")
    assert seconds_left() == GONE


def test_a_result_stays_for_those_who_waited(store, seconds_left):
    store.admit("key", "owner", 60)
    store.admit("key", "waiter", 60)
    store.settle("key", "owner", b"42", 0, handover=100)
    assert seconds_left() == pytest.approx(100, abs=5)
    store.admit("key", "next", 60)
    assert seconds_left() == pytest.approx(60 + LAPSED_CLAIMS, abs=5)
    store.release("key", "next")
    assert seconds_left() == pytest.approx(100, abs=5)


def test_a_claim_outlives_neither_a_result_that_is_forgotten_nor_the_other_way_round(store, seconds_left):
    store.admit("key", "lapses", 0.001)
    time.sleep(0.01)
    store.settle("key", "other", b"42", None)
    assert seconds_left() == FOR_EVER
    store.forget("key")
    assert seconds_left() == pytest.approx(LAPSED_CLAIMS, abs=5)


def test_a_claim_that_lapsed_long_ago_stays_through_what_others_do(make_store, clock):
    store = make_store(clock)
    store.admit("key", "late", 60)
    clock.advance(60 + 2 * LAPSED_CLAIMS)
    assert store.settle("key", "other", b"42", 0)
    assert store.forget("key") is False
    assert store.admit("key", "next", 60).previous == "late"


def test_a_result_that_nobody_may_have_takes_no_memory_beside_a_claim(server, make_store, clock):
    store = make_store(clock)
    store.settle("key", "owner", bytes(100_000), 1000)
    clock.advance(1000)
    store.admit("key", "next", 60)
    assert server.ask("HLEN", "jobtastic:key") == 2
    assert server.ask("MEMORY USAGE", "jobtastic:key") < 1000


# The identity


def test_the_identity_is_the_databases(ways, make_store):
    first, second = make_store(), open_store(ways["redis"], timeout=10)
    assert first.identity == second.identity
    with closing(open_store(ways["valkey"], timeout=10)) as other:
        assert other.identity != first.identity
    second.close()


def test_a_flushed_database_is_another(server, store):
    before = store.identity
    server.flush()
    assert store.identity != before
    assert store.identity == store.identity


# Restarts


@every_operation
def test_a_restart_between_two_operations_is_no_failure(tmp_path, use):
    with redis_server(tmp_path) as server, closing(open_store(server.url, timeout=10)) as store:
        before = store.identity
        for other in OPERATIONS.values():
            other(store)
        server.kill()
        server.start()
        use(store)
        assert store.identity != before


def test_a_restart_is_none_for_many_threads_either(tmp_path):
    with redis_server(tmp_path) as server, closing(open_store(server.url, timeout=10)) as store:
        meet = threading.Barrier(CROWD, timeout=TIMEOUT)

        def look(key):
            meet.wait()
            return [store.lookup(key) for _ in range(50)]

        for _ in range(3):
            with ThreadPoolExecutor(CROWD) as pool:
                assert list(pool.map(look, ["key"] * CROWD)) == [[None] * 50] * CROWD
            server.kill()
            server.start()


# Forks


@forks
def test_a_child_forked_while_answers_are_under_way_gets_its_own_and_no_others(server, store):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    for number in range(CROWD):
        store.settle(f"parent-{number}", "parent", b"42", None)
    store.settle("child", "child", b"42", None)

    def look_as_a_child():
        answers.put([store.lookup("child").owner, store.admit("of the child", "child", 60).owner])

    server.pause()
    try:
        with ThreadPoolExecutor(CROWD) as pool:
            looks = [pool.submit(store.lookup, f"parent-{number}") for number in range(CROWD)]
            wait_until(lambda: all(look.running() for look in looks), what="all lookups")
            time.sleep(0.05)
            child = context.Process(target=look_as_a_child)
            child.start()
            time.sleep(0.05)
            server.resume()
            assert [look.result(TIMEOUT).owner for look in looks] == ["parent"] * CROWD
            child.join(TIMEOUT)
            child.kill()
    finally:
        server.resume()
    assert child.exitcode == 0
    assert answers.get() == ["child", "child"]
    # And what the child closed in the end is open here.
    assert store.lookup("parent-0").owner == "parent"


def test_an_operation_that_is_broken_off_leaves_no_answer_for_the_next(server, store, monkeypatch):
    store.settle("first", "first", b"42", None)
    store.settle("second", "second", b"42", None)

    def strike(connection, **_):
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read_response", strike)
        with pytest.raises(SoftTimeLimitExceeded):
            store.lookup("first")
    assert store.lookup("second").owner == "second"


def test_connections_are_kept_and_closed(server, store):
    def connected():
        return int(server.ask("INFO", "clients")["connected_clients"]) - 1  # This one.

    before = connected()
    for _ in range(5):
        store.lookup("key")
    assert connected() == before + 1
    store.close()
    wait_until(lambda: connected() == before, what="the connection being closed")
