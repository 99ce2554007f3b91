"""The generation rule: a run answers every identical call that was made before it began."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import signals, states

from jobtastic_signals import Result
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, publishes
from tests.support.unit_apps import (
    deliver,
    elsewhere,
    entry_of,
    execute,
    key_of,
    published,
    real,
    receive,
    work_off,
)

HOUR = 3600.0

each_way = pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])


def add_task(app, body, **options):
    """A bound task that notes the ids under which its body runs."""
    task = real(app.task(body, bind=True, name="proj.task", shared=False, **options))
    return task


def counting(runs, meanwhile=lambda: None):
    def body(self, n):
        runs.append(self.request.id)
        meanwhile()
        return [n, len(runs)]

    return body


def kept_result(memory, task):
    """Return the result that the store has, whether or not it answers new callers."""
    return memory.read(key_of(task, 1)).result


def call_dependent(task):
    return task.apply_async((1,), task_id=uuid.uuid4().hex)


# Before the run began.


@each_way
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_it_answers_calls_that_were_made_before_in_whatever_order_they_arrive(app, clock, options, order):
    runs = []
    task = add_task(app, counting(runs), **options)
    calls = [task.delay(1), call_dependent(task), call_dependent(task)]
    messages = published(app)
    for position in order:
        clock.advance(5)
        execute(receive(app, messages[position]))
    assert runs == [calls[order[0]].id]
    assert published(app) == []
    assert [call.get(timeout=1) for call in calls] == [[1, 1]] * 3


@each_way
def test_it_answers_a_call_whose_message_comes_again_after_its_own_run(app, clock, options):
    """Made before the first run, as its stamp says."""
    runs = []
    task = add_task(app, counting(runs), **options)
    task.delay(1)
    call_dependent(task)
    first, second = published(app)
    clock.advance(1)
    execute(receive(app, second))
    for _ in range(2):
        execute(receive(app, first))
    assert len(runs) == 1


# During the run.


@each_way
def test_a_plain_call_during_the_run_joins_it(app, options):
    runs: list[Any] = []
    joined: list[Any] = []
    task: Any = add_task(app, counting(runs, lambda: joined.append(elsewhere(task.delay, 1))), **options)
    first = task.delay(1)
    work_off(app)
    assert runs == [first.id] == [each.id for each in joined]
    assert joined[0].get(timeout=1) == [1, 1]


@each_way
def test_a_dependent_call_that_arrives_during_the_run_waits_and_is_served(app, clock, options):
    runs, ends = [], []

    def meanwhile():
        clock.advance(1)
        later = elsewhere(call_dependent, task)
        (message,) = published(app)
        ends.append((later, elsewhere(lambda: execute(receive(app, message)))))

    task = add_task(app, counting(runs, meanwhile), **options)
    first = task.delay(1)
    (message,) = published(app)
    execute(receive(app, message))
    ((later, ended),) = ends
    assert ended.info.state == states.IGNORED
    clock.advance(1)
    assert work_off(app) == [later.id]
    assert runs == [first.id]
    assert later.get(timeout=1) == [1, 1]


def test_a_dependent_call_during_the_run_that_arrives_after_it_is_answered_by_it(app, clock):
    """It met the running claim when it was made, so it has joined that run."""
    runs, made = [], []

    def meanwhile():
        clock.advance(1)
        if not made:
            made.append(elsewhere(call_dependent, task))

    task = add_task(app, counting(runs, meanwhile), **HERD)
    first = task.delay(1)
    clock.advance(1)
    work_off(app)
    assert runs == [first.id]
    assert made[0].get(timeout=1) == first.get(timeout=1)


# After the run.


def test_without_a_cache_a_call_after_the_run_is_not_answered(app, clock):
    runs = []
    task = add_task(app, counting(runs), **HERD)
    first = task.delay(1)
    clock.advance(1)
    work_off(app)
    clock.advance(1)
    second = task.delay(1)
    assert second.id != first.id
    work_off(app)
    assert runs == [first.id, second.id]


def test_a_result_that_is_kept_for_earlier_calls_answers_no_later_one(app, memory, clock):
    runs = []
    task = add_task(app, counting(runs), **HERD)
    task.delay(1)
    call_dependent(task)
    first, second = published(app)
    clock.advance(1)
    execute(receive(app, first))
    assert kept_result(memory, task) is not None
    clock.advance(1)
    assert publishes(lambda: task.delay(1))
    dependent = call_dependent(task)
    clock.advance(1)
    work_off(app)
    assert runs == [first.headers["id"], dependent.id]
    execute(receive(app, second))
    assert len(runs) == 2, "made before both runs"


def test_a_message_that_does_not_say_when_it_was_called_is_as_if_called_now(app, clock):
    """As one of ``send_task`` or of a foreign client."""
    runs = []
    task = add_task(app, counting(runs), **HERD)
    app.send_task(task.name, (1,), task_id="foreign")
    (foreign,) = published(app)
    first = task.delay(1)
    call_dependent(task)
    clock.advance(1)
    deliver(app, published(app)[0])
    clock.advance(1)
    deliver(app, foreign)
    assert runs == [first.id, "foreign"]


@pytest.mark.parametrize("asks", ["delay", "a message"])
def test_with_a_cache_it_answers_later_calls_until_the_duration_has_passed(app, clock, asks):
    runs = []
    task = add_task(app, counting(runs), herd_avoidance_timeout=60, cache_duration=100)

    def call():
        if asks == "delay":
            task.delay(1)
        else:
            call_dependent(task)
        clock.advance(0.25)
        work_off(app)

    call()
    clock.advance(99)
    call()
    assert len(runs) == 1
    clock.advance(1)
    call()
    assert len(runs) == 2


@pytest.mark.usefixtures("schedule")
def test_it_does_not_answer_a_call_after_its_success_however_late_that_is_stored(
    app, memory, clock, monkeypatch
):
    """The store makes the process wait, so it takes the run for one that began later than it did."""
    runs: list[Any] = []
    again: list[Any] = []
    task = add_task(app, counting(runs), **HERD)
    complete = memory.complete

    def complete_late(*given, **named):
        clock.advance(1)
        return complete(*given, **named)

    def call_again(**_):
        if not again:
            again.append(elsewhere(task.delay, 1))

    monkeypatch.setattr(memory, "complete", complete_late)
    first = task.delay(1)
    signals.task_success.connect(call_again)
    work_off(app)
    assert runs == [first.id, again[0].id]
    assert again[0].get(timeout=1) == [1, 2]


# What is kept.


def test_a_result_that_nobody_waits_for_is_not_kept(app, memory):
    task = add_task(app, counting([]), **HERD)
    task.delay(1)
    task.delay(1)
    work_off(app)
    assert kept_result(memory, task) is None
    assert list(memory.entries()) == []


@pytest.mark.parametrize("how", ["it displaced a claim", "a dependent call", "a delivery that waits"])
def test_a_result_that_messages_rely_on_is_kept_for_an_hour(app, memory, clock, how):
    def meanwhile():
        if how == "a delivery that waits":
            elsewhere(lambda: execute(receive(app, message)))

    task = add_task(app, counting([], meanwhile), **HERD)
    task.delay(1)
    if how == "a dependent call":
        call_dependent(task)
    elif how == "it displaced a claim":
        clock.advance(31)
        task.delay(1)
    message, *_ = published(app)
    execute(receive(app, message))
    kept = kept_result(memory, task)
    assert (kept.expires, kept.kept) == (clock.now, clock.now + HOUR)
    assert entry_of(task, 1) is None


def test_after_that_hour_an_earlier_call_runs(app, clock):
    runs = []
    task = add_task(app, counting(runs), **HERD)
    task.delay(1)
    call_dependent(task)
    first, second = published(app)
    clock.advance(1)
    execute(receive(app, first))
    clock.advance(HOUR)
    execute(receive(app, second))
    assert len(runs) == 2


def test_a_failure_answers_nobody(app, memory, clock):
    runs = []

    def body(self, n):
        runs.append(self.request.id)
        raise KeyError(n)

    task = add_task(app, body, **BOTH)
    first, second = task.delay(1), call_dependent(task)
    clock.advance(1)
    work_off(app)
    assert runs == [first.id, second.id]
    assert kept_result(memory, task) is None


def test_without_herd_avoidance_nothing_is_claimed_and_runs_overlap(app):
    double = add_tasks(app, **CACHE)
    first, second = double.delay(1), double.delay(1)
    assert first.id != second.id
    assert entry_of(double, 1) is None
    assert work_off(app) == [first.id, second.id]
    assert isinstance(entry_of(double, 1), Result)


@each_way
def test_a_run_never_answers_a_call_with_other_arguments(app, clock, options):
    runs = []
    task = add_task(app, counting(runs), **options)
    first, other = task.delay(1), task.delay(2)
    clock.advance(1)
    work_off(app)
    assert runs == [first.id, other.id]
    assert (first.get(timeout=1)[0], other.get(timeout=1)[0]) == (1, 2)
