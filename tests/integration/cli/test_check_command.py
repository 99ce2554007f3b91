"""The command ``celery jobtastic check``, in a pipe and in a terminal."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobtastic_signals.stores.disk import DiskStore
from tests.support.checks import PROJECT
from tests.support.commands import COMMAND, WITHOUT_RICH, environment, run, started, without_codes
from tests.support.rare import rare

#: The imports are made before the user changes, since that one may not be able to read them.
AS_NOBODY = COMMAND.replace(
    "main()",
    """
import os, celery.backends.cache, kombu.transport.memory, proj
from jobtastic_signals.cli.check import check, plain
from jobtastic_signals.stores import disk
proj.app.backend
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
""",
)


@pytest.mark.parametrize("inside", ["", rare("/inside")])
def test_a_folder_of_another_user_is_told_of(inside):
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        (Path(outer) / "proj.py").write_text(PROJECT)
        taken = Path(outer) / "taken"
        taken.mkdir(mode=0o755 if os.geteuid() == 0 else 0o555)
        env = {
            "program": ("-c", AS_NOBODY),
            "STORE": f"disk://{taken}{inside}",
            # That user cannot write what coverage measures, which would then complain.
            "COVERAGE_PROCESS_CONFIG": None,
        }
        status, printed, errors = run(Path(outer), "jobtastic", "check", **env)
    assert (status, errors) == (1, "")
    (told,) = [line for line in printed.splitlines() if " store " in line]
    assert told.startswith("fix")
    assert f" of {Path.home().owner()}" in told
    assert ("cannot create it" if inside else "cannot write to") in told


CHECK = ("jobtastic", "check", "--timeout", "0.01")


@pytest.fixture
def project(tmp_path):
    """Where the command runs; the store's folder is there."""
    (tmp_path / "proj.py").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def store(project):
    store = DiskStore(f"disk://{project}/store")
    assert store.identity
    store.close()
    return store.url


def test_a_pipe_gets_a_line_for_each_task_and_finding(project, store):
    status, printed, errors = run(project, *CHECK, STORE=store)
    assert (status, errors) == (0, "")
    *lines, last = printed.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "task"],
        ["ok", "plugin"],
        ["ok", "settings"],
        ["ok", "backend"],
        ["ok", "store"],
        ["ok", "store"],
        ["ok", "store"],
        ["note", "worker"],
    ]
    assert lines[0] == "ok    task      proj.report  herd_avoidance_timeout=5  cache_duration=60"
    assert last == "Nothing to fix."


@pytest.mark.parametrize("columns", [80, rare(120)])
def test_a_terminal_gets_columns_that_fit(project, store, columns):
    status, printed, errors = run(project, *CHECK, columns=columns, STORE=store)
    assert (status, errors) == (0, "")
    lines = without_codes(printed).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split() == ["task", "its", "options"]
    assert lines[1].split() == ["proj.report", "herd_avoidance_timeout=5"]
    assert lines[2].split() == ["cache_duration=60"]
    assert [line[0] for line in lines if line[:1] in "✓!✗" and line] == list("✓✓✓✓✓✓!")
    assert lines[-1] == "Nothing to fix."


@pytest.mark.parametrize("columns", [None, rare(80)])
def test_what_is_to_fix_makes_the_exit_status(project, columns):
    status, printed, errors = run(project, *CHECK, columns=columns, STORE="disk://host/path")
    assert (status, errors) == (1, "")
    assert without_codes(printed).rstrip().endswith("1 thing to fix.")
    assert "Traceback" not in printed


EVIL = r"\x1b[2J[red]\x07\u202e"


@pytest.mark.parametrize("columns", [rare(None), 200])
def test_what_a_project_says_stays_text(project, columns):
    with (project / "proj.py").open("a") as file:
        file.write(f'app.conf.jobtastic_namespace = "{EVIL}"\n')
        file.write(f'@app.task(name="{EVIL}", cache_prefix="{EVIL}")\ndef other(): pass\n')
    status, printed, _ = run(project, *CHECK, columns=columns)
    assert status == 1
    assert not re.search("\x1b\\[2J|\x07|\u202e", printed)
    assert printed.count(EVIL) == 3


def test_without_rich_a_terminal_gets_lines(project, store):
    status, printed, errors = run(project, *CHECK, columns=80, program=("-c", WITHOUT_RICH), STORE=store)
    assert (status, printed.splitlines()[-1]) == (0, "Nothing to fix.")
    assert printed.startswith("ok    task      proj.report")
    assert "pip install 'jobtastic-signals[cli]'" in errors


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, rare({"TERM": "dumb"})], ids=str)
def test_it_has_no_colours_where_none_are_wanted(project, store, env):
    status, printed, _ = run(project, *CHECK, columns=80, STORE=store, **env)
    assert status == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed)


@pytest.mark.parametrize(
    "arguments", [("jobtastic", "check", "--timeout=0"), rare(("jobtastic", "check", "x"))], ids=str
)
def test_wrong_usage_is_an_error(project, arguments):
    status, printed, errors = run(project, *arguments)
    assert (status, printed) == (2, "")
    assert "Error: " in errors


def test_an_app_that_cannot_be_loaded_is_an_error(project):
    status, printed, errors = run(project, *CHECK, app="nosuch")
    assert (status, printed) == (2, "")
    assert "The module nosuch was not found" in errors
    with (project / "proj.py").open("a") as file:
        file.write('app.conf.include = ["nosuch"]\n')
    status, printed, errors = run(project, *CHECK)
    assert (status, printed) == (2, "")
    assert errors == "The tasks cannot be loaded: ModuleNotFoundError: No module named 'nosuch'\n"


def test_ctrl_c_leaves_quietly(project, store):
    with started(project, "jobtastic", "check", "--timeout=60", STORE=store) as command:
        command.wait_for("backend")
        command.process.send_signal(signal.SIGINT)
        assert command.end() == (130, "")


def test_it_ends_though_nothing_of_it_does(project, store):
    """A thread that hangs keeps nobody."""
    program = COMMAND.replace(
        "main()",
        "import time\nfrom jobtastic_signals.stores.disk import DiskStore\n"
        "from jobtastic_signals.cli.check import store\nstore.DEADLINE = 0.1\n"
        "DiskStore.lookup_or_claim = lambda *_, **__: time.sleep(60)\nmain()",
    )
    status, printed, errors = run(project, *CHECK, program=("-c", program), STORE=store)
    assert (status, errors) == (1, "")
    assert "no answer within 0.1 s" in printed


def test_modules_of_the_check_are_not_imported_by_other_commands(project):
    program = (
        "import sys, jobtastic_signals, jobtastic_signals.cli, proj;"
        "late = ('jobtastic_signals.cli.check', 'celery.worker.control');"
        "print(*[m for m in sys.modules if m.startswith(late)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(project), capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
