"""Progress in a database whose connections are closed by the server, as by an idle timeout or a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import Celery

from jobtastic_signals import update_progress
from tests.support.progress import run
from tests.support.rare import rare
from tests.support.servers import postgresql_server, running, wait_until
from tests.support.workers.projects import ROOT


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with postgresql_server() as port:
        yield port


def query(port: int, statement: str, *values: Any) -> list[Any]:
    """Return the rows that a connection of its own gets."""
    place = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    with psycopg.connect(place, autocommit=True) as connection:
        found = connection.execute(statement, values)
        return found.fetchall() if found.description else []


def close_connections(port: int, *, last_used_for: str = "") -> int:
    """Let the server close the connections whose last statement had this text. Return how many there were."""
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
    return len(
        query(port, f"SELECT pg_terminate_backend(pid) {others} AND query LIKE %s", f"%{last_used_for}%")
    )


@pytest.mark.thorough
def test_background_progress_recovers_in_django(port, redis_url, tmp_path):
    """With django-celery-results, where each thread keeps a connection for as long as it can."""
    module = "tests.support.workers.django_results"
    env = {
        "POSTGRESQL_PORT": str(port),
        "BROKER": f"{redis_url}/9",
        "PYTHONPATH": str(ROOT),
        "C_FORCE_ROOT": "1",
    }
    subprocess.run([sys.executable, "-m", module], env={**os.environ, **env}, check=True)
    client = Celery(broker=f"{redis_url}/9", set_as_current=False)
    worker = [sys.executable, "-m", "celery", "-A", module, "worker", "-c", "1", "--without-mingle"]

    def progress_of(task_id: str) -> Any:
        rows = query(
            port, "SELECT status, result FROM django_celery_results_taskresult WHERE task_id = %s", task_id
        )
        return [(status, json.loads(result)) for status, result in rows]

    def report(n: int) -> None:
        over = tmp_path / str(n)
        result = client.send_task("quiet", (str(over),))
        wait_until(lambda: "held back" in str(progress_of(result.id)), what=f"what run {n} has held back")
        over.touch()
        wait_until(lambda: progress_of(result.id) == [("SUCCESS", "well")], what=f"the end of run {n}")

    with running(worker, tmp_path / "worker.log", env):
        report(1)
        assert close_connections(port, last_used_for="PROGRESS") > 0
        for n in (2, 3):
            report(n)
    client.close()
    assert "could not be written" not in Path(tmp_path / "worker.log").read_text()


@pytest.mark.parametrize("is_kept", [True, rare(False)], ids=["connections are kept", "and not"])
def test_background_progress_recovers_with_sqlalchemy(new_app, port, is_kept):
    url = f"db+postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    app = new_app(result_backend=url, database_short_lived_sessions=not is_kept)
    seen = []

    def body(self):
        result = app.AsyncResult(self.request.id)
        for n in range(1, 4):
            update_progress(2 * n - 1, 10)
            update_progress(2 * n, 10)
            wait_until(lambda n=n: dict(result.info or {}).get("completed") == 2 * n, what=f"update {n}")
            seen.append(n)
            close_connections(port)
        return "well"

    run(app, body)
    assert seen == [1, 2, 3]
