"""Calls with a fallback are a part of what goes on, and take what they can take."""

from __future__ import annotations

import contextvars
import os
import threading
import time

import pytest
from celery import signals

import jobtastic_signals
from jobtastic_signals import Jobtastic, JobtasticError, async_or_fail, delay_or_eager, delay_or_fail
from jobtastic_signals.support import threads
from tests.support.fallbacks import tasks_on
from tests.support.servers import wait_until
from tests.support.unit_apps import (
    deliver,
    published,
    real,
    work_off,
)

# As part of what goes on


def test_it_publishes_as_part_of_the_context_and_of_the_run(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    colour = contextvars.ContextVar("colour", default=None)
    seen = []

    @app.task(bind=True)
    def outer(self):
        colour.set("red")  # type: ignore[arg-type]
        return delay_or_fail(bare, 1).id

    def note(sender, headers, properties, **_):
        if sender == "bare":
            seen.append((colour.get(), headers["parent_id"], headers["root_id"], properties.get("priority")))

    def sent(sender, **_):
        seen.append(sender)

    app.conf.task_inherit_parent_priority = True
    signals.before_task_publish.connect(note)
    outer.apply_async(task_id="outer", priority=7)
    signals.after_task_publish.connect(sent)
    try:
        [message] = published(app)
        message.headers.setdefault("root_id", "outer")
        deliver(app, message, delivery_info={"priority": 7, "exchange": "", "routing_key": "x"})
    finally:
        signals.before_task_publish.disconnect(note)
        signals.after_task_publish.disconnect(sent)
    assert seen == [("red", "outer", "outer", 7), "bare"]
    [child] = app.AsyncResult("outer").children
    assert child.id == app.AsyncResult("outer").result


def test_a_task_that_calls_itself_does_not_wait_for_itself(new_app):
    app = new_app()
    runs = []

    @app.task(name="again", herd_avoidance_timeout=60)
    def again(n):
        runs.append(n)
        if len(runs) < 3:
            again.delay_or_fail(n)

    again.delay(1)
    work_off(app)
    assert len(runs) == 3


def test_in_eager_mode_tasks_run_as_ever(new_app, down, answers):
    app = new_app(broker_url=down, task_always_eager=True)
    _, bare, _ = tasks_on(app)
    for call in (delay_or_fail, delay_or_eager):
        assert call(bare, 2).get() == 4
    assert answers == []


def test_threads_that_nobody_needs_end(new_app, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.05)
    monkeypatch.setattr(threads, "_idle", {})
    app = new_app()
    _, bare, _ = tasks_on(app)
    for n in range(20):
        assert delay_or_fail(bare, n).state == "PENDING"
        time.sleep(0.05 if n % 4 == 0 else 0)  # Some of them just as the thread ends.
    wait_until(
        lambda: (
            not any(each.name == "jobtastic-call" for each in threading.enumerate())
            or not threads._idle[os.getpid()]
        ),
        what="the end of the threads",
    )
    assert len(published(app)) == 20


# Where the functions are


def test_they_are_methods_of_tasks_with_options(new_app):
    app = new_app()
    shared, bare, _ = tasks_on(app)
    for name in ("delay_or_eager", "delay_or_fail", "async_or_eager", "async_or_fail"):
        assert hasattr(real(shared), name)
        assert not hasattr(real(bare), name)
    Jobtastic().uninstall(app)
    assert not hasattr(real(shared), "delay_or_fail")


def test_a_method_of_the_tasks_own_stays(new_app):
    app = new_app()

    class Own(app.Task):  # type: ignore[name-defined]
        def delay_or_fail(self):
            return "mine"

    @app.task(base=Own, herd_avoidance_timeout=60)
    def own(): ...

    assert own.delay_or_fail() == "mine"
    Jobtastic().uninstall(app)
    assert own.delay_or_fail() == "mine"


def test_an_argument_may_have_any_name(new_app):
    app = new_app()

    @app.task(herd_avoidance_timeout=60)
    def named(task, eagerly=False): ...

    named.delay_or_fail(task=1, eagerly=True)
    delay_or_fail(named, task=2)
    assert [message.payload[1] for message in published(app)] == [{"task": 1, "eagerly": True}, {"task": 2}]


def test_an_app_without_the_plugin_is_refused(new_app):
    app = new_app(plugin=False)
    _, bare, _ = tasks_on(app)
    with pytest.raises(JobtasticError, match=r"enable it with Jobtastic\(app\)"):
        delay_or_fail(bare, 1)


@pytest.mark.parametrize("name", ["producer", "connection"])
def test_a_connection_of_the_callers_is_refused(new_app, name):
    _, bare, _ = tasks_on(new_app())
    with pytest.raises(TypeError, match=name):
        async_or_fail(bare, (1,), **{name: object()})


@pytest.mark.parametrize("deadline", [0, -1, "2", True, float("inf")])
def test_a_wrong_deadline_is_refused(new_app, deadline):
    _, bare, _ = tasks_on(new_app(jobtastic_broker_deadline=deadline))
    with pytest.raises(jobtastic_signals.SettingError, match="a number of seconds above 0"):
        delay_or_fail(bare, 1)


@pytest.mark.parametrize("call", [delay_or_fail, delay_or_eager])
def test_with_rpc_a_result_is_read_by_the_callers_own_backend(new_app, call):
    """Another one would stay subscribed to the caller's queue of replies, and take every other result."""
    shared, bare, _ = tasks_on(new_app(result_backend="rpc://"))
    assert [call(task, 1).backend is task.backend for task in (shared, bare)] == [True, True]
