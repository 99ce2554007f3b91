"""Tasks that replace themselves by others share the whole, and cache its result."""

from __future__ import annotations

import pytest
from celery import chain

from jobtastic_signals import Result
from tests.support.servers import wait_until
from tests.support.workers.projects import on
from tests.support.workers.rigs import go_on

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90

VALUES = {
    "task": "{}-done",
    "own": "{}-done",
    "chain": "{}-done-more",
    "group": ["{}-done", "ab"],
}


def filled(value, token):
    return [filled(each, token) for each in value] if isinstance(value, list) else value.format(token)


@on("redis-prefork")
@pytest.mark.parametrize("how", VALUES)
def test_a_replaced_task_shares_its_replacement_and_caches_the_result(project, token, how):
    expected = filled(VALUES[how], token)
    work = "works_shared" if how == "own" else "works"
    first = project.dispatches.delay(token, how)
    wait_until(lambda: project.runs(work, token), what="the work")
    second = project.dispatches.delay(token, how)
    tail = chain(project.dispatches.s(token, how), project.shown.s()).delay()
    go_on(project, token)
    assert second.id == first.id
    assert first.get(timeout=TIMEOUT) == expected
    assert tail.get(timeout=TIMEOUT) == repr(expected)
    key = project.key("dispatches", token, how)
    wait_until(lambda: isinstance(project.store.lookup(key), Result), what="the stored result")
    assert project.dispatches.delay(token, how).get(timeout=TIMEOUT) == expected
    assert len(project.runs(work, token, "begins")) == 1
    assert len(project.runs("dispatches", token)) == 1
