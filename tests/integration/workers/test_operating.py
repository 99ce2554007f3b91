"""What operators see of a real worker, and change."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import commands
from tests.support.workers.project import let_go
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on


def jobtastic(project, folder, *words, **how):
    """``celery -A ... jobtastic ...``, running, on the project of a worker."""
    told = {"app": "tests.support.workers.worker", "TEST_PROJECT": json.dumps(project.made)}
    return commands.started(folder, "jobtastic", *words, **told, **how)


def run(project, folder, *words):
    """Its exit status, and the JSON that it printed."""
    with jobtastic(project, folder, *words, "--json") as command:
        status, errors = command.end()
    assert errors == ""
    return status, json.loads(command.printed)


@on("redis-prefork")
def test_runs_are_listed_watched_and_released(project, tmp_path, token):
    name = project.told.name
    with jobtastic(project, tmp_path, "watch", name, "--interval", "0.1") as watching:
        first = project.told.delay(token, 2)
        watching.wait_for(f"{name}  {first.id}  PROGRESS  0 %")
        joined = project.told.delay(token, 2)
        assert joined.id == first.id
        _, rows = run(project, tmp_path, "list", "--task", name)
        (row,) = [row for row in rows if row["owner"] == first.id]
        assert (row["key"], row["state"], row["waiting"]) == (project.key("told", token, 2), "running", 1)
        # The name that Celery gives to the worker.
        assert f"{row['worker']} ready." in project.log.read_text()
        # Another run appears by itself.
        other = project.held.delay(f"{token}-held")
        second = project.told.delay(f"{token}-second", 1)
        watching.wait_for(f"{name}  {second.id}  PROGRESS  0 %")
        go_on(project, token)
        watching.wait_for(f"{name}  {first.id}  PROGRESS  50 %")
        let_go(Path(project.made["journal"]), token, 2)
        watching.wait_for(f"{name}  {first.id}  SUCCESS  2\n")
    assert other.id not in watching.printed
    status, answer = run(project, tmp_path, "release", "--owner", other.id)
    assert (status, [each["state"] for each in answer["released"]]) == (0, ["running"])
    go_on(project, f"{token}-held")
    go_on(project, f"{token}-second")
    assert other.get(timeout=60) == [f"{token}-held", other.id]
    second.get(timeout=60)


@on("redis-prefork")
def test_purged_messages_leave_no_claims(project, tmp_path, token):
    queue = f"purged-{token}"
    lost = project.double.apply_async((token,), queue=queue)
    assert project.double.apply_async((token,), queue=queue).id == lost.id
    status, answer = run(project, tmp_path, "purge", "--force", queue)
    assert (status, answer["queues"], answer["messages"]) == (0, [queue], 1)
    assert answer["freed"] >= 1
    # Nothing is joined that never comes.
    again = project.double.delay(token)
    assert again.id != lost.id
    assert again.get(timeout=60) == token * 2
