"""The store on a cluster of three nodes: the contract, slots that move, and nodes that go."""

from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
import redis
from redis.crc import key_slot

from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import StoreConformance
from jobtastic_signals.testing.conformance.base import complete, put, queue, run
from tests.support.redis_servers import CLUSTER_SLOTS, cluster, redis_server
from tests.support.servers import wait_until
from tests.support.stores.operations import OPERATIONS, fails_in_time
from tests.support.stores.redis_places import counted_exchanges, makes_stores

KEYS = [f"key-{number}" for number in range(30)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def make_store(nodes):
    with makes_stores(nodes) as make_store:
        yield make_store


@pytest.fixture
def store(make_store):
    return make_store()


def slot_of(key):
    return key_slot(f"jobtastic:{key}".encode())


def home_of(key, nodes):
    return nodes.nodes[slot_of(key) * len(nodes.nodes) // CLUSTER_SLOTS]


@pytest.mark.thorough
class TestRedisStoreOnACluster(StoreConformance):
    examples, rounds = 5, 5

    @pytest.fixture
    def make_store(self, make_store):
        return make_store


def test_keys_are_spread_over_all_nodes_and_found_on_each(store, nodes):
    for key in KEYS:
        put(store, key)
    assert all(0 < node.ask("DBSIZE") < len(KEYS) for node in nodes.nodes)
    assert sorted(key for key, _ in store.entries()) == sorted(KEYS)
    assert sorted(key for key, _ in store.entries("key-2")) == sorted(
        k for k in KEYS if k.startswith("key-2")
    )


@pytest.mark.parametrize("key", ["{tagged}:rest", "{}", "no{end", "}{a}"])
def test_braces_in_a_key_are_no_harm(store, key):
    put(store, key)
    assert store.lookup(key).payload == b"42"
    assert [key for key, _ in store.entries()] == [key]


def test_any_node_leads_to_the_others(make_store, nodes):
    put(make_store(), "key")
    for node in nodes.nodes:
        with closing(open_store(f"redis+cluster://127.0.0.1:{node.port}/0", timeout=10)) as store:
            assert store.lookup("key").payload == b"42"


def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(nodes):
    first = nodes.nodes[0]
    first.ask("CONFIG SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
    try:
        with closing(open_store(nodes.url, timeout=10)) as store:
            assert all(store.lookup(key) is None for key in KEYS)
    finally:
        first.ask("CONFIG SET", "cluster-preferred-endpoint-type", "ip")


def test_nodes_lead_to_each_other_by_tls(nodes):
    nodes.flush()
    with closing(open_store(nodes.tls_url, timeout=10)) as store:
        assert all(run(store, "owner", key).owner == "owner" for key in KEYS)
        assert sorted(key for key, _ in store.entries()) == sorted(KEYS)


def test_an_index_is_on_another_node(store, nodes, monkeypatch):
    key, index = (
        KEYS[0],
        next(other for other in KEYS if home_of(other, nodes) is not home_of(KEYS[0], nodes)),
    )
    for _ in range(2):  # The scripts are known the second time.
        nodes.flush()
        run(store, "owner", key)
        exchanges = counted_exchanges(monkeypatch)
        assert complete(store, "owner", key=key, ttl=60, index=index, index_ttl=100)
    assert exchanges == [1, 1]
    result, indexed = store.lookup(key), store.lookup(index)
    ends = result.ended + 100
    assert indexed == replace(result, payload=key.encode(), expires=ends, kept=ends)


def test_a_refused_result_is_not_indexed(store):
    run(store, "owner")
    assert complete(store, "late", index="of late") is False
    assert complete(store, "owner", ttl=0, index="of owner", index_ttl=100) is True
    assert list(store.entries()) == []


# Scopes, which are on other nodes


def test_a_scope_is_asked_for_where_it_matters(store, nodes, monkeypatch):
    scopes = ["task:a", "tag:b"]

    def exchanges_of(use):
        with monkeypatch.context() as patch:
            exchanges = counted_exchanges(patch)
            use()
        return exchanges

    def call_and_run(key):
        return [
            exchanges_of(lambda: store.lookup(key, scopes=scopes)),
            exchanges_of(lambda: queue(store, "owner", key, scopes=scopes)),
            exchanges_of(lambda: queue(store, "joins", key, scopes=scopes)),
            exchanges_of(lambda: run(store, "owner", key, scopes=scopes)),
            exchanges_of(lambda: run(store, "waits", key, scopes=scopes)),
            exchanges_of(lambda: complete(store, "owner", key=key, scopes=scopes)),
            exchanges_of(lambda: queue(store, "caller", key, scopes=scopes)),
        ]

    call_and_run(KEYS[0])  # The scripts are known the second time.
    nodes.flush()
    once, with_scopes = [1], [1, 1, 1, 1]
    assert call_and_run(KEYS[0]) == [
        *[once, once, once, once, with_scopes],
        *[[1, 1, 1], with_scopes],
    ]


def test_keys_on_all_nodes_are_forgotten_by_their_scope(store):
    for key in KEYS:
        put(store, key)
    run(store, "owner", "running")
    store.forget_scope("tag:a", ttl=60)
    scopes = ["task:a", "tag:a"]
    assert [key for key in KEYS if store.lookup(key, scopes=scopes)] == []
    assert all(store.lookup(key, scopes=["task:a"]) for key in KEYS)
    assert store.lookup("running", scopes=scopes).forgotten
    assert complete(store, "owner", key="running", scopes=scopes)
    assert store.lookup("running") is None


@pytest.mark.parametrize("value", [("SET", "not ours"), ("RPUSH", "not ours")], ids=["a text", "a list"])
def test_a_mark_that_is_no_time_is_none(store, nodes, value):
    name = "jobtastic-scope:a"
    node = nodes.nodes[key_slot(name.encode()) * len(nodes.nodes) // CLUSTER_SLOTS]
    command, *words = value
    node.ask(command, name, *words)
    put(store, "key")
    assert store.lookup("key", scopes=["a", "b"]).payload == b"42"


def test_numbers_on_all_nodes_are_found(store):
    for key in KEYS:
        store.count(key, {"calls": 1}, ttl=60)
    assert dict(store.counts()) == {key: {"calls": 1} for key in KEYS}


# Slots that move


def test_a_slot_that_moves_is_followed(store, nodes, monkeypatch):
    source = home_of("moved", nodes)
    target = next(node for node in nodes.nodes if node is not source)
    other = next(key for key in KEYS if home_of(key, nodes) is source)
    put(store, other)
    assert store.lookup("moved") is None
    nodes.move(slot_of("moved"), source, target, done=False)
    try:
        assert run(store, "owner", "moved").owner == "owner"
        assert store.lookup("moved").owner == "owner"
        assert (source.ask("DBSIZE"), target.ask("DBSIZE")) == (1, 1)
        nodes.move(slot_of("moved"), source, target, done=True)
        assert store.lookup("moved").owner == "owner"
        assert store.lookup("moved").owner == "owner"
        exchanges = counted_exchanges(monkeypatch)
        assert complete(store, "owner", key="moved")
        assert exchanges == [1], "it is known by now"
        assert {key for key, _ in store.entries()} == {"moved", other}
    finally:
        source.flush()
        target.flush()
        nodes.move(slot_of("moved"), target, source, done=False)
        nodes.move(slot_of("moved"), target, source, done=True)
    assert store.lookup("moved") is None


# Nodes that go


def test_a_node_that_is_killed_takes_its_keys_alone_and_is_back_by_itself(store, nodes):
    lost = nodes.nodes[0]
    mine = [key for key in KEYS if home_of(key, nodes) is lost]
    others = [key for key in KEYS if key not in mine]
    assert [store.lookup(key) for key in KEYS] == [None] * len(KEYS)
    lost.kill()
    try:
        with pytest.raises(redis.RedisError):
            store.lookup(mine[0])
        # The URL names no other; those that it named are known.
        assert all(run(store, "owner", key).owner == "owner" for key in others)
        with pytest.raises(redis.RedisError):
            list(store.entries())
    finally:
        lost.start()
        wait_until(nodes.settled, what="the node being back")
    assert run(store, "owner", mine[0]).owner == "owner"
    assert len(list(store.entries())) == len(others) + 1


def test_a_node_that_takes_over_from_another_is_found(store, nodes):
    lost, heir, _ = nodes.nodes
    key = next(key for key in KEYS if home_of(key, nodes) is lost)
    store.lookup(key)
    lost.kill()
    try:
        with pytest.raises(redis.RedisError):
            store.lookup(key)
        heir.ask("CLUSTER DELSLOTS", slot_of(key))
        heir.ask("CLUSTER ADDSLOTS", slot_of(key))
        heir.ask("CLUSTER BUMPEPOCH")
        wait_until(lambda: claimed(store, key), what="the heir being found")
    finally:
        lost.start()
        wait_until(nodes.settled, what="the node being back")
        heir.flush()
        nodes.move(slot_of(key), heir, lost, done=False)
        nodes.move(slot_of(key), heir, lost, done=True)


def claimed(store, key):
    try:
        return run(store, "owner", key).owner == "owner"
    except redis.RedisError:
        return False


@pytest.mark.parametrize("name", ["lookup", "complete", "identity", "entries"])
def test_a_cluster_that_hangs_costs_each_operation_one_timeout(nodes, name):
    use = OPERATIONS[name]
    with closing(open_store(nodes.url)) as store:
        use(store)
        for node in nodes.nodes:
            node.pause()
        try:
            for _ in range(2):
                fails_in_time(partial(use, store))
        finally:
            for node in nodes.nodes:
                node.resume()
        wait_until(nodes.settled, what="the nodes being back")
        use(store)


def test_a_server_that_is_no_cluster_is_an_error(tmp_path):
    with redis_server(tmp_path) as server:
        store = open_store(server.url.replace("redis:", "redis+cluster:"), timeout=10)
        with pytest.raises(redis.ConnectionError, match="cluster support disabled"):
            store.lookup("key")
