"""Async code calls as any other: as part of its context and run, in no thread of its event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import signals
from celery.result import EagerResult

from jobtastic_signals import JobtasticError, UnkeyableError, adelay_or_eager, adelay_or_fail
from tests.support.fallbacks import tasks_on
from tests.support.unit_apps import deliver, published


def test_it_publishes_as_part_of_the_context_and_of_the_run(new_app):
    app = new_app()
    _, bare, _ = tasks_on(app)
    colour = contextvars.ContextVar("colour", default="none")
    seen = []

    @app.task(name="outer")
    def outer():
        async def call():
            colour.set("red")
            return (await adelay_or_fail(bare, 1)).id

        return asyncio.run(call())

    def note(sender, headers, **_):
        if sender == "bare":
            seen.append((colour.get(), headers["parent_id"]))

    outer.apply_async(task_id="outer")
    signals.before_task_publish.connect(note)
    try:
        [message] = published(app)
        deliver(app, message)
    finally:
        signals.before_task_publish.disconnect(note)
    assert seen == [("red", "outer")]
    [child] = app.AsyncResult("outer").children
    assert child.id == app.AsyncResult("outer").result


@pytest.mark.parametrize("call", [adelay_or_fail, adelay_or_eager])
def test_the_result_is_read_by_the_backend_of_the_loops_thread(new_app, call):
    for backend in ("cache+memory://", "rpc://"):
        _, bare, _ = tasks_on(new_app(result_backend=backend))
        assert asyncio.run(call(bare, 1)).backend is bare.backend


def test_a_broker_that_is_down_is_answered(new_app, down):
    app = new_app(broker_url=down)
    shared, bare, runs = tasks_on(app)

    async def call():
        return await asyncio.gather(
            adelay_or_fail(bare, 1), shared.adelay_or_eager(2), adelay_or_fail(bare.s(3))
        )

    failed, eager, other = asyncio.run(call())
    assert [failed.state, eager.get(), other.state] == ["FAILURE", 4, "FAILURE"]
    assert isinstance(eager, EagerResult)
    assert runs == [2]


def test_errors_of_the_program_are_raised(new_app):
    shared, _, _ = tasks_on(new_app())
    with pytest.raises(UnkeyableError):
        asyncio.run(adelay_or_fail(shared, object()))
    _, bare, _ = tasks_on(new_app(plugin=False))
    with pytest.raises(JobtasticError):
        asyncio.run(adelay_or_eager(bare, 1))


def test_the_threads_of_the_loop_stay_free(new_app, down):
    """They may be few, and all be waiting for something that this task does."""
    app = new_app(broker_url=down)
    started, go_on = threading.Event(), threading.Event()

    @app.task
    def wait():
        started.set()
        return go_on.wait(60)

    async def call():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        called = [asyncio.ensure_future(adelay_or_eager(wait)) for _ in range(3)]
        assert await loop.run_in_executor(None, started.wait, 60)
        go_on.set()
        return [result.get() for result in await asyncio.gather(*called)]

    assert asyncio.run(call()) == [True] * 3


def test_a_call_goes_on_when_nobody_awaits_it_any_more(new_app):
    app = new_app()
    reached, go_on, done = threading.Event(), threading.Event(), threading.Event()

    @app.task(name="late")
    def late(): ...

    def hold(sender, **_):
        reached.set()
        go_on.wait(60)

    async def call():
        called = asyncio.ensure_future(adelay_or_fail(late))
        while not reached.is_set():
            await asyncio.sleep(0.01)
        called.cancel()
        with pytest.raises(asyncio.CancelledError):
            await called
        go_on.set()

    signals.before_task_publish.connect(hold, sender="late")
    signals.after_task_publish.connect(lambda **_: done.set(), sender="late", weak=False, dispatch_uid="done")
    try:
        asyncio.run(call())
        assert done.wait(60)
    finally:
        signals.before_task_publish.disconnect(hold, sender="late")
        signals.after_task_publish.disconnect(sender="late", dispatch_uid="done")
    assert len(published(app)) == 1
