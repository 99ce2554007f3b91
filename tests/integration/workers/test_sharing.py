"""Calls that share one run, with real workers."""

from __future__ import annotations

import pytest
from celery import chain, chord, group

from tests.support.servers import wait_until
from tests.support.workers.projects import OFTEN, SETUPS, on

TIMEOUT = 60


@on(*OFTEN, rarely=sorted({*SETUPS} - {*OFTEN}))
def test_a_double_click_costs_one_run(project, token):
    first, second = project.double.delay(token, 0.5), project.double.delay(token, 0.5)
    assert first.id == second.id
    assert first.get(timeout=TIMEOUT) == second.get(timeout=TIMEOUT) == token * 2
    assert len(project.runs("double", token)) == 1


def test_a_later_call_is_answered_from_the_cache(project, token):
    value = project.cached.delay(token).get(timeout=TIMEOUT)
    later = project.cached.delay(token)
    assert later.get(timeout=TIMEOUT) == value == [token, later.id]
    assert len(project.runs("cached", token)) == 1


def test_two_chains_with_an_equal_head_both_finish_with_their_own_tails(project, token):
    chains = [chain(project.double.s(token, 0.5), project.plus.s(f"-{tail}")).delay() for tail in "ab"]
    assert [each.get(timeout=TIMEOUT) for each in chains] == [f"{token * 2}-a", f"{token * 2}-b"]
    assert len(project.runs("double", token)) == 1


@on("redis-prefork", "rabbitmq-prefork", rarely=["filesystem-prefork"])
@pytest.mark.parametrize("name", ["double", "cached"])
def test_a_group_with_equal_members_completes_cold_and_cached(project, token, name):
    task = getattr(project, name)
    for _ in ("cold", "cached"):
        values = group(task.s(token, 0.3) for _ in range(3)).delay().get(timeout=TIMEOUT)
        assert values[0] == values[1] == values[2]
    assert len(project.runs(name, token)) == (1 if name == "cached" else 2)


def test_a_chord_with_equal_members_completes_cold_and_cached(project, token):
    members = [project.only_number.s(token, 0.3) for _ in range(3)]
    for _ in ("cold", "cached"):
        assert chord(members)(project.total.s(token)).get(timeout=TIMEOUT) == 21
    assert len(project.runs("only_number", token)) == 1
    assert len(project.runs("total", token)) == 2


def test_a_link_fires_on_a_served_call(project, token):
    value = project.cached.delay(token).get(timeout=TIMEOUT)
    project.cached.apply_async((token,), link=project.mark.s(token))
    wait_until(lambda: project.runs("mark", value, token), what="the link")
    assert len(project.runs("cached", token)) == 1


def test_the_callers_own_task_id_is_honoured(project, token):
    results = [project.double.apply_async((token, 0.3), task_id=f"{token}-{n}") for n in range(2)]
    assert [result.id for result in results] == [f"{token}-0", f"{token}-1"]
    assert [result.get(timeout=TIMEOUT) for result in results] == [token * 2] * 2
    assert len(project.runs("double", token)) == 1
