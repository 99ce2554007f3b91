"""``celery -A proj jobtastic watch``, run as a command, on a real Redis."""

import itertools
import os
import re
import signal
import subprocess
import sys
import uuid
from importlib.metadata import entry_points

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from jobtastic_signals import UserFacingError
from jobtastic_signals.cli.watch.base import Sight, sight_of
from jobtastic_signals.cli.watch.plain import PlainView
from tests.support import commands
from tests.support.commands import WITHOUT_RICH, environment, without_codes
from tests.support.rare import mainly, rare
from tests.support.servers import answers, need, redis_server, reserve_port, running, wait_until

PROJECT = """
import os
import click
from celery import Celery
app = Celery("proj", broker="memory://", backend=os.environ["BACKEND"] or None)
app.user_options["preload"].add(click.Option(["--tenant"]))
"""

EVIL = "\x1b[2J[red]\x1b]0;owned\x07\u202e"
TAMED = r"\x1b[2J[red]\x1b]0;owned\x07\u202e"


def started(folder, backend, *arguments, **how):
    """``celery -A proj ...`` with that result backend."""
    (folder / "proj.py").write_text(PROJECT)
    return commands.started(folder, *arguments, BACKEND=backend, **how)


def run(folder, backend, *arguments, **how):
    """Its exit status, what it printed, and what it printed as errors."""
    (folder / "proj.py").write_text(PROJECT)
    return commands.run(folder, *arguments, BACKEND=backend, **how)


WATCH = ("jobtastic", "watch", "--interval", "0.02")


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield f"{url}/0"


@pytest.fixture
def backend(redis):
    app = Celery("proj", broker="memory://", backend=redis)
    yield app.backend
    app.backend.client.close()
    app.close()


@pytest.fixture
def task_id():
    return str(uuid.uuid4())


def progress(backend, task_id, percent, *, left=-1, completed=None, total=None, message=None):
    meta = {"progress_percent": percent, "time_remaining": left}
    meta.update(completed=completed, total=total, message=message)
    backend.store_result(task_id, meta, "PROGRESS")


def succeeded(backend, value="done"):
    task_id = str(uuid.uuid4())
    backend.store_result(task_id, value, "SUCCESS")
    return task_id


def failed(backend, error, state="FAILURE"):
    task_id = str(uuid.uuid4())
    backend.store_result(task_id, error, state)
    return task_id


def test_a_pipe_gets_a_line_for_each_change_and_the_outcome(tmp_path, redis, backend, task_id):
    with started(tmp_path, redis, *WATCH, task_id) as command:
        command.wait_for(f"{task_id}  PENDING  waiting, or unknown\n")
        backend.store_result(task_id, None, "STARTED")
        command.wait_for(f"{task_id}  STARTED\n")
        progress(backend, task_id, 25, left=90, completed=3, total=12, message="March")
        command.wait_for(f"{task_id}  PROGRESS  25 %  3/12  2 min left  March\n")
        progress(backend, task_id, 25, left=90, completed=3, total=12, message="still March")
        command.wait_for("still March\n")
        backend.store_result(task_id, {"pages": 12}, "SUCCESS")
        assert command.end() == (0, "")
    assert command.printed.endswith(f"{task_id}  SUCCESS  {{'pages': 12}}\n")
    assert len(command.printed.splitlines()) == 5
    assert "\x1b" not in command.printed


def test_lines_tell_every_tenth_percent(capsys):
    view = PlainView()
    for percent in range(101):
        view.show(Sight("x", "PROGRESS", percent, left=f"{100 - percent} s left"))
    told = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert told == [str(percent) for percent in range(0, 101, 10)]


def test_a_terminal_gets_bars_that_move_and_give_way_to_the_outcome(tmp_path, redis, backend, task_id):
    with started(tmp_path, redis, *WATCH, task_id, columns=100) as command:
        command.wait_for(task_id[:8], "waiting, or unknown")
        backend.store_result(task_id, None, "STARTED")
        command.wait_for("STARTED")
        for done in (3, 6, 9):
            progress(backend, task_id, done / 12 * 100, left=7, completed=done, total=12, message=f"m{done}")
            command.wait_for(f"{done * 100 // 12} %", f"{done}/12", "7 s left", f"m{done}")
        assert task_id not in command.printed
        backend.store_result(task_id, [1, 2], "SUCCESS")
        assert command.end() == (0, "")
    drawn = command.printed
    assert "━" in drawn
    assert without_codes(drawn).rstrip().endswith(f"{task_id}  SUCCESS  [1, 2]")
    # The cursor was hidden, and is shown again.
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("where", "columns"),
    mainly(
        ("message", None), ("message", 200), ("exception", None), ("result", 200),
        of=itertools.product(["message", "result", "exception", "state", "id"], [None, 200]),
    ),
)  # fmt: skip
def test_what_a_task_says_stays_text(tmp_path, redis, backend, task_id, where, columns):
    task_id = task_id + EVIL if where == "id" else task_id
    with started(tmp_path, redis, *WATCH, task_id, columns=columns) as command:
        if where == "message":
            progress(backend, task_id, 50, message=EVIL)
            command.wait_for("50 %")
        if where == "state":
            backend.store_result(task_id, None, EVIL)
            command.wait_for(TAMED)
        value = EVIL if where == "result" else "done"
        if where == "exception":
            backend.store_result(task_id, ValueError(EVIL), "FAILURE")
        else:
            backend.store_result(task_id, value, "SUCCESS")
        status, errors = command.end()
    assert (status, errors) == (1 if where == "exception" else 0, "")
    assert "\x1b[2J" not in command.printed
    assert "\x1b]" not in command.printed
    assert "\x07" not in command.printed
    assert "\u202e" not in command.printed
    assert TAMED in command.printed.replace("\\\\", "\\")


def test_tells_each_end_by_its_true_name(tmp_path, redis, backend):
    good = succeeded(backend)
    bad = failed(backend, ValueError("no data"))
    revoked = failed(backend, TaskRevokedError("terminated"), "REVOKED")
    status, printed, errors = run(tmp_path, redis, *WATCH, good, bad, revoked)
    assert printed.splitlines() == [
        f"{good}  SUCCESS  'done'",
        f"{bad}  FAILURE  ValueError('no data')",
        f"{revoked}  REVOKED  TaskRevokedError('terminated')",
    ]
    assert (status, errors) == (1, "")


def test_shows_the_text_that_a_task_has_for_people(tmp_path, redis, backend):
    bad = failed(backend, UserFacingError("The file has no rows."))
    assert run(tmp_path, redis, *WATCH, bad)[1] == f"{bad}  FAILURE  The file has no rows.\n"


@pytest.mark.parametrize(
    ("notice", "remark"), [("host_lost", "its worker is lost"), ("ignored", "ignores its result")]
)
def test_says_why_a_task_does_not_go_on(notice, remark):
    record = {"progress_percent": 40, "message": "March"}
    status = {"task": {"id": "x", "status": "PROGRESS", "result": record, "notice": notice}}
    sight = sight_of(status)
    assert (sight.percent, sight.final) == (40, False)
    assert remark in sight.message


def test_long_results_are_cut(tmp_path, redis, backend):
    long = succeeded(backend, {"pages": list(range(10_000)), "text": "x" * 10_000})
    _, printed, _ = run(tmp_path, redis, *WATCH, long)
    assert printed.startswith(f"{long}  SUCCESS  {{'pages': [0, 1, 2")
    assert len(printed) < 400


def test_an_id_given_twice_is_watched_once(tmp_path, redis, backend):
    good = succeeded(backend)
    status, printed, _ = run(tmp_path, redis, *WATCH, good, good, columns=100)
    assert status == 0
    assert printed.count(good) == 1


def test_gives_up_after_the_timeout(tmp_path, redis, backend, task_id):
    good = succeeded(backend)
    status, printed, _ = run(tmp_path, redis, *WATCH, "--timeout=1", task_id, good)
    assert status == 2
    assert f"{good}  SUCCESS" in printed
    assert printed.splitlines()[-1] == f"{task_id}  PENDING  not ended after 1 s"
    bad = failed(backend, ValueError())
    assert run(tmp_path, redis, *WATCH, "--timeout=0", task_id, bad, columns=100)[0] == 1


def test_says_once_that_the_backend_is_down_and_goes_on_when_it_is_back(tmp_path, task_id):
    port = reserve_port()
    url = f"redis://127.0.0.1:{port}/0"
    server = [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with started(tmp_path, url, *WATCH, task_id, columns=100) as command:
        command.wait_for("The result backend does not answer (ConnectionError: ")
        with running([*server, "--dir", str(tmp_path)], tmp_path / "redis.log"):
            wait_until(lambda: answers(url), what="Redis answering")
            command.wait_for("The result backend answers again.")
            app = Celery("proj", broker="memory://", backend=url)
            app.backend.store_result(task_id, 1, "SUCCESS")
            app.backend.client.close()
            app.close()
            status, errors = command.end()
    assert (status, errors) == (0, "")
    assert command.printed.count("does not answer") == 1


def test_notices_do_not_mix_with_the_lines_in_a_pipe(tmp_path):
    url = f"redis://127.0.0.1:{reserve_port()}/0"
    status, printed, errors = run(tmp_path, url, *WATCH, "--timeout=1", "x")
    assert status == 2
    assert re.fullmatch(r"x  UNSEEN  not ended after \d s\n", printed)
    assert errors.count("does not answer") == 1


@pytest.mark.parametrize("columns", [rare(None), 100])
def test_ctrl_c_leaves_quietly(tmp_path, redis, backend, task_id, columns):
    progress(backend, task_id, 50, message="half of it")
    with started(tmp_path, redis, *WATCH, task_id, columns=columns) as command:
        command.wait_for("half of it")
        command.process.send_signal(signal.SIGINT)
        assert command.end() == (130, "")
    assert "Aborted" not in command.printed
    assert backend.get_task_meta(task_id)["status"] == "PROGRESS"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no result backend is configured"),
        ("rpc://", "only the caller can read results"),
        rare("nonesuch://", "cannot be used: No module named 'nonesuch'"),
    ],
)
def test_refuses_where_nothing_can_be_read(tmp_path, url, reason):
    status, printed, errors = run(tmp_path, url, *WATCH, "x")
    assert (status, printed) == (2, "")
    assert reason in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [(), rare(("",)), ("x", "--interval=0"), rare(("x", "--timeout=nan")), rare(("x", "--timeout=soon"))],
)
def test_wrong_usage_is_an_error(tmp_path, arguments):
    status, printed, errors = run(tmp_path, "cache+memory://", "jobtastic", "watch", *arguments)
    assert (status, printed) == (2, "")
    assert "Error: " in errors
    assert "Traceback" not in errors


def test_without_rich_a_terminal_gets_lines_and_is_told_of_the_extra(tmp_path, redis, backend):
    good = succeeded(backend)
    status, printed, errors = run(tmp_path, redis, *WATCH, good, columns=100, program=("-c", WITHOUT_RICH))
    assert (status, printed.splitlines()) == (0, [f"{good}  SUCCESS  'done'"])
    assert "pip install 'jobtastic-signals[cli]'" in errors


def test_the_celery_command_works_without_rich(tmp_path):
    status, printed, errors = run(tmp_path, "", "--help", program=("-c", WITHOUT_RICH))
    assert (status, errors) == (0, "")
    assert "Watch tasks, and see what they share." in printed


def test_costs_the_celery_command_no_further_import(tmp_path):
    program = (
        "import sys, click, jobtastic_signals; before = set(sys.modules);"
        "import jobtastic_signals.cli; print(*sorted(set(sys.modules) - before), 'rich' in sys.modules)"
    )
    env = environment(tmp_path)
    answer = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    ours = {
        f"jobtastic_signals.cli{name}" for name in ("", ".commands", ".common", ".freeing", ".inspecting")
    }
    *imported, has_rich = answer.stdout.split()
    assert set(imported) - {"jobtastic_signals.sharing.inventory"} == ours, answer.stderr
    assert has_rich == "False"


@pytest.mark.parametrize("env", [rare({"NO_COLOR": "1"}), {"TERM": "dumb"}], ids=str)
def test_draws_as_the_terminal_wants(tmp_path, redis, backend, env):
    status, printed, _ = run(tmp_path, redis, *WATCH, succeeded(backend), columns=100, **env)
    assert status == 0
    assert "\x1b[32m" not in printed
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed)
    if "TERM" in env:
        assert "\x1b" not in printed


def test_is_a_command_of_celerys_where_the_package_is_installed(tmp_path, redis, backend):
    if not os.environ.get("CI") and "jobtastic" not in entry_points(group="celery.commands").names:
        pytest.skip("the package is not installed")
    good = succeeded(backend)
    program = ("-m", "celery")
    status, printed, errors = run(tmp_path, redis, *WATCH, good, program=program)
    assert (status, printed, errors) == (0, f"{good}  SUCCESS  'done'\n", "")


def test_a_projects_own_options_do_no_harm(tmp_path, redis, backend):
    good = succeeded(backend)
    arguments = ("jobtastic", "--tenant", "acme", "watch", good)
    assert run(tmp_path, redis, *arguments)[0] == 0
