"""The commands for operators on the oldest Celery that is supported, with a worker of it."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import environment, run, started, without_codes
from tests.support.servers import running, wait_until
from tests.support.workers.projects import ENDS_BY

#: A run goes on until there is a file of the name that it gets.
PROJECT = """
import os, time
from celery import Celery
from jobtastic_signals import Jobtastic, update_progress
app = Celery("proj", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.jobtastic_store = os.environ["STORE"]
Jobtastic(app)
@app.task(herd_avoidance_timeout=60, cache_duration=60)
def report(name):
    update_progress(1, 4)
    while not os.path.exists(name):
        time.sleep(0.01)
    return name
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with Celery 5.4 and what else the package needs; the package itself is that of the tests."""
    folder = tmp_path_factory.mktemp("celery") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    needed = ["celery==5.4.*", "kombu[redis]>=5.4", "blinker>=1.8", "diskcache>=5.6", "platformdirs>=4"]
    command = [str(python), "-m", "pip", "install", "--quiet", *needed, "psutil>=5.9", "redis>=5"]
    subprocess.run(command, check=True, timeout=600)
    return python


@pytest.mark.exhaustive
def test_the_commands_work_on_celery_5_4(python: Path, shared: Any, tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(PROJECT)
    places = {"BROKER": shared.redis(), "BACKEND": shared.redis(), "STORE": f"disk://{tmp_path}/store"}
    how: dict[str, Any] = {"python": str(python), "COVERAGE_PROCESS_CONFIG": None, **places}

    def jobtastic(*words: str, **more: Any) -> tuple[int, str]:
        status, printed, errors = run(tmp_path, "jobtastic", *words, **how, **more)
        assert errors == ""
        return status, printed

    def execute(code: str) -> str:
        env = environment(tmp_path, **places, COVERAGE_PROCESS_CONFIG=None)
        return subprocess.check_output([str(python), "-c", code], env=env, cwd=tmp_path, text=True).strip()

    def call(name: str) -> str:
        return execute(f"import proj; print(proj.report.delay({name!r}).id)")

    log, go = tmp_path / "worker.log", tmp_path / "go"
    worker = [str(python), "-m", "celery", "-A", "proj", "worker", "--pool=threads", "--concurrency=1"]
    env = {**environment(tmp_path, **places, COVERAGE_PROCESS_CONFIG=None), "C_FORCE_ROOT": "1"}
    assert jobtastic("--help")[0] == 0
    with running([*worker, "--loglevel=INFO"], log, env, by=ENDS_BY):
        wait_until(lambda: b" ready." in log.read_bytes(), timeout=60, what="the worker")
        execute("import proj; from jobtastic_signals import stats; stats(proj.app)")  # There is a store now.
        with started(tmp_path, "jobtastic", "watch", "proj.report", "--interval=0.1", **how) as watching:
            owner = call(str(go))
            watching.wait_for(f"proj.report  {owner}  PROGRESS  25 %")
            assert call(str(go)) == owner
            (row,) = json.loads(jobtastic("list", "--json")[1])
            assert (row["owner"], row["state"], row["waiting"]) == (owner, "running", 1)
            assert "25 %" in jobtastic("top")[1]
            call("another")
            assert jobtastic("purge", "--force")[1].endswith("of celery, and freed 1 claim.\n")
            go.touch()
            watching.wait_for(f"proj.report  {owner}  SUCCESS")
        _, printed = jobtastic("show", "proj.report", str(go))
        assert printed.splitlines()[-1] == f"value     {str(go)!r}"
        assert jobtastic("explain", "proj.report", str(go))[0] == 0
        printed = without_codes(jobtastic("list", columns=80)[1])
        assert max(map(len, printed.splitlines())) <= 80
        assert jobtastic("forget", "--all", "proj.report")[0] == 0
