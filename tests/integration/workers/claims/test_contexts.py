"""What loggers and tracers see of calls that wait: their own caller's request and trace, each time.

Plain Celery is the control: there a retry is sent again from within a run, too.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.support.servers import wait_until
from tests.support.workers.rigs import running_elsewhere, waits

if "CI" not in os.environ:
    for module in ("django_structlog", "opentelemetry.instrumentation.celery"):
        pytest.importorskip(module)

from tests.support.workers.traced import call_all, read

#: The thorough number shows what happens to one call in a hundred.
calls = pytest.mark.parametrize("calls", [20, pytest.param(200, marks=pytest.mark.thorough)])


@pytest.fixture
def traced(open_rig, tmp_path):
    """Makes a project whose worker and client log and trace into files; with it come both."""

    def make(*, plugin: bool) -> SimpleNamespace:
        rig = open_rig()
        rig.made["plugin"] = plugin
        files = {side: tmp_path / f"{side}.jsonl" for side in ("worker", "client")}
        rig.start(module="traced", concurrency=4, env={"TRACES": str(files["worker"])})

        def call(name, calls):
            context = multiprocessing.get_context("spawn")
            told = context.Queue()
            client = context.Process(
                target=call_all, args=(rig.made, str(files["client"]), name, calls, told)
            )
            client.start()
            traces = told.get(timeout=60)
            client.join()
            return traces

        return SimpleNamespace(rig=rig, client=rig.client, call=call, lines=lambda: read(files["worker"]))

    return make


def assert_own_contexts(lines, traces):
    """Each call logged and traced under its own ids, and was sent again under them."""
    counted: Counter = Counter()
    for line in lines:
        if "log" in line:
            task_id = line.get("child_task_id", line.get("task_id"))
            if task_id in traces:
                assert (line.get("request_id"), line.get("task_id")) == (task_id, task_id), line
                counted[task_id, line["log"]] += 1
        elif line.get("messaging.message.id") in traces:
            task_id = line["messaging.message.id"]
            assert line["trace_id"] == traces[task_id], line
            counted[task_id, line["span"].partition("/")[0]] += 1
    for task_id in traces:
        for what in ("task_started", "task_enqueued", "task_succeeded", "run", "apply_async"):
            assert counted[task_id, what] >= 1, (task_id, what)


def finish(traced, traces):
    """Wait for all results, and for the last lines, which come after them."""
    backend = traced.client.app.backend
    for task_id in traces:
        wait_until(lambda task_id=task_id: backend.get_state(task_id) == "SUCCESS", timeout=90, what=task_id)
    wait_until(lambda: all_ended(traced.lines(), traces), what="the last lines")


def all_ended(lines, traces):
    started = Counter(line["task_id"] for line in lines if line.get("log") == "task_started")
    ended = Counter(
        line.get("messaging.message.id") for line in lines if line.get("span", "").startswith("run/")
    )
    return all(ended[task_id] == started[task_id] for task_id in traces)


@calls
def test_calls_that_wait_log_and_trace_under_their_own_ids(traced, token, calls):
    traced = traced(plugin=True)
    with running_elsewhere(traced.client, "double", token) as owner:
        traces = traced.call("double", {f"{token}-{n}": (token,) for n in range(calls)})
        wait_until(lambda: waits(traced.rig.log(), *traces), timeout=60, what="all waiting")
        owner.fail()
        finish(traced, traces)
    assert len(traces) == len(set(traces.values())) == calls
    assert_own_contexts(traced.lines(), traces)
    assert len(traced.client.runs("double", token)) == 1


@pytest.mark.thorough
@calls
def test_as_retries_of_plain_celery_do(traced, token, calls):
    traced = traced(plugin=False)
    # At once, a busy worker could store that it retries over the success of the retry.
    traces = traced.call("stubborn", {f"{token}-{n}": (f"{token}-{n}", 1, 1) for n in range(calls)})
    finish(traced, traces)
    assert_own_contexts(traced.lines(), traces)
