"""Whatever somebody puts under a key costs that key at most: no error, no outage, no flood of warnings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobtastic_signals.stores import Claim, Result, open_store
from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.entry import FORMAT_VERSION
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.records import dump
from tests.support.rare import mainly
from tests.support.servers import memcached, redis_server
from tests.support.stores.operations import PATIENT
from tests.support.stores.planting import Plant, in_a_disk, in_a_django_cache, in_a_memcached, in_a_redis
from tests.support.stores.project import warnings_of_ours
from tests.support.stores.unreadable import FIELDS, FULL, UNREADABLE

FEW, MANY = 25, 5_000

ALL_FIELDS = json.loads(dump(FULL).partition(b"\n")[0])

#: Found by this test, or by those who tried to do harm.
FOUND = [
    *UNREADABLE.values(),
    b"t\xff\xfe no UTF-8",
    b"l a list in Redis",
    b"h a hash in Redis",
    b'{"version":1,"claim":{"owner":"o","since":"0x1F","expires":"0x7FFFFFFF"}}\n',
    b'{"version":1,"claim":{"owner":"\\ud800","since":1,"expires":9e9}}\n',
    b'{"version":1,"claim":{"owner":"o","since":1,"expires":" 9000000000 "}}\n',
    b'{"version":1,"claim":{"owner":"\xff","since":"1","expires":"9000000000"}}\n',
    b'{"version":1,"result":{"owner":"o","state":"SUCCESS","began":NaN,"ended":1}}\n42',
    b'{"version":1,"result":{"owner":"o","state":"SUCCESS","began":"1_0","ended":"1"}}\n42',
    b'{"version":1,"claim":{"owner":"o","since":1,"expires":"9000000000","later":-Infinity}}\n',
    b'{"version":1,"claim":{"owner":"o","since":1,"expires":"9000000000","later":[Infinity]}}\n',
    b'{"version":1,"later":' + b"[" * 990 + b"]" * 990 + b"}\n",
]

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(["1e400", "nan", "0x10", " 1 ", "1_0", "9" * 400, "\ud800", "", "message:1"]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def fields_of_redis() -> dict[str, Any]:
    """The record of an entry as the Redis store writes it: times are texts, and ``None`` is left out."""
    parts = {name: {k: v for k, v in FIELDS[name].items() if v is not None} for name in ("claim", "result")}
    return {
        "version": FORMAT_VERSION,
        **{
            name: {k: repr(v) if isinstance(v, float) else v for k, v in part.items()}
            for name, part in parts.items()
        },
    }


@st.composite
def records(draw: Any) -> bytes:
    """A record of ours in which something else stands, or bytes cut, put in and changed."""
    fields = json.loads(json.dumps(draw(st.sampled_from([FIELDS, ALL_FIELDS, fields_of_redis()]))))
    for _ in range(draw(st.integers(0, 2))):
        part = draw(st.sampled_from([fields, *(part for part in fields.values() if isinstance(part, dict))]))
        name = draw(st.sampled_from([*part, "pieces", "later"]))
        part[name] = draw(odd_values)
    raw = json.dumps(fields).encode() + b"\n" + draw(st.binary(max_size=10))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 5)) :]
    return raw


entries = st.one_of(st.binary(max_size=200), records(), records().map(lambda raw: b"n" + raw))


class Subject:
    """A store that somebody else writes to, as the rest of the package uses it."""

    def __init__(self, store: Any, plant: Plant) -> None:
        self.guarded, self.plant = GuardedStore(lambda: store, store.url), plant
        self.guarded.complete("other", "o", None, b"the other value", ttl=None)

    def survives(self, value: bytes) -> None:
        """Check that *value* under one key costs no more than that key."""
        self.plant("key", value)
        store = self.guarded
        store.lookup("key", scopes=["scope"])
        store.entry("key")
        store.leave("key", "a", "a")
        self.plant("scope", value)
        store.lookup("other", scopes=["scope"])
        assert store.forget_scope("scope", ttl=60) is True
        assert store.count("scope", {"calls": 1}, ttl=60) is True
        assert "calls" in dict(store.counts("scope"))["scope"]
        assert isinstance(store.lookup_or_claim("key", "a", 60), (Claim, Result))
        found = store.claim("key", "a", "a/1", 60)
        assert isinstance(found, (Claim, Result))
        if isinstance(found, Claim) and found.delivery == "a/1":
            assert store.renew("key", "a", "a/1", 60) is True
            assert store.complete("key", "a", "a/1", b"43", ttl=60) is True
            answer = store.lookup("key")
            assert isinstance(answer, Result)
            assert answer.payload == b"43"
        store.forget("key")
        store.release("key", "a", "")
        assert isinstance(store.lookup("other"), Result)
        assert not store.is_down

    def survives_many(self, count: int) -> None:
        """Do the same with *count* values. At most one warning of each kind appears in a minute."""
        began = time.monotonic()

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(entries)
        def check(value: bytes) -> None:
            self.survives(value)

        for value in FOUND:
            check = example(value)(check)
        with warnings_of_ours() as warned:
            check()
        kinds = {text.partition(":")[0] for text in warned}
        assert len(warned) <= len(kinds) * (1 + (time.monotonic() - began) // 60), warned
        assert "other" in [key for key, found in self.guarded.entries() if found.result is not None]
        assert not self.guarded.is_down


@contextmanager
def disk(folder: Any, conf: Any) -> Iterator[Subject]:
    store = DiskStore(f"disk://{folder}/store", timeout=PATIENT)
    yield Subject(store, in_a_disk(store))
    store.close()


@contextmanager
def on_redis(folder: Any, conf: Any) -> Iterator[Subject]:
    with redis_server(folder) as url:
        store = open_store(f"{url}/0", timeout=PATIENT)
        yield Subject(store, in_a_redis(f"{url}/0"))
        store.close()


@contextmanager
def on_memcached(folder: Any, conf: Any) -> Iterator[Subject]:
    with memcached(folder) as (url, _):
        store = open_store(url, timeout=PATIENT)
        yield Subject(store, in_a_memcached(url))
        store.close()


def in_django(alias: str) -> Callable[[Any, Any], Any]:
    @contextmanager
    def in_a_cache(folder: Any, conf: Any) -> Iterator[Subject]:
        caches[alias].clear()
        store = open_store(f"django://{alias}", timeout=PATIENT)
        yield Subject(store, in_a_django_cache(alias))
        store.close()

    return in_a_cache


STORES = {
    "disk": disk,
    "redis": on_redis,
    "memcached": on_memcached,
    **{f"django-{alias}": in_django(alias) for alias in ("redis", "memcached", "database", "locmem")},
}


@pytest.fixture(params=mainly("disk", "redis", "memcached", of=STORES))
def subject(request: pytest.FixtureRequest, tmp_path: Any, django_conf: Any) -> Iterator[Subject]:
    with STORES[request.param](tmp_path, django_conf) as subject:
        yield subject


def test_an_entry_that_nobody_of_ours_wrote_costs_its_own_key(subject: Subject) -> None:
    subject.survives_many(FEW)


@pytest.mark.exhaustive
def test_thousands_of_them_do_so_too(subject: Subject) -> None:
    subject.survives_many(MANY)
