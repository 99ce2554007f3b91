"""The store on Django's cache framework: the contract, what is stored, and which caches there are."""

import json
import multiprocessing
import multiprocessing.dummy
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from django.core.cache import caches

from jobtastic_signals import Claim, SettingError, StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.django.buckets import _BUCKET, _number
from jobtastic_signals.testing import StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.races import contend

from .clocks import forked_in_the_middle
from .django_caches import BACKENDS, open_configured, stored
from .operations import LARGE, PATIENT, open_patient

DAY = 86400


class Conformance(StoreConformance):
    @pytest.fixture
    def make_store(self, django_conf):
        def make_store(clock):
            caches[self.alias].clear()
            return open_patient(f"django://{self.alias}", clock=clock)

        return make_store


class TestDjangoStoreOnRedis(Conformance):
    alias = "redis"
    examples, rounds = 10, 3


class TestDjangoStoreInADatabase(Conformance):
    alias = "database"
    examples, rounds = 3, 1


class TestDjangoStoreInMemory(Conformance):
    alias = "locmem"
    shared_by_processes = False


@pytest.mark.usefixtures("open_django")
@pytest.mark.parametrize(
    ("alias", "context"), [("redis", "threads"), ("database", "spawn"), ("memcached", "threads")]
)
def test_those_who_share_nothing_but_the_cache_are_atomic(django_conf, alias, context):
    makes = multiprocessing.get_context(context) if context == "spawn" else multiprocessing.dummy
    opens = partial(open_configured, django_conf, f"django://{alias}", timeout=PATIENT)
    contend(makes, opens, rounds=1)


@forks
def test_a_child_forked_in_the_middle_of_a_decision_takes_nothing_from_its_parent(open_django):
    """The child is faster, and the parent, who has only looked so far, sees that when it has the mutex."""
    assert forked_in_the_middle(open_django) == ("child", "child")


# What is stored


def test_values_are_text_that_any_serializer_can_hold(open_django):
    for alias in ("redis", "json"):
        caches[alias].clear()
        store = open_django(alias=alias)
        assert store.identity
        for key, payload in (("bytes", b"\x80\x04."), ("ключ", b"1"), ("large", LARGE)):
            store.settle(key, "owner", payload, None)
            assert store.lookup(key).payload == payload
        assert all(isinstance(value, str) for value in stored(alias).values())


@pytest.mark.parametrize("planted", ["", "[]", b"\x80\x04K\x01.", "no JSON", 42])
def test_a_bucket_that_holds_something_else_is_an_error(open_django, planted):
    store = open_django()
    store.settle("key", "owner", b"42", None)
    (bucket,) = stored()
    caches["redis"].set(bucket, planted)
    for use in (store.lookup, store.forget, lambda _: dict(store.entries())):
        with pytest.raises(StoreError, match="did not write"):
            use("key")


def in_one_bucket(store, count=3):
    """Keys that share the first one's bucket."""
    store.settle("0", "owner", b"0", None)
    (bucket,) = stored()
    found = ["0"]
    for number in range(1, 100_000):
        if len(found) == count:
            return found
        if _BUCKET.format(_number(str(number))) == bucket:
            found.append(str(number))
    raise AssertionError


def test_keys_of_one_bucket_have_nothing_to_do_with_each_other(open_django, clock):
    store = open_django(clock)
    one, two, three = in_one_bucket(store)
    claim = store.admit(two, "owner", 60)
    store.settle(three, "owner", b"3", 1000)
    assert len(stored()) == 1
    assert store.lookup(one).payload == b"0"
    assert store.lookup(two) == claim
    assert store.forget(one) is True
    assert store.release(two, "owner") is True
    assert {key for key, _ in store.entries()} == {three}
    assert store.forget(three) is True
    assert stored() == {}


def test_what_has_ended_goes_when_its_bucket_is_written(open_django):
    store = open_django()
    one, two, three = in_one_bucket(store)
    store.settle(two, "owner", b"2", 0.2)
    store.settle(three, "owner", b"3", 100)
    time.sleep(0.3)
    assert store.extend(one, "nobody", 60) is False
    assert set(json.loads(*stored().values())) == {one, two, three}
    store.forget(one)
    assert set(json.loads(*stored().values())) == {three}


def ends():
    """How long what is stored lives: name and seconds, or -1."""
    client = caches["redis"]._cache.get_client()
    return {name.decode().split(":")[2]: client.ttl(name) for name in client.scan_iter("*jobtastic-*")}


@pytest.mark.parametrize("ttl", [0.5, 100, 40 * DAY, None])
def test_what_is_stored_ends_when_its_result_does(open_django, ttl):
    store = open_django()
    assert store.settle("key", "owner", LARGE, ttl) is True
    assert store.lookup("key").payload == LARGE
    assert all(end == -1 if ttl is None else ttl - 5 < end < ttl + 5 for end in ends().values())
    assert len(ends()) == 4


def test_a_bucket_ends_with_the_last_of_its_keys(open_django):
    store = open_django()
    for_ever, soon, later = in_one_bucket(store)
    store.settle(soon, "owner", b"1", 1000)
    store.settle(later, "owner", b"2", 2000)
    assert list(ends().values()) == [-1]
    store.forget(for_ever)
    ((_, end),) = ends().items()
    assert 1990 < end < 2010


def test_a_claim_stays_for_an_hour_after_its_lease(open_django):
    store = open_django()
    store.admit("key", "owner", 0.5)
    ((_, end),) = ends().items()
    assert 3500 < end < 3700
    time.sleep(0.5)
    assert store.admit("key", "next", 60).previous == "owner"


def test_a_large_result_whose_piece_is_lost_is_none(open_django, clock):
    store = open_django(clock)
    store.settle("key", "owner", LARGE, None)
    caches["redis"].delete(max(name for name in stored() if "piece" in name))
    assert store.lookup("key") is None
    assert store.forget("key") is False
    assert store.admit("key", "next", 60) == Claim("next", clock() + 60)
    assert store.settle("key", "next", LARGE, None) is True
    assert len(stored()) == 4


# Aliases


def test_aliases_of_one_server_share_if_they_have_the_same_prefix_and_version(open_django):
    store, same = open_django(), open_django(alias="same redis")
    store.settle("key", "owner", b"42", None)
    assert same.identity == store.identity
    assert same.lookup("key").payload == b"42"
    for alias in ("other prefix", "other version"):
        other = open_django(alias=alias)
        assert other.identity != store.identity
        assert other.lookup("key") is None


@forks
def test_the_cache_of_a_process_is_its_own(open_django):
    store = open_django(alias="locmem")
    identity, found = store.identity, multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=lambda: found.put(store.identity))
    child.start()
    child.join()
    assert found.get() != identity == store.identity


def test_an_identity_that_was_dropped_is_noticed(open_django):
    store, other = open_django(), open_django()
    identity = store.identity
    assert set(ends().values()) == {-1}
    caches["redis"].clear()
    assert other.identity == store.identity != identity


@pytest.mark.parametrize("url", ["django://", "django:default", "django://default/0", "django:///default"])
def test_a_url_without_an_alias_is_refused_with_what_is_accepted(django_conf, url):
    with pytest.raises(SettingError, match="django://default") as refusal:
        open_store(url)
    assert repr(url) in str(refusal.value)


def test_an_alias_that_is_not_there_is_refused_with_those_that_are(django_conf):
    with pytest.raises(SettingError, match=r"redis, same redis, .*, and no 'default'"):
        open_store("django://default")


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("dummy.DummyCache", "keeps nothing"),
        ("filebased.FileBasedCache", "disk:///a/folder"),
        ("nowhere.NoCache", "cannot be imported"),
    ],
)
def test_a_cache_that_cannot_do_it_is_refused(add_cache, tmp_path, backend, why):
    alias = add_cache(BACKEND=f"{BACKENDS}.{backend}", LOCATION=str(tmp_path))
    with pytest.raises(SettingError, match=why):
        open_store(f"django://{alias}")


@pytest.mark.parametrize("timeout", [0, -1, True, "soon"])
def test_a_timeout_is_a_positive_number(django_conf, timeout):
    with pytest.raises(SettingError, match="not a positive number"):
        open_store("django://redis", timeout=timeout)


_UNCONFIGURED = """
from jobtastic_signals import SettingError
from jobtastic_signals.stores import open_store
try:
    open_store("django://default")
except SettingError as error:
    print(error)
"""


def test_without_djangos_settings_it_says_so():
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        [sys.executable, "-c", _UNCONFIGURED],
        env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "django://default" in ran.stdout
    assert "DJANGO_SETTINGS_MODULE" in ran.stdout
