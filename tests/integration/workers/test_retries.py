"""Retries go on as without the plugin."""

from __future__ import annotations

import json

import pytest

from jobtastic_signals import Result
from tests.support.servers import wait_until
from tests.support.workers.projects import on

TIMEOUT = 60

#: JSON changes these on their way to the worker, so caller and worker see different values.
AWKWARD = [("x", 1, (2, 3)), {1: "one", "2": "two"}]


@pytest.mark.parametrize("name", ["stubborn", "flaky"])
def test_a_task_that_retries_runs_until_it_succeeds(project, token, name):
    result = getattr(project, name).delay(token, 2)
    assert result.get(timeout=TIMEOUT) == [token, 2]
    assert [(run["id"], run["retries"]) for run in project.runs(name, token)] == [
        (result.id, 0),
        (result.id, 1),
        (result.id, 2),
    ]


@on("redis-prefork")
@pytest.mark.parametrize("name", ["stubborn", "flaky"])
@pytest.mark.parametrize("awkward", AWKWARD)
def test_arguments_that_json_changes_do_not_disturb_a_retry(project, token, name, awkward):
    argument = {**awkward, "token": token} if isinstance(awkward, dict) else (*awkward, token)
    delivered = json.loads(json.dumps(argument))
    result = getattr(project, name).delay(argument, 1)
    assert result.get(timeout=TIMEOUT) == [delivered, 1]
    assert len(project.runs(name, delivered)) == 2
    assert_free(project, name, argument, 1)


@on("redis-prefork", rarely=["rabbitmq-prefork"])
def test_identical_calls_share_a_run_that_retries(project, token):
    results = [project.stubborn.delay(token, 2, 0.3) for _ in range(2)]
    wait_until(lambda: len(project.runs("stubborn", token)) >= 2, what="the first retry")
    results.append(project.stubborn.delay(token, 2, 0.3))
    assert len({result.id for result in results}) == 1
    assert results[0].get(timeout=TIMEOUT) == [token, 2]
    assert len(project.runs("stubborn", token)) == 3


@on("redis-prefork")
def test_a_task_that_gives_up_retrying_frees_its_key(project, token):
    result = project.stubborn.delay(token, 99, 0.01)
    assert type(result.get(timeout=TIMEOUT, propagate=False)).__name__ == "MaxRetriesExceededError"
    assert len(project.runs("stubborn", token)) == 6
    assert_free(project, "stubborn", token, 99, 0.01)


@on("redis-prefork")
def test_a_task_that_schedules_itself_again_goes_on(project, token):
    project.again.delay(token, 3)
    wait_until(lambda: len(project.runs("again", token)) == 3, what="the third run")
    assert len({run["id"] for run in project.runs("again", token)}) == 3


@on("redis-prefork", "redis-threads")
def test_what_a_run_returns_after_it_asked_for_a_retry_is_not_its_result(project, token):
    """``retry(throw=False)`` lets the body go on. What it returns then is nobody's answer."""
    first = project.polls.delay(token)
    wait_until(lambda: len(project.runs("polls", token)) == 3, what="the third run")
    key = project.key("polls", token)
    wait_until(lambda: isinstance(project.store.lookup(key), Result), what="the stored result")
    assert project.polls.delay(token).get(timeout=TIMEOUT) == "done"
    assert {run["id"] for run in project.runs("polls", token)} == {first.id}
    assert len(project.runs("polls", token)) == 3


def assert_free(project, name, *args):
    """Nobody has a claim on such a call, a moment later at most."""
    key = project.key(name, *args)
    wait_until(lambda: project.store.lookup(key) is None, what="the release of the claim")
