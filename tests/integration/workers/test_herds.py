"""Many callers at once."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.rare import rare
from tests.support.workers.project import create_app
from tests.support.workers.projects import on

PROCESSES, CALLS = 8, 125
TIMEOUT = 60


def call_many(made: dict[str, Any], name: str, token: str, barrier: Any, results: Any) -> None:
    """What one client process does."""
    task = getattr(create_app(**made), name)
    barrier.wait()
    # Without a cache the run has to go on until the last of them has called, on however slow a machine.
    handed_out = [task.delay(token, 5 if name == "cached" else 30) for _ in range(CALLS)]
    # Once for each id: on Celery 5.4 every get() of what has ended by then takes a second.
    values = {result.id: result for result in handed_out}
    values = {task_id: result.get(timeout=TIMEOUT) for task_id, result in values.items()}
    results.put([values[result.id] for result in handed_out])


@pytest.mark.parametrize(
    ("project", "name"),
    [("redis-prefork", "cached"), rare("filesystem-prefork", "double")],
    indirect=["project"],
)
def test_a_thousand_identical_calls_from_eight_processes_cost_one_run(project, token, name):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    clients = [
        context.Process(target=call_many, args=(project.made, name, token, barrier, results))
        for _ in range(PROCESSES)
    ]
    for client in clients:
        client.start()
    values = [value for _ in clients for value in results.get(timeout=2 * TIMEOUT)]
    for client in clients:
        client.join()
    [run] = project.runs(name, token)
    assert len(values) == PROCESSES * CALLS
    assert {json.dumps(value) for value in values} == {
        json.dumps(token * 2 if name == "double" else [token, run["id"]])
    }


@on("redis-prefork", rarely=["redis-threads"])
def test_different_calls_at_once_each_get_their_own_value(project, token):
    """Eight, for four threads of the worker and eight of the client."""
    with ThreadPoolExecutor(8) as pool:
        arguments = [f"{token}-{n}" for n in range(8)]
        results = list(pool.map(lambda argument: project.cached.delay(argument, 0.2), arguments))
        values = list(pool.map(lambda result: result.get(timeout=TIMEOUT), results))
    assert values == [[argument, result.id] for argument, result in zip(arguments, results, strict=True)]


@on("redis-prefork", rarely=["redis-threads"])
def test_five_hundred_calls_one_after_the_other_without_a_cache_are_five_hundred_runs(project, token):
    """Celery shows a result before the worker has released its claim; no call is given the one before."""
    ids = []
    for _ in range(500):
        result = project.double.delay(token)
        assert result.get(timeout=TIMEOUT) == token * 2
        ids.append(result.id)
    assert len(set(ids)) == 500
    runs = project.runs("double", token)
    assert [run for run in runs if run["id"] not in ids] == []
    assert [run["id"] for run in runs] == ids
