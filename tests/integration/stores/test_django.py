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

from jobtastic_signals import SettingError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.django.buckets import _BUCKET, _number
from jobtastic_signals.support.redaction import without_passwords
from jobtastic_signals.testing import StoreConformance
from jobtastic_signals.testing.conformance.atomicity import forks
from jobtastic_signals.testing.conformance.base import complete, put, queue, run, running
from jobtastic_signals.testing.conformance.races import contend
from tests.support.rare import mainly, rare
from tests.support.stores.clocks import forked_in_the_middle
from tests.support.stores.django_caches import BACKENDS, open_configured, stored
from tests.support.stores.operations import LARGE, PATIENT, open_patient
from tests.support.stores.unreadable import UNREADABLE, counts_as_absent

DAY = 86400

#: A record of a later version, as a bucket has it.
LATER = [None, UNREADABLE["a newer version"].decode("latin-1")]


class Conformance(StoreConformance):
    @pytest.fixture
    def make_store(self, django_conf):
        def make_store(clock):
            caches[self.alias].clear()  # type: ignore[attr-defined]
            return open_patient(f"django://{self.alias}", clock=clock)  # type: ignore[attr-defined]

        return make_store


@pytest.mark.thorough
class TestDjangoStoreOnRedis(Conformance):
    alias = "redis"
    examples, rounds = 10, 3


@pytest.mark.thorough
class TestDjangoStoreInADatabase(Conformance):
    alias = "database"
    examples, rounds = 3, 1


@pytest.mark.thorough
class TestDjangoStoreInMemory(Conformance):
    alias = "locmem"
    shared_by_processes = False


@pytest.mark.usefixtures("open_django")
@pytest.mark.parametrize(
    ("alias", "context"), [("redis", "threads"), rare("database", "spawn"), ("memcached", "threads")]
)
def test_those_who_share_nothing_but_the_cache_are_atomic(django_conf, alias, context):
    makes = multiprocessing.get_context(context) if context == "spawn" else multiprocessing.dummy
    opens = partial(open_configured, django_conf, f"django://{alias}", timeout=PATIENT)
    contend(makes, opens, rounds=1)


@forks
def test_a_child_forked_in_the_middle_of_a_decision_takes_nothing_from_its_parent(open_django):
    """The child is faster, and the parent, who has only looked so far, sees that when it has the mutex."""
    assert forked_in_the_middle(open_django, queue) == ("child", "child")


# What is stored


def test_values_are_text_that_any_serializer_can_hold(open_django):
    for alias in ("redis", "json"):
        caches[alias].clear()
        store = open_django(alias=alias)
        assert store.identity
        for key, payload in (("bytes", b"\x80\x04."), ("ключ", b"1"), ("large", LARGE)):
            put(store, key, payload)
            assert store.lookup(key).payload == payload
        assert all(isinstance(value, str) for value in stored(alias).values())


@pytest.mark.parametrize("planted", ["", "[]", b"\x80\x04K\x01.", "no JSON", 42, "[" * 100_000])
def test_a_bucket_that_cannot_be_read_counts_as_absent(open_django, planted):
    store = open_django()
    put(store, "key")
    (bucket,) = stored()
    caches["redis"].set(bucket, planted)
    assert f"the entry of {bucket} cannot be read" in counts_as_absent(store)


@pytest.mark.parametrize(
    "planted",
    [
        *(
            7,
            "text",
            [],
            [None],
            [None, 7],
            ["soon", "text"],
            [10**400, "text"],
            [None, "ключ"],
            [None, "", 7],
            {},
        ),
        *mainly(LATER, of=[[None, record.decode("latin-1")] for record in UNREADABLE.values()]),
    ],
)
def test_a_record_that_cannot_be_read_costs_no_other_key_of_its_bucket(open_django, clock, planted):
    store = open_django(clock)
    one, two, three = in_one_bucket(store)
    put(store, three, b"3")
    (bucket,) = stored()
    records = json.loads(caches["redis"].get(bucket))
    caches["redis"].set(bucket, json.dumps({**records, two: planted}))
    assert store.lookup(one).payload == b"0"
    assert f"the entry of {two} cannot be read" in counts_as_absent(store, two)
    assert store.lookup(three).payload == b"3"


def test_a_record_of_a_later_version_outlasts_changes_of_other_keys(open_django):
    store = open_django()
    one, two, _ = in_one_bucket(store)
    (bucket,) = stored()
    caches["redis"].set(bucket, json.dumps({two: LATER}))
    put(store, one)
    assert json.loads(caches["redis"].get(bucket))[two] == LATER


def in_one_bucket(store, count=3):
    """Keys that share the first one's bucket."""
    put(store, "0", b"0")
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
    claim = run(store, "owner", two)
    put(store, three, b"3", 1000)
    assert len(stored()) == 1
    assert store.lookup(one).payload == b"0"
    assert store.lookup(two) == claim
    assert store.forget(one) is True
    assert store.release(two, "owner", "") is True
    assert {key for key, _ in store.entries()} == {three}
    assert store.forget(three) is True
    assert stored() == {}


def test_what_has_ended_goes_when_its_bucket_is_written(open_django):
    store = open_django()
    one, two, three = in_one_bucket(store)
    put(store, three, b"3", 100)
    put(store, two, b"2", 0.2)
    time.sleep(0.3)
    assert store.release(one, "nobody", "") is False
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
    assert put(store, "key", LARGE, ttl) is True
    assert store.lookup("key").payload == LARGE
    assert all(end == -1 if ttl is None else ttl - 60 < end < ttl + 5 for end in ends().values())
    assert len(ends()) == 4


def test_a_bucket_ends_with_the_last_of_its_keys(open_django):
    store = open_django()
    for_ever, soon, later = in_one_bucket(store)
    put(store, soon, b"1", 1000)
    put(store, later, b"2", 2000)
    assert list(ends().values()) == [-1]
    store.forget(for_ever)
    ((_, end),) = ends().items()
    assert 1900 < end < 2010


def test_a_claim_stays_for_an_hour_after_its_lease(open_django):
    store = open_django()
    queue(store, "owner", lease=0.5)
    ((_, end),) = ends().items()
    assert 3000 < end < 3700
    time.sleep(0.5)
    assert queue(store, "next").previous == "owner"


def test_a_large_result_whose_piece_is_lost_is_none(open_django, clock):
    store = open_django(clock)
    put(store, "key", LARGE)
    caches["redis"].delete(max(name for name in stored() if "piece" in name))
    assert store.lookup("key") is None
    assert store.forget("key") is False
    assert run(store, "next") == running("next", clock())
    assert complete(store, "next", LARGE) is True
    assert len(stored()) == 4


# Aliases


def test_aliases_of_one_server_share_if_they_have_the_same_prefix_and_version(open_django):
    store, same = open_django(), open_django(alias="same redis")
    put(store, "key")
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
    assert repr(without_passwords(url)) in str(refusal.value)


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
        env=env, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "django://default" in ran.stdout
    assert "DJANGO_SETTINGS_MODULE" in ran.stdout
