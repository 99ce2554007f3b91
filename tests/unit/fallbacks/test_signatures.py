"""Calls with a fallback take signatures of one task, with all that they say."""

from __future__ import annotations

import pytest
from celery import Signature, chain, chord, group

from jobtastic_signals import (
    JobtasticError,
    async_or_fail,
    delay_or_eager,
    delay_or_fail,
)
from tests.support.fallbacks import tasks_on
from tests.support.unit_apps import deliver, published


def test_a_signature_is_called_with_its_arguments_and_options(new_app):
    app = new_app()

    @app.task(name="plus", herd_avoidance_timeout=60)
    def plus(a, b, c=0):
        return a + b + c

    _, bare, runs = tasks_on(app)
    link = bare.s()
    signature = plus.s(2).set(priority=3, countdown=5, task_id="mine", link=link)
    result = delay_or_fail(signature, 1, c=4)
    assert result.id == "mine"
    [message] = published(app)
    assert message.payload[:2] == [[1, 2], {"c": 4}]
    assert (message.properties["priority"], message.headers["id"]) == (3, "mine")
    assert message.headers["eta"]
    deliver(app, message)
    [linked] = published(app)
    deliver(app, linked)
    assert runs == [7]
    # The signature can be used again.
    assert (signature.args, signature.kwargs) == ((2,), {})


def test_arguments_of_a_call_add_to_those_of_a_signature_unless_it_is_immutable(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    async_or_fail(bare.s(), (1,), priority=7)
    async_or_fail(bare.s(n=2), priority=8)
    delay_or_fail(bare.si(3), 4)
    sent = [(message.payload[:2], message.properties["priority"]) for message in published(app)]
    assert sent == [([[1], {}], 7), ([[], {"n": 2}], 8), ([[3], {}], 0)]


def test_a_signature_runs_here_while_the_broker_is_down(new_app, down):
    app = new_app(broker_url=down)
    shared, bare, runs = tasks_on(app)
    assert delay_or_eager(shared.s(1)).get() == 2
    assert delay_or_eager(bare.s(), n=2).get() == 4
    assert delay_or_fail(bare.si(3)).state == "FAILURE"
    assert runs == [1, 2]


def test_a_signature_that_comes_from_json_is_one_still(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    delay_or_fail(Signature(dict(bare.s(1)), app=app))
    delay_or_fail(bare.map([1, 2]))
    assert [message.headers["task"] for message in published(app)] == ["bare", "celery.map"]


@pytest.mark.parametrize("kind", ["chain", "group", "chord", "chunks"])
@pytest.mark.parametrize("call", [delay_or_fail, delay_or_eager])
def test_several_tasks_are_refused_with_a_way_out(new_app, call, kind):
    app = new_app()
    _, bare, runs = tasks_on(app)
    canvas = {
        "chain": chain(bare.s(1), bare.s()),
        "group": group(bare.s(1), bare.s(2)),
        "chord": chord([bare.s(1)], bare.s()),
        "chunks": bare.chunks([(1,), (2,)], 1),
    }[kind]
    with pytest.raises(TypeError, match=rf"a {kind} is not accepted here.*self\.replace"):
        call(canvas)
    assert published(app) == runs == []


@pytest.mark.parametrize("wrong", ["bare", None, lambda: None, {"task": "bare"}])
def test_what_is_no_task_is_refused(wrong):
    with pytest.raises(TypeError, match=r"a task or the signature of a task is accepted here, not "):
        delay_or_fail(wrong)


def test_an_app_is_refused(new_app):
    with pytest.raises(TypeError, match="a task or the signature of a task"):
        delay_or_fail(new_app())


def test_the_signature_of_an_unknown_task_is_refused(new_app):
    with pytest.raises(TypeError, match=r"'proj\.unknown', which is not registered in this process"):
        delay_or_fail(Signature("proj.unknown", app=new_app()))


def test_a_signature_on_an_app_without_the_plugin_is_refused(new_app):
    _, bare, _ = tasks_on(new_app(plugin=False))
    with pytest.raises(JobtasticError, match=r"enable it with Jobtastic\(app\)"):
        delay_or_fail(bare.s(1))
