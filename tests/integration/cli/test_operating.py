"""``celery -A proj jobtastic list``, ``top`` and others, run as commands, on a store on disk."""

from __future__ import annotations

import json
import uuid

import pytest

from jobtastic_signals.stores import open_store
from tests.support.checks import PROJECT
from tests.support.commands import WITHOUT_RICH, run, started, without_codes
from tests.support.rare import rare

OWNERS = [str(uuid.uuid4()) for _ in range(3)]
RUNNING, CACHED = (f"v1:proj.report:{digit * 40}" for digit in "ab")


@pytest.fixture
def place(request, tmp_path, shared):
    """The URL of a store: on disk, or of the kind that a test asks for."""
    return shared.redis() if getattr(request, "param", "disk") == "redis" else f"disk://{tmp_path}/store"


@pytest.fixture
def project(tmp_path, place):
    """Where the command runs; its store has a run, a message behind it and a result."""
    (tmp_path / "proj.py").write_text(PROJECT)
    store = open_store(place)
    store.claim(RUNNING, OWNERS[0], "celery@web-1.example.com~0f/5a", 3600)
    store.lookup_or_claim(RUNNING, OWNERS[1], 3600, rerun=True)
    store.complete(CACHED, OWNERS[2], None, b'["application/json", "utf-8"]\n7', ttl=None)
    store.close()
    return tmp_path


@pytest.fixture
def celery(project, place):
    """Runs ``celery -A proj jobtastic ...``: its exit status, what it printed, and its errors."""
    return lambda *words, **how: run(project, "jobtastic", *words, STORE=place, **how)


def test_a_list_is_whole_in_a_pipe_and_fits_in_a_terminal(celery):
    status, printed, errors = celery("list")
    assert (status, errors) == (0, "")
    assert [line.split()[:4] for line in printed.splitlines()] == [
        ["TASK", "KEY", "STATE", "OWNER"],
        ["proj.report", RUNNING, "running", OWNERS[0]],
        ["proj.report", RUNNING, "waiting", OWNERS[1]],
        ["proj.report", CACHED, "cached", OWNERS[2]],
    ]
    # The same without what draws bars.
    status, printed, errors = celery("list", columns=80, program=("-c", WITHOUT_RICH))
    assert (status, errors) == (0, "")
    assert "\x1b[32mrunning" in printed
    lines = without_codes(printed).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:4] == ["proj.report", "aaaaaaaa", "running", OWNERS[0][:8]]
    assert lines[-1].split()[:4] == ["proj.report", "bbbbbbbb", "cached", OWNERS[2][:8]]


@pytest.mark.parametrize("place", ["disk", rare("redis")], indirect=True)
def test_what_a_table_shows_can_be_given_to_the_other_commands(celery):
    assert celery("show", "bbbb")[1].splitlines()[-1] == "value     7"
    assert celery("forget", "--key", "bbbb") == (0, f"Forgot the result of {CACHED}.\n", "")
    status, printed, _ = celery("release", "--owner", OWNERS[0][:8], "--json")
    assert (status, json.loads(printed)["released"][0]["key"]) == (0, RUNNING)
    assert celery("forget", "--key", CACHED) == (1, "", f"There is no result of {CACHED}.\n")


@pytest.mark.parametrize("key", [rare("q"), "xyzq"])
def test_q_ends_top_and_leaves_the_terminal_as_it_was(project, place, key):
    with started(project, "jobtastic", "top", columns=80, reads=True, STORE=place) as command:
        command.wait_for("q quits")
        command.press(key)
        assert command.end() == (0, "")
    assert command.printed.startswith("\x1b[?1049h")
    assert command.printed.endswith("\x1b[?25h\x1b[?1049l")
    lines = without_codes(command.printed).splitlines()
    assert lines[0].startswith("1 running, 1 waiting, 0 queued  disk://")
    assert lines[3].split()[:4] == ["proj.report", "running", OWNERS[0][:8], "celery@web-1.example.com"]
    assert max(map(len, lines)) <= 80


def test_wrong_usage_and_a_store_that_fails_have_exit_statuses_of_their_own(celery):
    status, printed, errors = celery("list", "--state", "nosuch")
    assert (status, printed) == (2, "")
    assert "'nosuch' is not one of 'running'" in errors
    status, printed, errors = celery("forget")
    assert (status, printed, errors.count("\n")) == (2, "", 1)


def test_no_password_of_a_store_is_shown(project):
    status, printed, errors = run(project, "jobtastic", "list", STORE="redis://:hunter2@127.0.0.1:1/0")
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("The store redis://**@127.0.0.1:1/0 does not answer (ConnectionError: ")
    assert "hunter2" not in errors


def test_purge_asks_and_does_nothing_without_an_answer(celery):
    status, printed, errors = celery("purge")
    assert (status, printed) == (1, "")
    assert errors.startswith("Delete all messages of celery? [y/N]")
    assert celery("list", "--state", "waiting")[0] == 0
