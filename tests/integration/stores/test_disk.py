"""What is the disk store's own: its folder, its size, its refusal of pickles, and its identity."""

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import diskcache
import pytest
from diskcache.core import MODE_PICKLE

from jobtastic_signals import Claim, Result, SettingError, StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.disk.files import _BytesDisk
from jobtastic_signals.support.redaction import without_passwords
from jobtastic_signals.testing.conformance.base import complete, put, queue, renew, run
from tests.support.stores.operations import PATIENT
from tests.support.stores.project import warnings_of_ours
from tests.support.stores.unreadable import UNREADABLE, counts_as_absent


@pytest.fixture
def open_disk(tmp_path):
    """Opens stores, in a folder of the test unless told otherwise, and closes them in the end."""
    opened = []

    def open_disk(folder="store", **options):
        opened.append(open_store(f"disk://{tmp_path}/{folder}", **options))
        return opened[-1]

    yield open_disk
    for store in opened:
        store.close()


def database(store, cache):
    return store.folder / cache / "cache.db"


# The folder


@pytest.mark.parametrize("folder", ["store", "not/yet/there", "with%20space", "%C3%A9%23%3F"])
def test_the_folder_is_made_for_its_owner_alone(open_disk, folder):
    store = open_disk(folder)
    put(store, "key")
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert (store.folder / "claims").is_dir()


def test_a_quoted_url_names_the_plain_folder(open_disk, tmp_path):
    queue(open_disk("with%20space%23"), "owner")
    assert (tmp_path / "with space#" / "claims" / "cache.db").exists()


def test_a_folder_that_is_there_keeps_its_mode(open_disk, tmp_path):
    (tmp_path / "store").mkdir(mode=0o750)
    queue(open_disk(), "owner")
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750


def test_nothing_is_made_before_the_first_use(open_disk):
    assert not open_disk().folder.exists()


@pytest.mark.parametrize("url", ["disk://relative", "disk://host/path", "disk:relative", "disk://"])
def test_a_url_without_an_absolute_path_is_refused_with_what_is_accepted(url):
    with pytest.raises(SettingError) as refusal:
        open_store(url)
    assert repr(without_passwords(url)) in str(refusal.value)
    assert "disk:///absolute/path" in str(refusal.value)


@pytest.mark.parametrize("delete", ["before it is used", "after it was closed"])
def test_a_folder_that_was_deleted_is_made_again(open_disk, delete):
    store = open_disk()
    queue(store, "owner")
    store.close()
    for path in sorted(store.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.folder.rmdir()
    if delete == "before it is used":
        store = open_disk()
    assert store.lookup("key") is None
    assert queue(store, "next").owner == "next"


# Size


def test_size_pressure_evicts_old_results_and_never_a_claim(open_disk):
    store = open_disk(size_limit=300_000)
    run(store, "owner", "claimed")
    for number in range(60):
        assert put(store, f"result-{number:02}", bytes(20_000)) is True
    kept = sorted(key for key, entry in store.entries() if entry.result is not None)
    assert 1 <= len(kept) < 30
    assert kept[-1] == "result-59"
    assert "result-00" not in kept
    assert store.lookup("claimed").owner == "owner"
    assert complete(store, "owner", key="claimed") is True


def test_the_folder_stays_within_the_limit_with_the_files_of_sqlite(open_disk):
    store = open_disk(size_limit=50_000_000)
    for number in range(2000):
        queue(store, "owner", f"result-{number}")
        put(store, f"result-{number}", bytes(30_000))
    assert sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()) <= 50_000_000


def test_size_pressure_brings_no_forgotten_result_back_and_loses_no_number(open_disk, clock):
    store = open_disk(clock=clock, size_limit=300_000)
    run(store, "owner")
    store.count("counts", {"calls": 1}, ttl=1000)
    clock.advance(1)
    store.forget_scope("tag:a", ttl=None)
    for number in range(60):
        put(store, f"result-{number:02}", bytes(20_000))
    complete(store, "owner", b"old")
    assert store.lookup("key").payload == b"old"
    assert store.lookup("key", scopes=["tag:a"]) is None
    assert dict(store.counts()) == {"counts": {"calls": 1}}


def test_many_claims_are_no_reason_to_evict_one(open_disk):
    store = open_disk(size_limit=1000)
    for number in range(500):
        queue(store, "owner", f"claimed-{number}")
    assert len(list(store.entries())) == 500


def test_what_has_expired_is_removed_by_later_writes(open_disk):
    store = open_disk()
    for number in range(50):
        put(store, f"short-{number}", b"1", 0.001)
    time.sleep(0.01)
    for number in range(50):
        put(store, f"long-{number}", b"1", 1000)
    with closing(sqlite3.connect(database(store, "results"))) as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM Cache").fetchone()
    assert count == 50


def test_a_small_result_replaces_a_large_one_and_its_file(open_disk, clock):
    store = open_disk(clock=clock)
    put(store, "other", b"1")  # The first write of a process is diskcache's own.
    for payload in (bytes(100_000), b"2", bytes(100_000), b"3"):
        clock.advance(1000)
        put(store, "key", payload, 1000)
        assert store.lookup("key").payload == payload
    assert list(store.folder.rglob("*.val")) == []


def test_a_result_that_is_replaced_or_forgotten_leaves_no_file(open_disk, clock):
    store = open_disk(clock=clock)
    for _ in range(3):
        clock.advance(1000)
        assert put(store, "key", bytes(100_000), 1000) is True
    assert len(list(store.folder.rglob("*.val"))) == 1
    assert store.forget("key") is True
    assert list(store.folder.rglob("*.val")) == []


def test_a_result_whose_row_cannot_be_written_leaves_no_file(open_disk):
    store = open_disk()
    put(store, "key", bytes(100_000))
    with closing(sqlite3.connect(database(store, "results"))) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON Cache BEGIN SELECT RAISE(ABORT, 'database is full'); END"
        )
    with pytest.raises(sqlite3.Error, match="database is full"):
        put(store, "other", bytes(100_000))
    assert len(list(store.folder.rglob("*.val"))) == 1
    assert store.lookup("key").payload == bytes(100_000)
    assert store.lookup("other") is None


def test_a_step_that_fails_leaves_no_new_file_and_keeps_the_old_ones(open_disk):
    store = open_disk()
    put(store, "key", bytes(100_000))

    def fail():
        with store.in_one_step():
            assert store.forget("key") is True
            assert put(store, "other", bytes(100_000)) is True
            raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        fail()
    assert len(list(store.folder.rglob("*.val"))) == 1
    assert store.lookup("key").payload == bytes(100_000)
    assert store.lookup("other") is None


def test_a_result_whose_index_cannot_be_written_is_not_written(open_disk):
    store = open_disk()
    run(store, "owner")
    put(store, "other")
    with closing(sqlite3.connect(database(store, "results"))) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON Cache WHEN NEW.key = 'index' "
            "BEGIN SELECT RAISE(ABORT, 'database is full'); END"
        )
    with pytest.raises(sqlite3.Error, match="database is full"):
        complete(store, "owner", index="index")
    assert store.lookup("key").owner == "owner"
    assert isinstance(store.lookup("key"), Claim)
    assert complete(store, "owner", index="another") is True


# Pickles


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "was unpickled"


def plant(store, cache, *, where, marker):
    """Put a pickle into a store's database: as a key, as a value, or as a value in a file."""
    pickled = pickle.dumps(Touches(marker))
    (database(store, cache).parent / "planted.val").write_bytes(pickled)
    change = {
        "key": ("INSERT INTO Cache(key, raw, value) VALUES (?, 0, x'00')", (pickled,)),
        "value": ("UPDATE Cache SET mode = ?, value = ? WHERE key = 'key'", (MODE_PICKLE, pickled)),
        "file": (
            "UPDATE Cache SET mode = ?, value = NULL, filename = 'planted.val' WHERE key = 'key'",
            (MODE_PICKLE,),
        ),
    }
    connection = sqlite3.connect(database(store, cache))
    with connection:
        assert connection.execute(*change[where]).rowcount == 1
    connection.close()


def filled(store, cache):
    """*store* with a claim or a result under ``key``."""
    if cache == "claims":
        run(store, "owner")
    else:
        put(store, "key")
    return store


@pytest.mark.parametrize("cache", ["claims", "results"])
@pytest.mark.parametrize("where", ["value", "file"])
@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.lookup("key"),
        lambda store: queue(store, "owner"),
        lambda store: run(store, "owner"),
        lambda store: renew(store, "owner"),
        lambda store: complete(store, "owner"),
        lambda store: store.release("key", "owner", ""),
        lambda store: store.forget("key"),
        lambda store: dict(store.entries()),
    ],
    ids=["lookup", "lookup_or_claim", "claim", "renew", "complete", "release", "forget", "entries"],
)
def test_a_planted_value_counts_as_absent_and_is_never_unpickled(open_disk, marker, cache, where, use):
    store = filled(open_disk(), cache)
    put(store, "other")
    plant(store, cache, where=where, marker=marker)
    with warnings_of_ours() as warned:
        assert store.lookup("key") is None
        use(store)
        store.release("key", "owner", "")
        store.forget("key")
        run(store, "owner")
        complete(store, "owner", b"43")
    assert store.lookup("key").payload == b"43"
    assert store.lookup("other").payload == b"42"
    assert not marker.exists()
    (warning,) = warned
    assert "key cannot be read (UnreadableError: refused to unpickle a value" in warning


@pytest.mark.parametrize("cache", ["claims", "results"])
def test_a_planted_key_is_passed_over_and_never_unpickled(open_disk, marker, cache):
    store = filled(open_disk(), cache)
    plant(store, cache, where="key", marker=marker)
    with warnings_of_ours() as warned:
        assert list(dict(store.entries())) == ["key"]
        assert list(dict(store.entries())) == ["key"]
    (warning,) = warned
    assert "a key that is no text" in warning
    assert not marker.exists()


@pytest.mark.parametrize("where", ["key", "value", "file"])
def test_diskcache_by_itself_unpickles_what_was_planted(open_disk, marker, where):
    """Shows that the tests above plant what does harm."""
    store = filled(open_disk(), "results")
    plant(store, "results", where=where, marker=marker)
    with diskcache.Cache(str(store.folder / "results")) as cache:
        list(cache.iterkeys()) if where == "key" else cache.get("key")
    assert marker.exists()


def test_nothing_that_it_writes_is_a_pickle(open_disk):
    store = open_disk()
    assert store.identity
    queue(store, "owner", "claimed")
    put(store, "small")
    put(store, "large", bytes(100_000))
    for cache, rows in (("claims", 2), ("results", 2)):
        connection = sqlite3.connect(database(store, cache))
        modes = connection.execute("SELECT raw, mode FROM Cache").fetchall()
        connection.close()
        assert len(modes) == rows
        assert all(raw == 1 and mode != MODE_PICKLE for raw, mode in modes)


@pytest.mark.parametrize(
    ("key", "value", "refusal"),
    [
        (("a", "tuple"), b"42", "a key is text, not tuple"),
        (None, b"42", "a key is text, not NoneType"),
        (1, b"42", "a key is text, not int"),
        ("key", "text", "a value is bytes, not str"),
        ("key", {"a": "dict"}, "a value is bytes, not dict"),
        ("key", None, "a value is bytes, not NoneType"),
        ("key", bytearray(b"42"), "a value is bytes, not bytearray"),
    ],
)
def test_what_would_be_pickled_is_not_written(tmp_path, key, value, refusal):
    with diskcache.Cache(str(tmp_path), disk=_BytesDisk) as cache:
        with pytest.raises(StoreError, match=refusal):
            cache.set(key, value)
        assert len(cache) == 0


@pytest.mark.parametrize("payload", ["text", {"a": "dict"}, None, 42])
def test_complete_refuses_a_payload_that_is_not_bytes_and_changes_nothing(open_disk, payload):
    store = open_disk()
    run(store, "owner")
    with pytest.raises((StoreError, TypeError)):
        complete(store, "owner", payload)
    assert isinstance(store.lookup("key"), Claim)


# Identity

_IDENTITY = """
import sys
from jobtastic_signals.stores import open_store
print(open_store(sys.argv[1]).identity)
"""


def test_identity_is_that_of_the_folder(open_disk, tmp_path):
    one, same, other = open_disk(), open_disk(), open_disk("other")
    elsewhere = subprocess.run(
        [sys.executable, "-c", _IDENTITY, one.url], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert one.identity == same.identity == elsewhere.stdout.strip()
    assert other.identity != one.identity


def test_identity_follows_the_folder_and_not_its_path(open_disk, tmp_path):
    store = open_disk()
    identity = store.identity
    store.close()
    store.folder.rename(tmp_path / "moved")
    assert open_disk("moved").identity == identity
    assert open_disk().identity != identity
    assert store.identity == open_disk().identity


# Failures


@pytest.mark.parametrize("planted", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("cache", ["claims", "results"])
def test_a_record_that_cannot_be_read_counts_as_absent(open_disk, cache, planted):
    store = filled(open_disk(), cache)
    with diskcache.Cache(str(store.folder / cache), disk=_BytesDisk) as opened:
        opened.set("key", planted)
    counts_as_absent(store)


@pytest.mark.parametrize("planted", [7, "text", 7.5])
@pytest.mark.parametrize("cache", ["claims", "results"])
def test_a_value_that_is_not_bytes_counts_as_absent(open_disk, cache, planted):
    store = filled(open_disk(), cache)
    with diskcache.Cache(str(store.folder / cache)) as opened:
        opened.set("key", planted)
    counts_as_absent(store)


def test_a_claim_that_cannot_be_read_costs_no_result(open_disk):
    store = filled(open_disk(), "results")
    with diskcache.Cache(str(store.folder / "claims"), disk=_BytesDisk) as opened:
        opened.set("key", b"no record")
    assert store.lookup("key").payload == b"42"
    assert queue(store, "caller").payload == b"42"


@pytest.mark.parametrize("ttl", [0, 60])
def test_a_result_that_is_stored_while_it_is_looked_for_is_judged_by_a_later_time(open_disk, clock, ttl):
    """By an earlier one, it would answer a call that it must not answer: it has ended when it is stored."""
    worker = open_disk(clock=clock)
    run(worker, "owner")
    run(worker, "waiter")

    def finish():
        clock.advance(1)
        assert complete(worker, "owner", b"old", ttl=ttl, kept_for=1000) is True

    def slow_clock():
        now = clock()
        if not asked:
            asked.append(now)
            finish()
        return now

    asked = []
    found = open_disk(clock=slow_clock).lookup("key")
    assert isinstance(found, Result) == bool(ttl)
    assert found == worker.lookup("key")


@pytest.mark.parametrize("by", ["key", "scope"])
def test_a_lookup_never_sees_what_is_forgotten_while_it_looks(open_disk, clock, monkeypatch, by):
    store, other = open_disk(clock=clock), open_disk(clock=clock)
    run(store, "owner")
    clock.advance(1)
    record = store._files().results.record

    def forget_and_complete():
        other.forget("key") if by == "key" else other.forget_scope("tag:a", ttl=None)
        complete(other, "owner", b"old")

    changes = [forget_and_complete, lambda: None]

    def changed_meanwhile(key):
        found = record(key)
        changes.pop(0)()
        return found

    monkeypatch.setattr(store._files().results, "record", changed_meanwhile)
    assert store.lookup("key", scopes=["tag:a"]) is None
    assert changes == []


def test_a_lookup_sees_the_claim_and_the_result_of_one_time(open_disk, monkeypatch):
    store, other = open_disk(), open_disk()
    run(store, "owner")
    record = store._files().results.record
    changes = [lambda: complete(other, "owner", b"1"), lambda: None]

    def changed_meanwhile(key):
        found = record(key)
        changes.pop(0)()
        return found

    monkeypatch.setattr(store._files().results, "record", changed_meanwhile)
    assert store.lookup("key").payload == b"1"
    assert changes == []


@pytest.mark.parametrize("left", [b"", bytes(100_000), b"[1]\n"], ids=["nothing", "zeros", "something else"])
def test_a_result_whose_file_a_power_cut_emptied_is_none(open_disk, left):
    store = open_disk()
    put(store, "key", bytes(100_000))
    (file,) = store.folder.rglob("*.val")
    file.write_bytes(left)
    assert store.lookup("key") is None
    assert store.forget("key") is False
    put(store, "key", bytes(100_000))
    (file,) = store.folder.rglob("*.val")
    file.write_bytes(left)
    assert run(store, "next").owner == "next"
    assert complete(store, "next") is True
    assert store.lookup("key").payload == b"42"


@pytest.mark.parametrize("cache", ["claims", "results"])
@pytest.mark.parametrize("opened", [True, False], ids=["in use", "to be opened"])
def test_a_store_that_another_process_keeps_locked_says_so_when_its_timeout_is_over(open_disk, cache, opened):
    store = open_disk(timeout=0.05)
    run(store, "owner")
    if not opened:
        store.close()
    with closing(sqlite3.connect(database(store, cache), isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        with pytest.raises(StoreError, match="cannot be written: database is locked") as refusal:
            complete(store, "owner")
        assert time.monotonic() - before < PATIENT
        assert str(store.folder) in str(refusal.value)
    assert store.lookup("key").owner == "owner"
    assert complete(store, "owner") is True


def test_a_thread_that_closes_the_store_disturbs_no_operation_of_another(open_disk):
    """They meet once for each key. SQLite's lock is not fair: one that never pauses can starve the other."""
    store, keys, together = open_disk(timeout=PATIENT), range(50), threading.Barrier(2)

    def close():
        with suppress(threading.BrokenBarrierError):
            for _ in keys:
                together.wait()
                store.close()
                store.lookup("key")

    with ThreadPoolExecutor(1) as closer:
        closed = closer.submit(close)
        try:
            for number in keys:
                together.wait()
                assert run(store, "owner", f"key-{number}").owner == "owner"
                assert complete(store, "owner", key=f"key-{number}", index=f"index-{number}") is True
        finally:
            together.abort()
    closed.result()
    assert len(list(store.entries())) == 100


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_no_process_is_forked_while_another_thread_is_in_the_database(open_disk):
    """The child would inherit SQLite's locks, and wait for ever or find the database locked."""
    store, began, about_to_fork, over = open_disk(), *(threading.Event() for _ in range(3))

    def write():
        with store.in_one_step():
            began.set()
            about_to_fork.wait()
            time.sleep(0.1)  # Only so that a fork that does not wait comes before the end.
            over.set()

    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(write)
        began.wait()
        about_to_fork.set()
        child = os.fork()
        if child == 0:
            works = over.is_set() and run(store, "owner").owner == "owner"
            os._exit(0 if works else 1)
        written.result()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.lookup("key").owner == "owner"
