"""Django's cache in a database: transactions, async code, and connections of threads of our own."""

import asyncio
import gc
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connection, connections, transaction

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.support import threads
from jobtastic_signals.testing.conformance.base import complete, put, run
from tests.support.servers import wait_until
from tests.support.stores.operations import PATIENT


@pytest.fixture
def store(django_conf):
    caches["database"].clear()
    connection.close()
    store = open_store("django://database", timeout=20)
    yield store
    store.close()
    connection.close()


class RolledBackError(Exception):
    """Ends a transaction."""


def database(django_conf):
    return django_conf["DATABASES"]["default"]["NAME"]


def buckets(django_conf):
    """What another connection sees of our buckets: when each ends."""
    with closing(sqlite3.connect(database(django_conf))) as other:
        found = other.execute("SELECT expires FROM cache WHERE cache_key LIKE '%jobtastic-bucket-%'")
        return [end for (end,) in found]


def test_a_transaction_that_is_rolled_back_takes_nothing_with_it(store):
    def request():
        with transaction.atomic():
            run(store, "owner", "claimed")
            put(store, "stored")
            raise RolledBackError

    with pytest.raises(RolledBackError):
        request()
    assert store.lookup("claimed").owner == "owner"
    assert store.lookup("stored").payload == b"42"


def test_by_itself_the_cache_would_be_rolled_back(store):
    """Shows that the test above has something to show."""

    def request():
        with transaction.atomic():
            caches["database"].set("key", "value")
            raise RolledBackError

    with pytest.raises(RolledBackError):
        request()
    assert caches["database"].get("key") is None


def test_a_claim_is_seen_by_others_before_the_transaction_ends(store, django_conf):
    with transaction.atomic():
        run(store, "owner")
        assert len(buckets(django_conf)) == 1


def test_a_transaction_that_has_written_locks_sqlite_for_as_long_as_it_lasts(django_conf, store):
    impatient = open_store("django://database", timeout=0.25)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM cache WHERE cache_key = 'nothing'")
        before = time.monotonic()
        with pytest.raises(StoreError):
            run(impatient, "owner")
        assert time.monotonic() - before < PATIENT
    impatient.close()
    assert run(store, "next").previous is None


def test_async_code_can_use_it(store):
    async def view():
        with pytest.raises(SynchronousOnlyOperation):
            caches["database"].get("key")
        claim = run(store, "owner")
        assert complete(store, "owner") is True
        return claim.owner, store.lookup("key").payload

    assert asyncio.run(view()) == ("owner", b"42")


def test_a_bucket_does_not_end_by_itself(store, django_conf):
    """What has ended is deleted by who reads it, even if it has been written again in between."""
    put(store, "key", ttl=1)
    (end,) = buckets(django_conf)
    assert end.startswith("9999")


def open_files(django_conf):
    """How often this process has the database open."""
    paths = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return paths.count(os.path.realpath(database(django_conf)))


def test_no_connection_stays_open_after_an_operation(store, django_conf):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(store, f"key-{number}"), range(20)))
    assert list(store.entries())
    wait_until(lambda: open_files(django_conf) == 0)


def test_connections_that_are_kept_are_closed_with_their_threads(store, django_conf, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.5)
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", None)
    threads._idle.clear()  # Theirs do not look at it any more.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.lookup, ["key"] * 20))
    assert 1 <= open_files(django_conf) <= 8

    def none_is_open():
        gc.collect()
        return open_files(django_conf) == 0

    wait_until(none_is_open)


def test_a_table_that_is_not_there_is_an_error(store, django_conf, monkeypatch):
    lost = {**django_conf["CACHES"]["database"], "LOCATION": "no_such_table"}
    monkeypatch.setitem(django_settings.CACHES, "lost", lost)
    store = open_store("django://lost", timeout=20)
    with pytest.raises(DatabaseError, match="no_such_table"):
        store.lookup("key")
    store.close()
