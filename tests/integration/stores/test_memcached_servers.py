"""Where Memcached servers are, and keys on several of them."""

from contextlib import closing, contextmanager

import pytest

from jobtastic_signals import SettingError, StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.support.redaction import without_passwords
from jobtastic_signals.testing import StoreConformance
from jobtastic_signals.testing.conformance.base import put, run
from tests.support.servers import memcached
from tests.support.stores.memcached_items import flush
from tests.support.stores.operations import LARGE, open_patient

# Where the server is


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memcached://host", [("host", 11211)]),
        ("memcached://Host:11212/", [("host", 11212)]),
        ("memcached://127.0.0.1:1,[::1]:2,b", [("127.0.0.1", 1), ("::1", 2), ("b", 11211)]),
        ("memcached://a,a:11211", [("a", 11211)]),
        ("memcached:///run/with%20space", ["/run/with space"]),
    ],
)
def test_a_url_names_servers(url, expected):
    store = open_store(url)
    assert [server._address for server in store._servers] == expected  # type: ignore[attr-defined]
    assert repr(store) == f"<MemcachedStore {url}>"


@pytest.mark.parametrize(
    "url",
    ["memcached://", "memcached:host", "memcached://a,,b", "memcached://:1", "memcached://a:b",
     "memcached://a:65536", "memcached://a/path", "memcached://[::1"],
)  # fmt: skip
def test_a_url_without_servers_is_refused_with_what_is_accepted(url):
    with pytest.raises(SettingError) as refusal:
        open_store(url)
    assert repr(without_passwords(url)) in str(refusal.value)
    assert "memcached://one:11211,other:11211" in str(refusal.value)


@pytest.mark.parametrize("url", ["memcached://me:s3cret@host", "memcached://a,me:s3cret@b:1"])
def test_a_password_is_refused_and_not_shown(url):
    with pytest.raises(SettingError, match="no user and no password") as refusal:
        open_store(url)
    assert "s3cret" not in str(refusal.value)
    assert "me" not in str(refusal.value).replace("memcached", "")


@pytest.mark.parametrize("timeout", [0, -1, True, "soon"])
def test_a_timeout_is_a_positive_number(timeout):
    with pytest.raises(SettingError, match="not a positive number"):
        open_store("memcached://host", timeout=timeout)


def test_the_timeout_can_stand_in_the_url():
    assert open_store("memcached://host?timeout=0.5")._timeout == 0.5  # type: ignore[attr-defined]


def test_a_socket_works_as_a_port_does(tmp_path):
    with (
        memcached(tmp_path, path=tmp_path / "a socket") as (url, _),
        closing(open_patient(url.replace(" ", "%20"))) as store,
    ):
        put(store, "key", LARGE)
        assert store.lookup("key").payload == LARGE
        assert list(dict(store.entries())) == ["key"]


# Several servers


@contextmanager
def three_servers(folder):
    """Their addresses as in a URL, and the process of the last."""
    with memcached(folder) as (one, _), memcached(folder) as (two, _), memcached(folder) as (three, last):
        yield [url.removeprefix("memcached://") for url in (one, two, three)], last


@pytest.fixture
def three(tmp_path):
    with three_servers(tmp_path) as servers:
        yield servers


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    with three_servers(tmp_path_factory.mktemp("three")) as (places, _):
        yield places


@pytest.mark.thorough
class TestMemcachedStoreOnSeveralServers(StoreConformance):
    examples, rounds = 20, 3

    @pytest.fixture
    def make_store(self, places):
        def make_store(clock):
            for place in places:
                flush(f"memcached://{place}")
            return open_patient(f"memcached://{','.join(places)}", clock=clock)

        return make_store


KEYS = [f"key-{number}" for number in range(60)]


def keys_on(place):
    with closing(open_patient(f"memcached://{place}")) as store:
        return {key for key, _ in store.entries()}


def test_servers_share_the_keys_in_whatever_order_they_are_named(three):
    places, _ = three
    with closing(open_patient(f"memcached://{','.join(places)}")) as store:
        for key in KEYS:
            assert put(store, key, key.encode()) is True
        put(store, "large", LARGE)
        assert {key for key, _ in store.entries()} == {*KEYS, "large"}
        store.forget("large")
    with closing(open_patient(f"memcached://{','.join(reversed(places))}")) as again:
        assert all(again.lookup(key) is not None for key in KEYS)
        assert again.identity == store.identity
    held = [keys_on(place) for place in places]
    assert min(len(keys) for keys in held) > 5
    assert sum(len(keys) for keys in held) == len(KEYS)


def test_servers_named_by_other_names_are_other_stores(three):
    places, _ = three
    all_three = ",".join(places)
    named = [
        places[0],
        places[1],
        ",".join(places[:2]),
        all_three,
        all_three.replace("127.0.0.1", "localhost"),
    ]
    identities = set()
    for name in named:
        with closing(open_patient(f"memcached://{name}")) as store:
            identities.add(store.identity)
    assert len(identities) == len(named)


def test_a_server_that_is_gone_is_an_error_for_its_keys_and_nobody_takes_them_over(three):
    places, last = three
    store = open_patient(f"memcached://{','.join(places)}")
    for key in KEYS:
        run(store, "owner", key)
    lost = keys_on(places[-1])
    last.kill()
    last.wait()
    for key in KEYS:
        if key in lost:
            with pytest.raises(StoreError, match=places[-1]):
                run(store, "other", key)
        else:
            assert run(store, "other", key).owner == "owner"
    assert keys_on(places[0]) | keys_on(places[1]) == set(KEYS) - lost
    store.close()
