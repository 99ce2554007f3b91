"""Whose folder ``disk://`` uses, what it makes there, and which files it reads and removes."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing, contextmanager

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.disk import folder as folders
from jobtastic_signals.stores.disk.folder import check_folder
from jobtastic_signals.testing.conformance.base import put, run
from tests.support.stores.operations import LARGE, PATIENT
from tests.support.stores.project import Project, warnings_of_ours

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "place"


def opened(place, **options):
    store = open_store(f"disk://{place}", timeout=PATIENT, **options)
    try:
        assert store.identity
    finally:
        store.close()
    return store


def world_writable(place):
    place.mkdir()
    place.chmod(0o777)


def sticky(place):
    place.mkdir()
    place.chmod(0o1777)


def of_a_group(place):
    place.mkdir()
    place.chmod(0o770)


def link(place):
    place.with_name("real").mkdir(mode=0o700)
    place.symlink_to("real")


def given_away(place):
    place.mkdir()
    place.chmod(0o777)
    os.chown(place, NOBODY, NOBODY)


def with_folders_of_others(place):
    place.mkdir(mode=0o700)
    (place / "results").mkdir()
    os.chown(place / "results", NOBODY, NOBODY)


def with_a_linked_database(place):
    (place / "claims").mkdir(parents=True, mode=0o700)
    place.chmod(0o700)
    (place / "claims" / "cache.db").symlink_to("/nowhere")


def below_a_folder_of_all(place):
    place.mkdir()
    place.chmod(0o777)
    (place / "store").mkdir(mode=0o700)


KINDS = {
    "world-writable": (world_writable, "", "can be written by others"),
    "sticky": (sticky, "", "can be written by others"),
    "of a group": (of_a_group, "", "can be written by others"),
    "a link": (link, "", "is a symbolic link"),
    "a link inside": (with_a_linked_database, "", "is a symbolic link"),
    "below a folder of all": (below_a_folder_of_all, "/store", "can be written by others"),
}

OF_OTHERS = {
    "of another user": (given_away, "", "belongs to another user"),
    "with folders of another user": (with_folders_of_others, "", "belongs to another user"),
}

each_kind = pytest.mark.parametrize(
    ("make", "below", "why"),
    [
        *(pytest.param(*kind, id=name) for name, kind in KINDS.items()),
        *(pytest.param(*kind, id=name, marks=as_root) for name, kind in OF_OTHERS.items()),
    ],
)


@each_kind
def test_a_folder_that_others_could_change_is_refused_with_the_remedy(place, make, below, why):
    make(place)
    with pytest.raises(StoreError, match=why) as refusal:
        opened(f"{place}{below}")
    assert "trust_folder" in str(refusal.value)
    assert "0700" in str(refusal.value)


@pytest.mark.parametrize("make", [world_writable, link, of_a_group])
def test_one_setting_allows_it(place, make):
    make(place)
    assert opened(place, trust_folder=True).identity == open_store(f"disk://{place}?trust_folder=1").identity


def test_a_wrong_value_of_that_setting_is_refused(place):
    with pytest.raises(ValueError, match="trust_folder='yes' is neither"):
        open_store(f"disk://{place}?trust_folder=yes")


def test_tasks_run_unshared_with_one_warning(place):
    world_writable(place)
    project = Project(f"disk://{place}", {"timeout": PATIENT})
    with warnings_of_ours() as warned:
        assert [project.run(21), project.run(21), project.runs] == [42, 42, 2]
    (warning,) = warned
    assert "trust_folder" in warning
    project.close()


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777], ids=oct)
def test_all_folders_that_are_made_are_the_users_alone_whatever_the_umask(place, mask):
    if mask == 0o777 and os.geteuid() != 0:
        pytest.skip("SQLite could not open its own files")
    with umask(mask):
        store = open_store(f"disk://{place}/not/yet/there", timeout=PATIENT)
        put(store, "key", LARGE)
        assert store.lookup("key").payload == LARGE
        store.close()
    made = [path for path in (place, *place.rglob("*")) if path.is_dir()]
    assert len(made) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


def test_links_above_are_followed_if_nobody_else_could_change_them(tmp_path, place):
    tmp_path.joinpath("real").mkdir(mode=0o700)
    place.symlink_to("real")
    opened(place / "store")
    assert (tmp_path / "real" / "store" / "claims").is_dir()


@as_root
def test_a_link_above_of_another_user_is_refused(tmp_path, place):
    tmp_path.joinpath("real").mkdir(mode=0o700)
    place.symlink_to("real")
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(StoreError, match="is a symbolic link of another user"):
        opened(place / "store")


def test_folders_of_root_above_are_as_good_as_ones_own(place, monkeypatch):
    place.mkdir(mode=0o700)
    os_of_a_user = type("", (), {"geteuid": staticmethod(lambda: place.stat().st_uid)})
    monkeypatch.setattr(folders, "os", os_of_a_user)
    check_folder(place)


def test_where_there_are_no_owners_nothing_is_checked(place, monkeypatch):
    world_writable(place)
    monkeypatch.setattr(folders, "os", object())
    check_folder(place)


# Names of files


OUTSIDE = [
    "../../x",
    "../../../outside.val",
    "/etc/hosts",
    "ab/../../../x.val",
    "ab/cd/e.val",
    b"\xff",
    "",
    7,
]


@pytest.mark.parametrize("name", OUTSIDE, ids=map(repr, OUTSIDE))
@pytest.mark.parametrize("mode", [1, 2])
def test_a_name_from_the_database_never_leads_out_of_the_folder(place, tmp_path, name, mode):
    """Neither to read a file, nor to remove it when its row is replaced, removed or evicted."""
    outside = tmp_path / "outside.val"
    outside.write_bytes(b"not ours")
    (tmp_path / "x").write_bytes(b"not ours")
    name = str(outside) if name == "/etc/hosts" else name
    store = open_store(f"disk://{place}", timeout=PATIENT)
    for key in ("key", "forgotten", "ended"):
        put(store, key)
        run(store, "owner", key)
    for cache in ("results", "claims"):
        with closing(sqlite3.connect(place / cache / "cache.db")) as database, database:
            database.execute("UPDATE Cache SET filename = ?, mode = ?, value = NULL", (name, mode + 1))
            database.execute("UPDATE Cache SET expire_time = 1 WHERE key = 'ended'")
    assert store.lookup("key") is None
    assert store.lookup("forgotten") is None
    assert store.forget("forgotten") is False
    for number in range(20):
        assert put(store, f"more-{number}", LARGE if number == 0 else b"42") is True
    assert put(store, "key", b"43") is True
    assert store.lookup("key").payload == b"43"
    assert len(list(store.entries())) == 21
    store.close()
    assert outside.read_bytes() == b"not ours"
    assert (tmp_path / "x").read_bytes() == b"not ours"


def test_an_identity_that_is_none_is_replaced(place):
    store = opened(place)
    with closing(sqlite3.connect(place / "claims" / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET value = x'80044b012e', mode = 4")
    assert len(store.identity) == len("disk:") + 32
    store.close()
