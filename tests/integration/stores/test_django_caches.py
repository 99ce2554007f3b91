"""Django's caches that drop what is stored, swallow errors, or tell of the past."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.core.cache.backends.locmem import LocMemCache

from jobtastic_signals import SettingError, StoreError
from jobtastic_signals.cli.check.base import Level
from jobtastic_signals.stores import open_store
from jobtastic_signals.testing import Clock
from jobtastic_signals.testing.conformance.base import complete, put, queue, renew, run, running
from tests.support.checks import checked
from tests.support.servers import redis_server, wait_until
from tests.support.stores.django_caches import BACKENDS
from tests.support.stores.operations import LARGE
from tests.support.stores.project import warnings_of_ours


@pytest.mark.parametrize("options", [{}, {"OPTIONS": {"MAX_ENTRIES": 500}}])
def test_a_cache_with_room_for_few_entries_is_told_of(add_cache, options):
    alias = add_cache(BACKEND=f"{BACKENDS}.db.DatabaseCache", LOCATION="cache", **options)
    with warnings_of_ours() as warned:
        open_store(f"django://{alias}")
    (warning,) = warned
    assert alias in warning
    assert f"beyond {500 if options else 300} entries" in warning
    assert "MAX_ENTRIES" in warning


@pytest.mark.parametrize("eager", [False, True])
def test_a_cache_of_each_process_is_refused_with_the_reason_unless_tasks_run_in_their_caller(
    add_cache, new_app, eager
):
    alias = add_cache(BACKEND=f"{BACKENDS}.locmem.LocMemCache", LOCATION="private")
    app = new_app(jobtastic_store=f"django://{alias}", task_always_eager=eager)
    runs = []

    @app.task(name="report", shared=False, cache_duration=60)
    def report(n):
        runs.append(n)

    with warnings_of_ours() as warned:
        findings = checked(app).about("store", Level.FIX)
        for _ in range(2):
            if eager:
                report.delay(1)
            else:
                with pytest.raises(SettingError, match="LocMemCache is private to each process"):
                    report.delay(1)
    assert (runs, warned) == ([1] if eager else [], [])
    assert [finding.split(": ")[-1][:35] for finding in findings] == [
        "a LocMemCache is private to each pr",
    ] * (not eager)


def test_a_cache_with_room_is_not(open_django):
    with warnings_of_ours() as warned:
        for alias in ("redis", "memcached", "database", "locmem"):
            open_django(alias=alias)
    assert warned == []


def test_a_cache_that_drops_what_it_has_no_room_for_costs_runs_and_no_errors(add_cache, open_django):
    alias = add_cache(BACKEND=f"{BACKENDS}.locmem.LocMemCache", LOCATION="small")
    store = open_django(alias=alias)
    run(store, "owner", "claimed")
    for number in range(1000):
        assert put(store, f"key-{number}", LARGE if number % 10 == 0 else b"42") is True
    assert store.lookup("claimed") is None
    assert run(store, "next", "claimed").owner == "next"
    assert complete(store, "next", key="claimed") is True


class Forgetful(LocMemCache):
    """A third party's that swallows its errors, and says that all is well."""

    def set(self, *args, **kwargs):
        pass


class Empty(Forgetful):
    def add(self, *args, **kwargs):
        return True


@pytest.mark.parametrize(
    ("kind", "why"), [(Forgetful, "what was written is not there"), (Empty, "a mutex was lost")]
)
def test_a_cache_that_pretends_to_write_is_found_out(add_cache, open_django, kind, why):
    store = open_django(alias=add_cache(BACKEND=f"{__name__}.{kind.__name__}"), timeout=0.25)
    for use in (queue, run, renew, complete):
        with pytest.raises(StoreError, match=why):
            use(store, "owner")


def test_a_cache_that_keeps_no_identity_is_found_out(add_cache, open_django):
    store = open_django(alias=add_cache(BACKEND=f"{__name__}.Empty"), timeout=0.25)
    with pytest.raises(StoreError, match="what was added is not there"):
        assert store.identity


class Busy(LocMemCache):
    """Swallows every other write, as the cache of a database that is locked."""

    writes = 0

    def set(self, *args, **kwargs):
        Busy.writes += 1
        if Busy.writes % 2:
            super().set(*args, **kwargs)

    def add(self, key, *args, **kwargs):
        Busy.writes += 1
        return Busy.writes % 2 == 0 and super().add(key, *args, **kwargs)


def test_what_was_not_written_is_written_again(add_cache, open_django):
    store = open_django(alias=add_cache(BACKEND=f"{__name__}.Busy"))
    for number in range(10):
        payload = LARGE if number % 2 else b"42"
        assert put(store, f"key-{number}", payload) is True
        assert store.lookup(f"key-{number}").payload == payload


class Replica(LocMemCache):
    """Tells of the past: what was read is there only after so many readings."""

    behind, answers = 3, {}

    def get_many(self, keys, version=None):
        keys = list(keys)
        now, seen = super().get_many(keys), self.answers.setdefault(str(keys), [{}] * self.behind)
        seen.append(now)
        return seen.pop(0)


def test_a_replica_that_is_late_is_waited_for(add_cache, open_django):
    store = open_django(Clock(), alias=add_cache(BACKEND=f"{__name__}.Replica", LOCATION="replica"))
    for number in range(5):
        run(store, f"owner-{number}", lapsed=running(f"owner-{number - 1}", 0.0))
        assert store.release("key", f"owner-{number - 1}", "") is False
    assert store.release("key", "owner-4", "") is True


def test_claims_are_atomic_where_replicas_are_read(add_cache, open_django, tmp_path):
    with redis_server(tmp_path) as primary, redis_server(tmp_path) as one, redis_server(tmp_path) as two:
        with redis.Redis.from_url(primary) as client:
            client.config_set("repl-diskless-sync-delay", 0)
        for url in (one, two):
            with redis.Redis.from_url(url) as client:
                client.replicaof("127.0.0.1", primary.rpartition(":")[2])
                wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        alias = add_cache(BACKEND=f"{BACKENDS}.redis.RedisCache", LOCATION=[primary, one, two])
        store = open_django(alias=alias)

        def take_over(me):
            replaced, seen = [], None
            while len(replaced) < 20:
                seen = run(store, f"{me}-{len(replaced)}", lapsed=seen)
                if seen.owner == f"{me}-{len(replaced)}":
                    replaced.append(seen.previous)
            return replaced

        with ThreadPoolExecutor(4) as pool:
            replaced = [owner for owners in pool.map(take_over, range(4)) for owner in owners]
        assert len(set(replaced)) == 80, "no claim has two successors"
