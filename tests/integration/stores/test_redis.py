"""The store on one Redis: the contract, by TCP, by TLS and by a socket, and what is Redis' own."""

import json
import multiprocessing
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.connection import Connection

from jobtastic_signals import Claim, Result
from jobtastic_signals.stores import _STORES, open_store
from jobtastic_signals.stores.entry import FORMAT_VERSION, REMEMBERED_FOR, Entry
from jobtastic_signals.stores.redis.store import RedisStore
from jobtastic_signals.testing import Clock, StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.base import complete, put, queue, renew, run
from tests.support.redis_servers import redis_server, tls_options
from tests.support.servers import reserve_port, wait_until
from tests.support.stores.operations import OPERATIONS, every_operation
from tests.support.stores.redis_places import counted_exchanges, makes_stores

CROWD, TIMEOUT = 8, 60


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """Yield a server, and its URLs."""
    folder = tmp_path_factory.mktemp("redis")
    cert, options = tls_options(folder)
    port, socket = reserve_port(), folder / "redis.sock"
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
    """Return a store that goes by the server's clock."""
    return make_store()


# The contract


class TestRedisStore(StoreConformance):
    examples = 20

    @pytest.fixture
    def make_store(self, make_store):
        return make_store


@pytest.mark.thorough
class TestRedisStoreByTls(StoreConformance):
    examples, rounds = 5, 3

    @pytest.fixture
    def make_store(self, ways):
        with makes_stores(ways["server"], ways["rediss"]) as make_store:
            yield make_store


@pytest.mark.thorough
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
        queue(store, "owner")
    assert list(ways["server"].ask("INFO", "keyspace")) == [f"db{DATABASES[way]}"]


def test_all_schemes_of_the_store_can_be_opened():
    known = {scheme for scheme, (path, _) in _STORES.items() if path == ".redis.store:RedisStore"}
    assert known == set(RedisStore.schemes)


# Round trips


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("entries", "counts")])
def test_an_operation_is_one_round_trip(store, monkeypatch, name):
    OPERATIONS[name](store)
    exchanges = counted_exchanges(monkeypatch)
    OPERATIONS[name](store)
    assert exchanges == [1]


def test_entries_are_read_many_at_a_time(store, monkeypatch):
    for number in range(100):
        put(store, f"key-{number}")
    store.entry("key")
    exchanges = counted_exchanges(monkeypatch)
    assert len(list(store.entries())) == 100
    assert sorted(exchanges) == [0, 4, 32, 32, 32]


def test_a_run_costs_two_round_trips_with_its_index(store, monkeypatch):
    run(store, "warms up")
    complete(store, "warms up", index="of warms up")
    exchanges = counted_exchanges(monkeypatch)
    run(store, "owner", key="other")
    assert complete(store, "owner", key="other", index="of owner")
    assert exchanges == [1, 1]
    assert store.lookup("of owner").payload == b"other"


SCOPES = ["task:a", "tag:b", "tag:c"]


def test_scopes_cost_no_round_trip(store, monkeypatch):
    """A first call has one round trip, and a run two."""

    def call_and_run(key):
        queue(store, "owner", key, scopes=SCOPES)
        run(store, "owner", key, scopes=SCOPES)
        assert complete(store, "owner", key=key, scopes=SCOPES, index=f"of {key}")
        assert isinstance(queue(store, "caller", key, scopes=SCOPES), Result)
        assert isinstance(store.lookup(key, scopes=SCOPES), Result)
        assert store.entry(key, scopes=SCOPES).result

    call_and_run("warms up")
    store.forget_scope("tag:b", ttl=60)
    exchanges = counted_exchanges(monkeypatch)
    call_and_run("key")
    assert exchanges == [1] * 6


def test_the_stale_result_and_the_claim_that_renews_it_come_in_one_round_trip(make_store, clock, monkeypatch):
    store = make_store(clock)
    for key in ("warms up", "key"):
        complete(store, "owner", ttl=10, stale_for=50, key=key)
    clock.advance(20)
    exchanges = []
    for key in ("warms up", "key"):
        exchanges = counted_exchanges(monkeypatch)
        assert queue(store, "first", key).renewal == "first"
        assert queue(store, "second", key).renewal is None
    assert exchanges == [1, 1]


def test_a_payload_is_only_sent_as_an_answer(server, store):
    run(store, "owner")
    run(store, "waiter")
    complete(store, "owner", bytes(1_000_000), ttl=0, kept_for=60)
    before = server.ask("INFO", "stats")["total_net_output_bytes"]
    assert store.lookup("key") is None
    assert queue(store, "next").owner == "next"
    assert queue(store, "joins", goes_out=True).owner == "next"
    assert run(store, "next").owner == "next"
    assert run(store, "waits").owner == "next"
    assert list(store.entries()) == [("key", Entry(store.lookup("key")))]
    assert renew(store, "next")
    assert store.release("key", "next", "next/1")
    assert store.forget("key") is False
    assert server.ask("INFO", "stats")["total_net_output_bytes"] - before < 100_000


# Beside the entries


def test_a_scope_and_numbers_have_names_that_no_key_can_have(server, store):
    names = ["scope:a", "counts:a", "a", "", "*"]
    for name in names:
        store.forget_scope(name, ttl=60)
        store.count(name, {"calls": 1}, ttl=60)
    assert list(store.entries()) == []
    assert all(store.lookup(name) is None for name in names)
    for name in names:
        put(store, name)
    assert {key for key, _ in store.entries()} == set(names) == {key for key, _ in store.counts()}
    assert server.ask("DBSIZE") == 3 * len(names)


@pytest.mark.parametrize(("ttls", "expected"), [([60], 60), ([60, 10], 60), ([10, None, 60], -1), ([0], -2)])
def test_a_scope_takes_room_for_as_long_as_it_has_to_be_known(server, store, ttls, expected):
    for ttl in ttls:
        store.forget_scope("tag:a", ttl=ttl)
    wait_until(lambda: ttls != [0] or not server.ask("DBSIZE"), what="the scope being unknown")
    left = server.ask("PTTL", "jobtastic-scope:tag:a")
    assert (left if left < 0 else left / 1000) == pytest.approx(expected, abs=5)


def test_numbers_take_room_for_their_time_after_the_last_was_added(server, store):
    for ttl in (1000, 60):
        store.count("counts", {"calls": 1, "expires": 0.5}, ttl=ttl)
        assert server.ask("PTTL", "jobtastic-counts:counts") / 1000 == pytest.approx(ttl, abs=5)
    assert dict(store.counts()) == {"counts": {"calls": 2, "expires": 1}}


def test_no_number_is_lost_among_many_threads(server, store):
    def count(number):
        for _ in range(20):
            store.count("counts", {"calls": 1, f"of {number}": 0.25}, ttl=60)

    with ThreadPoolExecutor(CROWD) as pool:
        list(pool.map(count, range(CROWD)))
    sums = {"calls": 20 * CROWD, **{f"of {number}": 5 for number in range(CROWD)}}
    assert dict(store.counts()) == {"counts": sums}


@pytest.mark.parametrize("value", [("SET", "not ours"), ("RPUSH", "not ours")], ids=["a text", "a list"])
def test_a_mark_that_is_no_time_is_none_and_is_replaced(server, store, value):
    command, *words = value
    server.ask(command, "jobtastic-scope:a", *words)
    put(store, "key")
    assert isinstance(store.lookup("key", scopes=["a"]), Result)
    store.forget_scope("a", ttl=60)
    assert store.lookup("key", scopes=["a"]) is None


NO_NUMBERS = {
    "a list": ("RPUSH", "not ours"),
    "no end": ("HSET", "=calls", "1"),
    "an end that is a word": ("HSET", "expires", "tomorrow", "=calls", "1"),
    "a number that is a word": ("HSET", "expires", "9e12", "=calls", "one"),
}


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_numbers_that_are_none_are_replaced(server, store, value):
    command, *words = value
    server.ask(command, "jobtastic-counts:a", *words)
    assert not any(amounts for _, amounts in store.counts())
    store.count("a", {"calls": 1}, ttl=60)
    assert dict(store.counts()) == {"a": {"calls": 1}}


# Scripts


@every_operation
def test_scripts_that_the_server_has_lost_are_sent_again(server, make_store, clock, use):
    def seen(store):
        return store.entry("key", scopes=["scope"]), dict(store.counts())

    answers = []
    for lost in (False, True):
        store = make_store(clock)
        run(store, "owner")
        before, identity = seen(store), store.identity
        if lost:
            server.ask("SCRIPT FLUSH")
        answer = identity == use(store) if use is OPERATIONS["identity"] else use(store)
        answers.append((answer, seen(store)))
    assert answers[0] == answers[1]
    assert answers[0] != (None, before)


# Time


def test_the_time_is_the_servers_whatever_the_host_thinks(server, store, monkeypatch):
    seconds, _ = server.ask("TIME")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    claim = queue(store, "owner", expires=100)
    for found, late in ((claim.at, 0), (claim.since, 0), (claim.expires, 60), (claim.message_expires, 100)):
        assert 0 <= found - seconds - late < 10
    assert store.lookup("key") == claim
    run(store, "owner")
    complete(store, "owner", ttl=60)
    result = store.lookup("key")
    for found, late in ((result.at, 0), (result.began, 0), (result.ended, 0), (result.expires, 60)):
        assert 0 <= found - seconds - late < 10


def test_what_is_read_later_equals_what_was_answered(store):
    for number in range(50):
        key, lease = f"key-{number}", 60 + number / 7
        claim = queue(store, "owner", key, lease, expires=lease / 3)
        assert store.lookup(key) == claim
        assert queue(store, "other", key, expires=1).expires == claim.expires
        claim = run(store, "owner", key, lease)
        assert store.lookup(key) == claim
        assert run(store, "other", key).since == claim.since


def test_no_digit_of_a_time_is_lost(make_store):
    clock = Clock(1_700_000_000 + 1 / 3)
    store = make_store(clock)
    since, lease = clock(), 1 / 7
    claim = Claim("owner", since + lease, since, message_expires=since + 1 / 9)
    assert queue(store, "owner", lease=lease, expires=1 / 9) == store.lookup("key") == claim
    assert run(store, "owner", lease=lease).expires == since + lease
    clock.advance(1 / 13)
    complete(store, "owner", ttl=1 / 11)
    ends = clock() + 1 / 11
    assert store.lookup("key") == Result("owner", b"42", "SUCCESS", since, clock(), ends, ends)
    assert store.lookup("key").at == clock()


def test_nobody_is_not_an_owner_without_a_name(store):
    run(store, "")
    assert run(store, "waiter", lapsed=None).owner == ""
    complete(store, "", ttl=0, kept_for=60)
    assert isinstance(run(store, "first", waited_for=None), Claim)
    assert store.release("key", "first", None) is False
    assert run(store, "waiter", waited_for="").payload == b"42"
    assert store.release("key", "first", "")


def test_no_delivery_is_not_a_delivery_without_a_name(store):
    assert store.claim("key", "owner", "", 60).is_running
    assert store.lookup("key").delivery == ""
    assert queue(store, "other", lapsed=Claim("owner", 0.0, 0.0)).owner == "owner"
    assert store.complete("key", "owner", None, b"42", ttl=60) is False
    assert store.complete("key", "owner", "", b"42", ttl=60) is True


def test_claims_and_results_end_by_the_servers_time(store):
    run(store, "owner", "claimed", lease=0.05)
    put(store, "completed", ttl=0.05)
    assert isinstance(store.lookup("claimed"), Claim)
    assert isinstance(store.lookup("completed"), Result)
    wait_until(lambda: list(store.entries()) == [], what="the end of both")
    assert run(store, "next", "claimed").previous == "owner"


# How long a key stays


@pytest.fixture
def seconds_left(server):
    def seconds_left(key="key"):
        left = server.ask("PTTL", f"jobtastic:{key}")
        return left if left < 0 else left / 1000

    return seconds_left


GONE, FOR_EVER = -2, -1


def test_a_claim_stays_for_a_while_after_it_lapsed(store, seconds_left):
    queue(store, "owner")
    assert seconds_left() == pytest.approx(60 + REMEMBERED_FOR, abs=5)
    queue(store, "joins", lease=600, goes_out=True)
    assert seconds_left() == pytest.approx(60 + REMEMBERED_FOR, abs=5)
    run(store, "owner", lease=600)
    assert seconds_left() == pytest.approx(600 + REMEMBERED_FOR, abs=5)
    run(store, "waits", lease=100)
    assert seconds_left() == pytest.approx(600 + REMEMBERED_FOR, abs=5)
    renew(store, "owner", lease=6000)
    assert seconds_left() == pytest.approx(6000 + REMEMBERED_FOR, abs=5)
    store.release("key", "owner", "owner/1", requeue=60)
    assert seconds_left() == pytest.approx(60 + REMEMBERED_FOR, abs=5)
    store.release("key", "owner", None)
    assert seconds_left() == pytest.approx(REMEMBERED_FOR, abs=5)


def test_a_claim_that_nobody_awaits_is_gone_when_it_is_released(store, seconds_left):
    run(store, "owner")
    store.release("key", "owner", "owner/1")
    assert seconds_left() == GONE


@pytest.mark.parametrize(("ttl", "expected"), [(None, FOR_EVER), (60, 60), (10**12, 10**12), (0, GONE)])
def test_a_result_stays_for_as_long_as_it_answers(store, seconds_left, ttl, expected):
    run(store, "owner")
    complete(store, "owner", ttl=ttl)
    assert seconds_left() == pytest.approx(expected, abs=5)
    store.forget("key")
    assert seconds_left() == GONE


@pytest.mark.parametrize(("ttl", "expected"), [(None, FOR_EVER), (60, 60), (0, GONE)])
def test_an_index_stays_for_its_own_time(store, seconds_left, ttl, expected):
    run(store, "owner")
    complete(store, "owner", ttl=1000, index="of owner", index_ttl=ttl)
    expected = 1000 if ttl is None else expected
    assert seconds_left("of owner") == pytest.approx(expected, abs=5)
    assert seconds_left() == pytest.approx(1000, abs=5)


def test_a_result_stays_for_those_who_waited(store, seconds_left):
    run(store, "owner")
    run(store, "waiter")
    complete(store, "owner", ttl=0, kept_for=100)
    assert seconds_left() == pytest.approx(100, abs=5)
    run(store, "next")
    assert seconds_left() == pytest.approx(60 + REMEMBERED_FOR, abs=5)
    store.release("key", "next", "next/1")
    assert seconds_left() == pytest.approx(100, abs=5)


def test_a_claim_outlives_neither_a_result_that_is_forgotten_nor_the_other_way_round(store, seconds_left):
    run(store, "lapses", lease=0.001)
    time.sleep(0.01)
    complete(store, "other")
    assert seconds_left() == FOR_EVER
    store.forget("key")
    assert seconds_left() == pytest.approx(REMEMBERED_FOR, abs=5)


def test_a_result_stays_for_as_long_as_it_is_stale(store, seconds_left):
    complete(store, "owner", ttl=100, stale_for=50)
    assert seconds_left() == pytest.approx(150, abs=5)


def test_a_forgotten_run_is_remembered_for_an_hour_and_with_its_claim_and_its_result(store, seconds_left):
    run(store, "owner", lease=10)
    store.forget("key")
    assert seconds_left() == pytest.approx(10 + REMEMBERED_FOR, abs=5)
    store.release("key", "owner", "owner/1")
    assert seconds_left() == pytest.approx(REMEMBERED_FOR, abs=5)
    run(store, "other", lease=600)
    assert seconds_left() == pytest.approx(600 + REMEMBERED_FOR, abs=5)
    complete(store, "other", ttl=10_000)
    assert seconds_left() == pytest.approx(10_000, abs=5)


def test_nothing_stays_that_was_forgotten_more_than_an_hour_before(server, make_store, clock):
    store = make_store(clock)
    run(store, "owner")
    store.forget("key")
    clock.advance(REMEMBERED_FOR + 1)
    assert store.release("key", "owner", "owner/1")
    assert server.ask("DBSIZE") == 0


def test_a_claim_that_lapsed_long_ago_is_as_if_it_never_was(make_store, clock):
    store = make_store(clock)
    run(store, "late")
    clock.advance(60 + REMEMBERED_FOR)
    assert complete(store, "other", ttl=0)
    assert store.forget("key") is False
    assert run(store, "next").previous is None


def test_a_result_that_nobody_may_have_takes_no_memory_beside_a_claim(server, make_store, clock):
    store = make_store(clock)
    put(store, "key", bytes(100_000), ttl=1000)
    clock.advance(1000)
    run(store, "next")
    assert server.ask("MEMORY USAGE", "jobtastic:key") < 1000


# What is stored


CLAIM = {"owner": "owner", "expires": "1700000060.5", "since": "1700000000.5"}
RESULT = {"owner": "owner", "state": "SUCCESS", "began": "1", "ended": "2"}


def record(payload=b"", **fields):
    return json.dumps({"version": FORMAT_VERSION, **fields}).encode() + b"\n" + payload


UNREADABLE = {
    "nothing": b"",
    "no line": b"not ours",
    "no JSON": b"not ours\n",
    "half a line": record(claim=CLAIM)[:40],
    "no object": b"[]\n",
    "a number": b"42\n",
    "no text": b"\xff\xfe\x00\n\x80",
    "nested": b"[" * 100_000 + b"\n",
    "no version": json.dumps({"claim": CLAIM}).encode() + b"\n",
    "an older version": record(version=FORMAT_VERSION - 1, claim=CLAIM),
    "a newer version": record(version=FORMAT_VERSION + 1, claim=CLAIM, result=RESULT),
    "a claim that is a text": record(claim="owner"),
    "a result that is a list": record(result=[1]),
    **{f"a claim without {name}": record(claim={**CLAIM, name: None}) for name in CLAIM},
    **{f"a result without {name}": record(result={**RESULT, name: None}) for name in RESULT},
    "a claim of a number": record(claim={**CLAIM, "owner": 42}),
    "a claim until a word": record(claim={**CLAIM, "expires": "tomorrow"}),
    "a claim for ever": record(claim={**CLAIM, "expires": "inf"}),
    "a claim until no time": record(claim={**CLAIM, "expires": "nan"}),
    "a delivery that is a list": record(claim={**CLAIM, "delivery": []}),
    "a mark that is a text": record(claim={**CLAIM, "awaited": "no"}),
    "a message until a word": record(claim={**CLAIM, "message_expires": "tomorrow"}),
    "a result until a word": record(result={**RESULT, "expires": "tomorrow"}),
    "a result kept until a word": record(result={**RESULT, "kept": "tomorrow"}),
    "a result stale until a word": record(result={**RESULT, "stale_until": "tomorrow"}),
    "a fresh claim that is a text": record(claim={**CLAIM, "fresh": "no"}),
    "a claim that half a caller joined": record(claim={**CLAIM, "joined": 0.5}),
    "a claim that fewer than nobody joined": record(claim={**CLAIM, "joined": -1}),
    "a claim that a list joined": record(claim={**CLAIM, "joined": []}),
    "a claim that a text left": record(claim={**CLAIM, "left": "owner"}),
    "a claim that a number left": record(claim={**CLAIM, "left": [1]}),
    "a claim that an object left": record(claim={**CLAIM, "left": {"seat": "owner"}}),
    "a next claim that is a text": record(claim=CLAIM, next="owner"),
    "a next claim without an owner": record(claim=CLAIM, next={**CLAIM, "owner": None}),
    "a forgetting that is a word": record(claim=CLAIM, forgotten="yesterday"),
    "a forgetting that is a list": record(claim=CLAIM, forgotten=[1]),
}


@pytest.fixture
def put_value(server):
    """Return a function that puts a value of somebody else under a key: a text, or one of another type."""

    def put_value(value, key="key"):
        server.ask("DEL", f"jobtastic:{key}")
        command, *words = ("SET", value) if isinstance(value, bytes) else value
        server.ask(command, f"jobtastic:{key}", *words)

    return put_value


UNREADABLE["a hash"] = ("HSET", "owner", "owner", "expires", "1700000060.5")
UNREADABLE["a list"] = ("RPUSH", "owner")


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_counts_as_absent_and_is_replaced(server, make_store, clock, put_value, value):
    store = make_store(clock)
    put(store, "other")
    put_value(value)
    assert store.lookup("key") is None
    assert [key for key, _ in store.entries()] == ["other"]
    assert store.forget("key") is False
    assert store.release("key", "owner", "") is False
    for use in (queue, run):
        put_value(value)
        claim = use(store, "next")
        assert (claim.owner, claim.previous, claim.awaited) == ("next", None, False)
        assert store.lookup("key") == claim
    put_value(value)
    assert renew(store, "next")
    assert store.lookup("key").owner == "next"
    put_value(value)
    assert complete(store, "next", index="key")
    assert store.lookup("key").payload == b"key"


def test_what_cannot_be_read_is_left_alone_by_those_who_write_nothing(server, store, put_value):
    put_value(b"not ours")
    store.lookup("key")
    store.forget("key")
    store.release("key", "owner", "")
    assert server.ask("GET", "jobtastic:key") == b"not ours"


def test_an_index_replaces_what_cannot_be_read(store, put_value):
    put_value(UNREADABLE["a hash"])
    assert complete(store, "owner", key="other", index="key")
    assert store.lookup("key").payload == b"other"


def test_one_warning_for_each_key_says_what_cannot_be_read(store, put_value, caplog):
    key = f"key-{uuid.uuid4().hex}"  # No test before has had a warning of it.
    for value in (b"not ours " * 1000, UNREADABLE["a hash"]):
        put_value(value, key)
        store.lookup(key)
        list(store.entries())
        renew(store, "owner", key)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert all(word in warning.getMessage() for word in (store.url, key, "not ours"))
    assert len(warning.getMessage()) < 400


def test_what_a_newer_version_adds_is_ignored_and_kept(server, make_store, clock, put_value):
    store = make_store(clock)
    claim = {**CLAIM, "delivery": "owner/1", "host": "a", "left": ["seat"], "joined": 1}
    result, following = {**RESULT, "host": "b"}, {**CLAIM, "host": "c", "left": ["seat"]}
    put_value(record(news="new", claim=CLAIM | {"delivery": "owner/1"}, news_list=[1], left=["seat"]))
    assert store.lookup("key") == Claim("owner", 1_700_000_060.5, 1_700_000_000.5, "owner/1")
    put_value(record(b"42", news="new", claim=claim, result=result, next=following, forgotten="3"))
    assert store.lookup("key").forgotten is None
    put_value(record(b"42", news="new", claim=claim, result=result, next=following, forgotten="0.5"))
    assert store.lookup("key") == Result("owner", b"42", "SUCCESS", 1.0, 2.0, None, None)
    assert renew(store, "owner", lease=100)
    head, _, payload = server.ask("GET", "jobtastic:key").partition(b"\n")
    claim = {**claim, "expires": str(clock() + 100)}
    whole = {"claim": claim, "result": result, "next": following, "forgotten": "0.5"}
    assert json.loads(head) == {"version": FORMAT_VERSION, "news": "new", **whole}
    assert payload == b"42"


def test_a_value_is_a_line_of_json_and_the_payload(server, make_store, clock):
    store = make_store(clock)
    put(store, "key", b"4\n2", owner="öwner\n")
    head, _, payload = server.ask("GET", "jobtastic:key").partition(b"\n")
    now = str(clock())
    result = {"owner": "öwner\n", "state": "SUCCESS", "began": now, "ended": now}
    assert json.loads(head) == {"version": FORMAT_VERSION, "result": result}
    assert payload == b"4\n2"
    clock.advance(1)
    queue(store, "first", fresh=True)
    run(store, "first", fresh=True)
    queue(store, "joins", fresh=True)
    queue(store, "joins too", fresh=True)
    store.leave("key", "first", "first seat")
    store.leave("key", "joins", "seat")
    head, _, payload = server.ask("GET", "jobtastic:key").partition(b"\n")
    times = {"since": str(clock()), "expires": str(clock() + 60)}
    assert json.loads(head) == {
        "version": FORMAT_VERSION,
        "result": result,
        "claim": {"owner": "first", "delivery": "first/1", "left": ["first seat"], **times},
        "next": {"owner": "joins", "fresh": True, "joined": 1, "left": ["seat"], **times},
    }
    assert payload == b"4\n2"


def test_a_value_says_when_it_was_forgotten(server, make_store, clock):
    store = make_store(clock)
    run(store, "owner")
    store.forget("key")
    assert json.loads(server.ask("GET", "jobtastic:key"))["forgotten"] == str(clock())


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
        put(store, f"parent-{number}", owner="parent")
    put(store, "child", owner="child")

    def look_as_a_child():
        answers.put([store.lookup("child").owner, run(store, "child", "of the child").owner])

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
    put(store, "first", owner="first")
    put(store, "second", owner="second")

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
