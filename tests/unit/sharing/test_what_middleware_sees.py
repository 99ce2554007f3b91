"""A middleware of the user's own sees every call, however it is answered, by public names alone."""

from __future__ import annotations

import uuid

import pytest
from celery import states
from kombu.exceptions import OperationalError

from jobtastic_signals import Call, Middleware, Option, Run, Served
from tests.support.calls import BOTH, HERD, add_tasks, producer_of, refuse
from tests.support.unit_apps import execute, key_of, published, receive, store_of, use_store, work_off


class Seeing(Middleware):
    """Notes each call and run, and what became of it."""

    options = (Option("team", default="nobody", accepts="the name of a team", parse=str),)

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []
        self.runs: list[tuple[str, str | None]] = []
        self.results: list[str] = []
        self.last: Call | Run | None = None

    def after_answer(self, call, result):
        self.last = call
        self.calls.append(("answered", call.answered_by))
        self.results.append(result.id)

    def before_publish(self, call):
        self.last = call
        self.calls.append(("published", call.answered_by))

    def publish_failed(self, call):
        self.calls.append(("failed", call.answered_by))

    def before_run(self, run):
        self.last = run
        self.runs.append(("before", type(run.decision).__name__ if run.decision else None))

    def before_body(self, run):
        self.runs.append(("body", run.id))

    def after_run(self, run, state, value):
        self.runs.append(("after", state))


@pytest.fixture
def seeing():
    return Seeing()


@pytest.fixture
def app(new_app, memory, seeing):
    app = new_app(middleware=(seeing,))
    use_store(app, memory)
    return app


def test_it_sees_calls_that_are_published_that_join_and_that_a_result_answers(app, seeing):
    double = add_tasks(app, **BOTH)
    first = double.delay(1)
    double.delay(1)
    work_off(app)
    double.delay(1)
    assert seeing.calls == [("published", None), ("answered", "run"), ("answered", "result")]
    assert seeing.results == [first.id, first.id]


def test_it_sees_each_call_once_in_whatever_way_it_is_made(app, seeing):
    double = add_tasks(app, **BOTH)
    double.delay(1)
    double.apply_async((2,), task_id=uuid.uuid4().hex)
    double.apply_async((3,), countdown=60)
    with producer_of(app, refuse) as producer, pytest.raises(OperationalError):
        double.apply_async((4,), producer=producer)
    published = ("published", None)
    assert seeing.calls == [published, published, published, published, ("failed", None)]


def test_a_call_that_was_answered_says_all_that_is_known_of_it(app, seeing):
    double = add_tasks(app, team="web", **HERD)
    first = double.delay(1)
    double.delay(1)
    call = seeing.last
    assert isinstance(call, Call)
    assert (call.task, call.key, call.plain) == (double, key_of(double, 1), True)
    assert call.policy["team"] == "web"
    assert call.id != first.id


def test_a_call_that_an_owner_which_has_ended_answers_no_more_is_published(app, seeing, clock):
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    double.backend.store_result(first.id, KeyError("x"), states.FAILURE)
    double.delay(1)
    assert seeing.calls == [("published", None), ("published", None)]


def test_a_later_middleware_sees_a_call_that_it_answers_itself(new_app, memory):
    class Answering(Seeing):
        def answer(self, call):
            return call.task.AsyncResult("elsewhere")

    answering = Answering()
    app = new_app(middleware=(answering,))
    use_store(app, memory)
    double = add_tasks(app, **HERD)
    assert double.delay(1).id == "elsewhere"
    assert (answering.calls, answering.results) == ([("answered", None)], ["elsewhere"])


def test_what_goes_wrong_after_an_answer_does_not_reach_the_caller(new_app, memory, caplog):
    class Broken(Middleware):
        def after_answer(self, call, result):
            raise RuntimeError("a broken hook")

    app = new_app(middleware=(Broken(),))
    use_store(app, memory)
    double = add_tasks(app, **HERD)
    first = double.delay(1)
    assert double.delay(1).id == first.id
    assert "after_answer of <" in caplog.text
    assert "a broken hook" in caplog.text


def test_it_sees_runs_that_run_that_are_served_and_that_wait(app, seeing, clock):
    double = add_tasks(app, **BOTH)
    first = double.delay(1)
    double.apply_async((1,), task_id=uuid.uuid4().hex)
    clock.advance(1)
    work_off(app)
    assert seeing.runs == [
        ("before", None),
        ("body", first.id),
        ("after", states.SUCCESS),
        ("before", "Served"),
        ("after", states.SUCCESS),
    ]
    run = seeing.last
    assert isinstance(run, Run)
    assert run.decision == Served(2)
    seeing.runs.clear()
    store_of(app).claim(key_of(double, 2), "owner", "owner/1", 60)
    double.apply_async((2,), task_id=uuid.uuid4().hex)
    execute(receive(app, published(app)[0]))
    assert seeing.runs == [("before", "Wait"), ("after", states.IGNORED)]


def test_a_middleware_can_take_a_decision_back_and_let_the_body_run(new_app, memory):
    class Insisting(Middleware):
        def before_run(self, run):
            if isinstance(run.decision, Served):
                run.decision = None

    app = new_app(middleware=(Insisting(),))
    use_store(app, memory)
    runs = []

    @app.task(shared=False, **BOTH)
    def counted(n):
        runs.append(n)

    counted.apply((1,))
    counted.apply((1,))
    assert runs == [1, 1]
