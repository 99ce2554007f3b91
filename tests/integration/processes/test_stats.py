"""The numbers of tasks, from processes of all kinds, and their export where a library is missing."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobtastic_signals import stats
from tests.support.servers import wait_until
from tests.support.unit_apps import NewApp, store_of
from tests.support.web.servers import serve
from tests.support.workers.projects import ROOT
from tests.support.workers.rigs import Rig

MAIN, CHILDREN, CALLS = 10, 8, 25

AT_EXIT = f"""
import multiprocessing, os, sys
from celery import Celery
from jobtastic_signals import Jobtastic
app = Celery("proj", broker="memory://", backend="cache+memory://")
app.conf.jobtastic_store = sys.argv[1]
Jobtastic(app)

@app.task(name="proj.double", herd_avoidance_timeout=60)
def double(n): ...

def call(times):
    for n in range(times):
        double.delay(f"{{os.getpid()}}, {{n}}")

if __name__ == "__main__":
    call({MAIN})
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=call, args=[{CALLS}]) for _ in range({CHILDREN})]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if not (pid := os.fork()):
        call(1)
        sys.exit()
    os.waitpid(pid, 0)
"""


def test_all_processes_hand_over_when_they_end(new_app: NewApp, tmp_path: Path):
    """The main one, eight children at once, and a child that forks by itself."""
    url = f"disk://{tmp_path}/store"
    program = tmp_path / "program.py"
    program.write_text(AT_EXIT)
    subprocess.run([sys.executable, str(program), url], check=True, env={"PYTHONPATH": str(ROOT)})
    app = new_app(jobtastic_store=url)
    assert stats(app)["proj.double"].calls == MAIN + CHILDREN * CALLS + 1
    store_of(app).close()


@pytest.mark.thorough
def test_a_pool_process_that_is_replaced_hands_over(celery_conf: Callable[[], Any], tmp_path: Path):
    """Celery ends it by ``os._exit``, a second after its last task."""
    url = celery_conf()["result_backend"]
    with ExitStack() as stack:
        rig = Rig(tmp_path, stack, {"broker_url": url, "result_backend": url})
        rig.start("--max-tasks-per-child=1", concurrency=1)
        task, tokens = rig.client.double, [uuid.uuid4().hex for _ in range(4)]
        assert [task.delay(token).get(timeout=60) for token in tokens] == [token * 2 for token in tokens]
        pids = {run["pid"] for token in tokens for run in rig.client.runs("double", token)}
        assert len(pids) == len(tokens)
        wait_until(lambda: stats(rig.client.app)[task.name].runs == len(tokens), what="the numbers")
        assert stats(rig.client.app)[task.name].calls == len(tokens)


@pytest.mark.thorough
def test_the_processes_of_gunicorn_hand_over_when_they_end(
    new_app: NewApp, celery_conf: Callable[[], Any], tmp_path: Path
):
    conf, requests = celery_conf(), 6
    # A process imports much of what it needs with its first call.
    conf.update(broker_url=conf["result_backend"], jobtastic_broker_deadline=60)
    conf.update(jobtastic_store=f"disk://{tmp_path}/store")
    with serve("flask-gthread", conf, tmp_path / "site") as site:
        for number in range(requests):
            assert site.get(f"/start/{number}").status == 200
    app = new_app(jobtastic_store=conf["jobtastic_store"])
    # Each made two calls, as did one request before the fork.
    assert stats(app)["site.add"].calls == 2 * (requests + 1)
    store_of(app).close()


WITHOUT = """
import sys
import jobtastic_signals, jobtastic_signals.metrics
from celery import Celery
assert not [name for name in sys.modules if name.partition(".")[0] in ("prometheus_client", "opentelemetry")]
sys.modules[sys.argv[1]] = None
try:
    getattr(jobtastic_signals.metrics, sys.argv[2])(Celery())
except jobtastic_signals.JobtasticError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "function", "extra"),
    [
        ("prometheus_client", "register_collector", "prometheus"),
        ("opentelemetry.metrics", "export_to_otel", "otel"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(module: str, function: str, extra: str):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, function], capture_output=True, text=True, check=True
    )
    assert f"pip install 'jobtastic-signals[{extra}]'" in done.stdout
