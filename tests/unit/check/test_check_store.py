"""What a check finds in the store, and in the answers of workers."""

import re
import shutil
import time
from types import SimpleNamespace

import pytest
from kombu.transport import memory as memory_transport

from jobtastic_signals.cli.check import store as store_check
from jobtastic_signals.cli.check.base import Level
from jobtastic_signals.cli.check.folder import check_folder
from jobtastic_signals.cli.check.store import StoreHere
from jobtastic_signals.cli.check.workers import check_worker
from jobtastic_signals.control import how_it_shares
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.checks import checked
from tests.support.unit_apps import store_of

# The store


def test_a_store_is_told_with_its_identity_its_folder_and_its_speed(app, folder):
    url, facts, speed = checked(app).about("store", Level.OK)
    assert re.fullmatch(rf"disk://{folder} \(disk:[0-9a-f]{{32}}\)", url)
    assert re.fullmatch(rf"the folder is drwx------ of {folder.owner()}, with [0-9.]+ [GM]B free", facts)
    assert re.fullmatch(r"\d+\.\d\d ms to claim, complete, look up and forget \(median\)", speed)


def test_nothing_is_left_in_the_store(app, folder):
    checked(app)
    store = DiskStore(f"disk://{folder}")
    assert list(store.entries()) == []
    store.close()


def test_a_folder_that_is_not_there_is_not_made(new_app, tmp_path):
    record = checked(new_app(jobtastic_store=f"disk://{tmp_path}/not/there"))
    (told,) = record.about("store")
    assert told.startswith(f"{tmp_path}/not/there does not exist yet")
    assert (record.to_fix, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(
    ("mode", "level", "told"),
    [
        (0o707, Level.FIX, "every user of this host can write to it"),
        (0o770, Level.NOTE, "its group can write to it"),
    ],
)
def test_a_folder_where_others_can_write_is_refused_or_told_of(app, new_app, folder, mode, level, told):
    folder.chmod(mode)
    (refusal,) = checked(app).about("store", Level.FIX)
    assert "can be written by others" in refusal
    trusting = new_app(jobtastic_store=f"disk://{folder}", jobtastic_store_options={"trust_folder": True})
    (finding,) = checked(trusting).about("store", level)
    assert told in finding
    assert len(checked(trusting).about("store", Level.OK)) == 3


def test_little_room_is_told_of(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=99_000_000))
    facts, room = check_folder(folder)
    assert facts.text.endswith("with 99 MB free")
    assert room.level is Level.NOTE


class Forgetful(MemoryStore):
    """Says that it stores."""

    def complete(self, *args, **kwargs):
        return True


class Broken(MemoryStore):
    """Cannot be read."""

    def lookup(self, key, *, scopes=()):
        raise ConnectionError("gone away")


class Stuck(MemoryStore):
    """Does not answer for longer than anybody waits."""

    def lookup_or_claim(self, *args, **kwargs):
        time.sleep(1)


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (Forgetful(), "it does not return what was stored in it"),
        (Broken(), "ConnectionError: gone away"),
        (Stuck(), "TimeoutError: no answer within 0.2 s"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_does_not_work_is_told_with_the_reason_in_time(new_app, monkeypatch, store, reason):
    if isinstance(store, Stuck):
        monkeypatch.setattr(store_check, "DEADLINE", 0.2)
    monkeypatch.setattr(store_check, "open_shared_store", lambda url, **options: store)
    (told,) = checked(new_app()).about("store")
    assert told == f"memory:// does not work, so nothing is shared: {reason}"
    assert list(store.entries()) == []


def test_a_slow_store_is_not_tried_for_long(monkeypatch):
    class Slow(MemoryStore):
        looked = 0

        def lookup(self, key, *, scopes=()):
            self.looked += 1
            time.sleep(0.1)
            return super().lookup(key, scopes=scopes)

    monkeypatch.setattr(store_check, "LONGEST", 0.3)
    store = Slow()
    monkeypatch.setattr(store_check, "open_shared_store", lambda url, **options: store)
    (_, speed) = StoreHere(settings("memory://")).check()
    assert store.looked < 10
    assert float(speed.text.split()[0]) > 100


def settings(store, namespace=""):
    return Settings(
        store=store,
        store_options={},
        store_required=False,
        namespace=namespace,
        key_required=True,
        key_context=None,
        observe=False,
        lease=30.0,
        progress_interval=0.1,
        progress_after=0.5,
        memleak_redact=False,
        broker_deadline=2.0,
    )


def test_passwords_are_not_told(new_app, monkeypatch):
    def refuse(url, **options):
        raise ConnectionError("refused")

    monkeypatch.setattr(store_check, "open_shared_store", refuse)
    (told,) = StoreHere(settings("redis://me:s3cret@host/0?password=s3cret")).check()
    assert told.text.startswith("redis://**@host/0?password=** does not work")
    record = checked(new_app(broker_url="redis://:s3cret@127.0.0.1:1/0"))
    assert "redis://**@127.0.0.1:1/0" in str(record.findings)
    assert "s3cret" not in str(record.findings)


# Workers, as they answer


def here(url="disk:///srv/a", identity="disk:1", namespace=""):
    store = StoreHere(settings(url, namespace))
    store.identity = identity
    return store


def answer(url="disk:///srv/a", identity="disk:1", namespace=""):
    return {"plugin": True, "url": url, "identity": identity, "namespace": namespace, "tasks": ["report"]}


@pytest.mark.parametrize(
    ("there", "own", "level", "told"),
    [
        (answer(), here(), Level.OK, "w uses this store"),
        (answer("disk:///mnt/a"), here(), Level.OK, "w uses this store, as disk:///mnt/a"),
        (answer(), here(identity=None), Level.NOTE, "w uses the store disk:///srv/a (disk:1)"),
        (answer(), None, Level.NOTE, "w uses the store disk:///srv/a (disk:1)"),
        (answer(identity=None), here(), Level.FIX, "w: its store disk:///srv/a does not answer"),
        (answer(identity=None), None, Level.FIX, "w: its store disk:///srv/a does not answer"),
        (answer(namespace="r2"), here(), Level.FIX, "jobtastic_namespace='r2', and this process with ''"),
        (answer(identity="disk:2"), here(), Level.FIX, "The same URL leads to two stores"),
        (answer("disk:///b", "disk:2"), here(), Level.FIX, "another store, disk:///b (disk:2)"),
        (answer("disk:///b", "disk:2"), here(), Level.FIX, "disk:// alone means one folder for each user"),
        (answer("redis://b", "redis:2"), here(), Level.FIX, "Give both the same jobtastic_store"),
        (answer("memory://", "memory:2"), here(), Level.FIX, "each process has its own memory://"),
        ({"plugin": False}, here(), Level.FIX, "w: the plugin is not enabled"),
        ({"error": "KeyError('jobtastic')"}, None, Level.FIX, "w: the plugin is not enabled"),
        ({"plugin": True, "wrong": "setting x"}, here(), Level.FIX, "wrong settings: setting x"),
    ],
)
def test_what_a_worker_answers_is_held_against_this_process(there, own, level, told):
    for tasks in ([], ["other", "report"]):
        finding = check_worker("w", there, own, tasks)
        assert finding.level is level
        assert told in f"{finding.text}. {finding.remedy}"


def test_a_worker_of_another_project_may_have_another_store():
    finding = check_worker("w", answer("disk:///b", "disk:2"), here(), ["other"])
    assert (finding.level, finding.text[:40]) == (Level.NOTE, "w runs no task that shares here: it is a")


def test_a_worker_tells_of_its_own_app(new_app, folder, report):
    well, bare = [how_it_shares(SimpleNamespace(app=app)) for app in (report.app, new_app(plugin=False))]
    assert well == {
        "plugin": True,
        "url": f"disk://{folder}",
        "identity": well["identity"],
        "namespace": "",
        "tasks": ["report"],
    }
    assert bare == {"plugin": False}


@pytest.mark.parametrize("wrong", [{"jobtastic_stroe": "x"}, {"jobtastic_store": "disk://host/path"}])
def test_a_worker_with_wrong_settings_tells_which(new_app, wrong):
    told = how_it_shares(SimpleNamespace(app=new_app(**wrong)))
    assert "jobtastic_store" in told["wrong"]


def test_a_worker_whose_store_fails_tells_that(new_app, tmp_path):
    (tmp_path / "file").touch()
    told = how_it_shares(SimpleNamespace(app=new_app(jobtastic_store=f"disk://{tmp_path}/file")))
    assert (told["plugin"], told["identity"]) == (True, None)


def test_a_worker_whose_store_failed_lately_tells_that(app, folder):
    assert how_it_shares(SimpleNamespace(app=app))["identity"] is not None
    store = store_of(app)
    store._store.lookup = Broken().lookup
    store.lookup("key")
    assert how_it_shares(SimpleNamespace(app=app))["identity"] is None


class BuslessTransport(memory_transport.Transport):
    """As SQS, it cannot tell all."""

    implements = memory_transport.Transport.implements.extend(exchange_type=frozenset(["direct"]))


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({}, "no worker answered within 0.01 s"),
        ({"worker_enable_remote_control": False}, "worker_enable_remote_control is off"),
        ({"broker_transport": f"{__name__}:BuslessTransport"}, "the broker memory:// has no control bus"),
    ],
)
def test_workers_that_cannot_be_asked_are_no_error(new_app, folder, conf, told):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", **conf))
    (finding,) = record.about("worker", Level.NOTE)
    assert told in finding
    assert record.to_fix == 0


def test_a_broker_of_an_unknown_kind_is_one_finding(new_app, folder):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", broker_url="nosuch://host"))
    (told,) = record.about("worker", Level.FIX)
    assert told.startswith("the broker nosuch://host cannot be reached: ")
