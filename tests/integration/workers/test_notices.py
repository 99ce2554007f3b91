"""What the status says of runs in real workers whose host is lost, of ignored results, and of groups."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, chord, group

from jobtastic_signals import Result, status_id
from jobtastic_signals.installation import installation_on
from tests.support.servers import wait_until
from tests.support.workers.project import close, create_app, let_go
from tests.support.workers.projects import celery, on, wait_until_ready, worker

TIMEOUT = 60


@pytest.fixture
def lone(tmp_path, shared) -> Iterator[SimpleNamespace]:
    """A client of a worker that this test may stop, or kill."""
    conf: dict[str, Any] = {
        "broker_url": shared.redis(),
        "result_backend": shared.redis(),
        "jobtastic_store": shared.redis(),
        "jobtastic_lease": 2.0,
    }
    made: dict[str, Any] = {"conf": conf, "journal": str(tmp_path / "journal")}
    log = tmp_path / "worker.log"
    with ExitStack() as stack:
        client = create_app(**made)
        stack.callback(close, client.app)
        client.made, client.store = made, installation_on(client.app).store
        stack.enter_context(worker(made, "prefork", log, concurrency=2))
        wait_until_ready(log)
        yield client


def task_of(site, task_id: str) -> dict[str, Any]:
    reply = site.get(f"/task/{site.token(task_id)}/status/")
    assert reply.status == 200, reply.body
    task: dict[str, Any] = reply.json()["task"]
    return task


def started(client, token: str) -> tuple[str, int]:
    """Return the id of a run that goes on and has been noted, and the process group of its worker."""
    task_id = client.held.delay(token).id
    [run] = wait_until(lambda: client.runs("held", token, "begins"), what="the run")
    wait_until(lambda: isinstance(client.store.lookup(f"task:{task_id}"), Result), what="the note")
    return task_id, os.getpgid(run["pid"])


@pytest.mark.thorough
def test_a_host_that_cannot_be_reached_is_noticed_until_it_can(lone, open_site, tmp_path):
    site = open_site("flask", conf=lone.made["conf"])
    task_id, host = started(lone, "paused")
    shown = tmp_path / "watch.log"
    with celery(lone.made, "worker", shown, "jobtastic", "watch", "--interval", "0.1", task_id) as command:
        os.killpg(host, signal.SIGSTOP)
        try:
            wait_until(lambda: task_of(site, task_id).get("notice") == "host_lost", what="the notice")
            wait_until(lambda: "its worker is lost" in shown.read_text(), what="the remark")
        finally:
            os.killpg(host, signal.SIGCONT)
        wait_until(lambda: "notice" not in task_of(site, task_id), what="the end of the notice")
        let_go(Path(lone.made["journal"]), "paused", 1)
        assert command.wait(TIMEOUT) == 0
    assert "SUCCESS" in shown.read_text()
    task = task_of(site, task_id)
    assert (task["status"], task["result"]) == ("SUCCESS", ["paused", task_id])
    assert "notice" not in task


def test_a_host_that_is_lost_is_noticed(lone, open_site):
    site = open_site("flask", conf=lone.made["conf"])
    task_id, host = started(lone, "killed")
    os.killpg(host, signal.SIGKILL)
    task = wait_until(lambda: (task := task_of(site, task_id)).get("notice") and task, what="the notice")
    assert (task["status"], task["notice"]) == ("STARTED", "host_lost")


@on("redis-prefork")
def test_a_task_that_ignores_its_result_says_so(project, token, open_site):
    site = open_site("flask", conf=project.made["conf"])
    task_id = project.silent.delay(token).id
    wait_until(lambda: task_of(site, task_id).get("notice") == "ignored", what="the notice")
    assert task_of(site, task_id)["status"] == "PENDING"


@on("redis-prefork")
def test_groups_chords_and_chains_have_a_status_over_http(project, token, open_site):
    site = open_site("flask", conf=project.made["conf"])
    steps = [f"{token}-{n}" for n in range(2)]
    canvases = {
        "group": (group(project.told.s(each, 1) for each in steps), [1, 1]),
        "chord": (chord([project.told.s(each, 1) for each in steps], project.total.s()), 2),
        "chain": (chain(project.told.s(steps[0], 1), project.told.si(steps[1], 1)), 1),
    }
    for name, (canvas, value) in canvases.items():
        for each in steps:
            Path(f"{project.made['journal']}-{each}-1").unlink(missing_ok=True)
        task_id = status_id(canvas.apply_async())
        running = wait_until(
            lambda task_id=task_id: (task := task_of(site, task_id))["status"] == "PROGRESS" and task,
            what=f"the start of the {name}",
        )
        assert running["result"]["total"] == {"group": 2, "chord": 3, "chain": 2}[name]
        let_go(Path(project.made["journal"]), steps[0], 1)
        wait_until(
            lambda task_id=task_id: task_of(site, task_id)["result"]["completed"] == 1, what="one that ended"
        )
        assert 0 < task_of(site, task_id)["result"]["progress_percent"] < 100
        let_go(Path(project.made["journal"]), steps[1], 1)
        ended = wait_until(
            lambda task_id=task_id: (task := task_of(site, task_id))["status"] != "PROGRESS" and task,
            what=f"the end of the {name}",
        )
        assert (ended["status"], ended["result"]) == ("SUCCESS", value)
