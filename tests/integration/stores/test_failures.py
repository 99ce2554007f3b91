"""Disks that really fail, below a real app: tasks run and are published, and one warning says why."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobtastic_signals.settings import Settings
from tests.support.stores.failing import goes_on_without_sharing, recovers
from tests.support.stores.project import Project, warnings_of_ours
from tests.support.stores.without_permission import NOBODY

ROOT = Path(__file__).parents[3]
LARGE = 400_000


@pytest.fixture
def project_on():
    """Makes projects, and closes them in the end."""
    made = []

    def project_on(folder, **options):
        made.append(Project(f"disk://{folder}", options))
        return made[-1]

    yield project_on
    for project in made:
        project.close()


@pytest.fixture
def always_probed(monkeypatch):
    """A store that failed is tried again by each call: not even that may repeat the warning."""
    monkeypatch.setattr(Settings, "store_retry_after", 0.0)


# Permission


@pytest.fixture
def forbidden():
    """A folder that the user of ``without_permission`` may not enter."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "forbidden"
        folder.mkdir(mode=0o700)
        change_mode(folder, 0o700 if os.geteuid() == 0 else 0)
        yield folder
        change_mode(folder, 0o700)


def change_mode(folder, mode, of_files=0o600):
    """Give *folder* and those in it *mode*."""
    folder.chmod(mode | 0o700)
    for path in folder.rglob("*"):
        path.chmod(mode if path.is_dir() else of_files)
    folder.chmod(mode)


def as_somebody_without_permission(url):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.stores.without_permission", url],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    outcome = json.loads(ran.stdout)
    assert outcome["uid"] == (os.geteuid() or NOBODY)
    assert outcome["published"] is True
    assert outcome["values"] == [42, 42]
    assert outcome["runs"] == 2
    (warning,) = outcome["warnings"]
    assert url in warning
    return warning


@pytest.mark.parametrize("folder", ["", "/inside"], ids=["the folder itself", "a folder to be made in it"])
def test_a_process_without_permission_for_the_folder_works_without_it(forbidden, folder):
    warning = as_somebody_without_permission(f"disk://{forbidden}{folder}")
    assert "PermissionError" in warning or "belongs to another user" in warning


def test_a_process_that_may_only_read_the_folder_is_told_so(forbidden, project_on):
    project = project_on(forbidden)
    assert project.shares(1)
    project.close()
    change_mode(forbidden, 0o555, of_files=0o444)
    assert "readonly" in as_somebody_without_permission(f"disk://{forbidden}?trust_folder=1")


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, and ways to fill it and to grow it."""
    point = tmp_path / "small"
    point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(point)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        reason = f"a full disk needs the right to mount one: {mounted.stderr.strip()}"
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    yield SmallDisk(point)
    subprocess.run(["umount", "--lazy", str(point)], check=True)


class SmallDisk:
    def __init__(self, point):
        self.point, self.filler = point, point / "filler"

    @property
    def free(self):
        return shutil.disk_usage(self.point).free

    def fill(self, *, leave=0):
        """Take all space but *leave* bytes."""
        with self.filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while (step := min(self.free - leave, 4096)) > 0:
                filler.write(bytes(step))
        assert self.free <= leave

    def grow(self):
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.point)], check=True)


@pytest.mark.usefixtures("always_probed")
@pytest.mark.parametrize("used_before", [True, False], ids=["used before", "never used before"])
def test_a_full_disk_costs_the_sharing_until_there_is_room(small_disk, project_on, used_before):
    project = project_on(small_disk.point / "store")
    if used_before:
        assert project.shares(1)
    small_disk.fill()
    warning = goes_on_without_sharing(project, 2)
    assert "full" in warning or "No space left" in warning or "disk I/O error" in warning
    small_disk.grow()
    assert recovers(project, 3)
    assert not used_before or project.run(1) == 2


@pytest.mark.usefixtures("always_probed")
def test_a_result_that_does_not_fit_costs_no_task_and_leaves_nothing_behind(small_disk, project_on):
    project = project_on(small_disk.point / "store")
    assert project.shares(1)
    small_disk.fill(leave=LARGE // 2)
    value = "x" * LARGE
    with warnings_of_ours() as warned:
        for _ in range(3):
            assert project.run(value) == value * 2
    assert project.runs == 4
    assert any("No space left" in text for text in warned)
    assert list((small_disk.point / "store").rglob("*.val")) == []
    small_disk.grow()
    assert project.shares(value[1:])


# A corrupt file

GARBAGE = b"This is no database. " * 20_000


@pytest.mark.usefixtures("always_probed")
@pytest.mark.parametrize("cache", ["claims", "results"])
@pytest.mark.parametrize("used_before", [True, False], ids=["in use", "before it is opened"])
def test_a_corrupt_file_costs_the_sharing_until_it_is_gone(tmp_path, project_on, cache, used_before):
    folder = tmp_path / "store"
    first = project_on(folder)
    assert first.shares(1)
    project = first
    if not used_before:
        first.close()
        project = project_on(folder)
    corrupt(folder / cache)
    warning = goes_on_without_sharing(project, 2)
    assert "file is not a database" in warning or "malformed" in warning
    shutil.rmtree(folder)
    assert recovers(project, 3)


def corrupt(folder):
    """Write garbage over the database in *folder*, after another process has written to it."""
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    with (folder / "cache.db").open("r+b") as file:
        file.write(GARBAGE)
