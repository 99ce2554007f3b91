"""The demo, run as its users run it: in a process of its own, with a real worker."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import jobtastic_signals

pytest.importorskip("rich", reason="the demo needs the extra 'demo'")

ROOT = Path(jobtastic_signals.__file__).parents[1]
DEMO = ("-m", "jobtastic_signals.demo")
SCENES = ("A double click", "The same question later", "Equal jobs in a batch", "A killed process")

#: Seconds after which a demo that hangs is given up.
PATIENCE = 120


@contextmanager
def starting(*arguments, folder):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    # A broker that somebody has in the environment is not for a demo.
    environment.update(
        TMPDIR=str(folder), COLUMNS="80", PYTHONUTF8="1", CELERY_BROKER_URL="amqp://nowhere.invalid"
    )
    demo = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield demo
    finally:
        demo.kill()
        demo.wait()
        for process in left_in(folder):
            process.kill()


def run(*arguments, folder):
    """Run the demo to its end; its exit status, what it printed, and what it printed as errors."""
    start = time.monotonic()
    with starting(*arguments, folder=folder) as demo:
        printed, errors = demo.communicate(timeout=PATIENCE)
        print(printed, errors, f"The demo took {time.monotonic() - start:.1f} s.")
        assert left_in(folder) == []
        assert list(folder.iterdir()) == []
    return demo.returncode, printed, errors


def left_in(folder):
    """The processes that belong to a demo in *folder*."""
    return [process for process in psutil.process_iter() if is_of_demo_in(folder, process)]


def is_of_demo_in(folder, process):
    try:
        return process.environ().get("JOBTASTIC_DEMO_FOLDER", "").startswith(str(folder))
    except psutil.Error:
        return False


def verdicts(printed):
    """The lines of the summary, by their scene."""
    _, _, summary = printed.partition("Summary ")
    return {scene: line for scene in SCENES for line in summary.splitlines() if line.startswith(f"{scene}  ")}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run(*DEMO, folder=tmp_path_factory.mktemp("demo"))


def test_everything_happens_as_promised(demo):
    status, printed, _ = demo
    assert status == 0
    assert "✘" not in printed
    lines = verdicts(printed)
    assert set(lines) == set(SCENES)
    assert all(line.rstrip().endswith("✔ yes") for line in lines.values())


def test_prints_nothing_but_the_show(demo):
    """No warning of Celery's, no control codes into a pipe, and nothing wider than the terminal."""
    _, printed, errors = demo
    assert errors == ""
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_shows_the_very_program_that_runs(demo):
    _, printed, _ = demo
    source = (ROOT / "jobtastic_signals/demo/tasks.py").read_text()
    shown = "\n".join(line.removeprefix("    ") for line in printed.splitlines())
    assert source[source.index("app = Celery(") :].strip() in shown


def test_is_not_as_promised_without_the_plugin(tmp_path):
    """What plain Celery does right has its tick, and no scene as a whole has."""
    status, printed, errors = run(*DEMO, "--without-plugin", folder=tmp_path)
    assert (status, errors) == (1, "")
    assert "✘ 2 clicks within" in printed
    assert '✔ both got "the May report"' in printed
    lines = verdicts(printed)
    assert set(lines) == set(SCENES)
    assert all(line.rstrip().endswith("✘ no") for line in lines.values())
    assert f"Not as promised: {SCENES[0]}" in printed


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_tidies_up_when_interrupted(tmp_path, signum):
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip("the demo ignores what its parent ignores, as under nohup")
    with starting(*DEMO, folder=tmp_path) as demo:
        while not left_in(tmp_path) and demo.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        demo.send_signal(signum)
        demo.send_signal(signum)
        printed, errors = demo.communicate(timeout=PATIENCE)
        assert (demo.returncode, errors) == (130, "")
        assert "Interrupted" in printed
        assert left_in(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


def test_shows_the_log_of_a_worker_that_does_not_start(tmp_path):
    program = (
        "import sys; from jobtastic_signals.demo import run, worker;"
        "worker._COMMAND = (sys.executable, '-c', 'raise SystemExit(\"no work today\")');"
        "sys.exit(run.perform(plugin=True))"
    )
    status, printed, errors = run("-c", program, folder=tmp_path)
    assert (status, errors) == (1, "")
    assert "✘ the worker ended with status 1 before it was ready" in printed
    assert "no work today" in printed
    assert "Not as promised: " + ", ".join(SCENES) in " ".join(printed.split())


def test_names_the_extra_when_rich_is_missing(tmp_path):
    program = (
        "import sys; sys.modules['rich'] = None; from jobtastic_signals.demo.__main__ import main; main([])"
    )
    status, printed, errors = run("-c", program, folder=tmp_path)
    assert (status, printed) == (2, "")
    assert "pip install 'jobtastic-signals[demo]'" in errors


def test_refuses_an_option_that_it_does_not_have(tmp_path):
    status, _, errors = run(*DEMO, "--with-fireworks", folder=tmp_path)
    assert status == 2
    assert "--with-fireworks" in errors
