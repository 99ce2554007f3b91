"""``self.replace``: the claim stays with the id, and the last value is stored for the replaced call."""

from __future__ import annotations

import pytest
from celery import Task, chain, chord, group, states

from jobtastic_signals import Claim, Result
from tests.support.calls import BOTH, HERD
from tests.support.unit_apps import elsewhere, entry_of, execute, key_of, published, real, receive


@pytest.fixture
def runs():
    return []


@pytest.fixture
def tasks(app, runs):
    """Tasks without options, by name."""

    @app.task(name="proj.double", shared=False)
    def double(n):
        runs.append(f"double {n}")
        return 2 * n

    @app.task(name="proj.total", shared=False)
    def total(numbers):
        runs.append("total")
        return sum(numbers)

    @app.task(name="proj.fail", shared=False)
    def fail(n):
        raise KeyError(n)

    @app.task(name="proj.inner", bind=True, shared=False)
    def inner(self, n):
        runs.append("inner")
        return self.replace(double.s(n))

    @app.task(name="proj.shared", shared=False, **BOTH)
    def shared(n):
        runs.append(f"shared {n}")
        return 3 * n

    return {name.partition(".")[2]: task for name, task in app.tasks.items()}


@pytest.fixture
def replaced_by(app, tasks, runs):
    """Returns a task that shares, and replaces itself by what a function makes of the other tasks."""

    def make(make_signature, **options) -> Task:
        @app.task(bind=True, name="proj.replaced", shared=False, **{**BOTH, **options})
        def replaced(self, n):
            runs.append("replaced")
            return self.replace(make_signature(tasks, n))

        return real(replaced)

    return make


def step(app):
    """Deliver what is in the queue now; the names of the tasks."""
    messages = published(app)
    for message in messages:
        execute(receive(app, message))
    return [message.headers["task"] for message in messages]


def work_all(app):
    """Deliver everything, as long as it takes chords to see that their headers have ended."""
    while step(app):
        pass


REPLACEMENTS = {
    "a task without options": (lambda tasks, n: tasks["double"].s(n), 10),
    "a task with options": (lambda tasks, n: tasks["shared"].s(n), 15),
    "a chain": (lambda tasks, n: chain(tasks["double"].s(n), tasks["double"].s(), tasks["shared"].s()), 60),
    "a chord": (lambda tasks, n: chord([tasks["double"].s(n), tasks["double"].s(1)], tasks["total"].s()), 12),
    "a group": (lambda tasks, n: group([tasks["double"].s(n), tasks["double"].s(1)]), [10, 2]),
    "a task that is replaced": (lambda tasks, n: tasks["inner"].s(n), 10),
    "a chain that ends with one": (lambda tasks, n: chain(tasks["double"].s(n), tasks["inner"].s()), 20),
}

each_replacement = pytest.mark.parametrize(("made_of", "value"), REPLACEMENTS.values(), ids=REPLACEMENTS)


@each_replacement
def test_the_value_answers_later_calls_of_the_replaced_task(app, runs, replaced_by, made_of, value):
    task = replaced_by(made_of)
    first = task.delay(5)
    work_all(app)
    assert first.get(timeout=1) == value
    stored = entry_of(task, 5)
    assert isinstance(stored, Result)
    assert stored.owner == first.id
    again = task.delay(5)
    assert (again.id, again.get(timeout=1)) == (first.id, value)
    assert published(app) == []
    assert runs.count("replaced") == 1


@each_replacement
def test_callers_join_the_replacement_while_it_goes_on(app, runs, replaced_by, made_of, value):
    task = replaced_by(made_of)
    first = task.delay(5)
    seen = []
    while messages := published(app):
        for message in messages:
            seen.append(elsewhere(task.delay, 5).id)
            execute(receive(app, message))
    assert set(seen) == {first.id}
    assert runs.count("replaced") == 1
    assert first.get(timeout=1) == value


@each_replacement
def test_another_delivery_of_the_replaced_call_waits_and_is_served(
    app, clock, runs, replaced_by, made_of, value
):
    task = replaced_by(made_of)
    first = task.delay(5)
    own = task.apply_async((5,), task_id="own-of-the-caller")
    head, behind = published(app)
    clock.advance(1)
    execute(receive(app, head))
    assert execute(receive(app, behind)).info.state == states.IGNORED
    work_all(app)
    assert (first.get(timeout=1), own.get(timeout=1)) == (value, value)
    assert runs.count("replaced") == 1


def test_the_value_is_stored_under_the_key_of_the_replaced_call_and_of_the_last_task(
    app, tasks, runs, replaced_by
):
    task = replaced_by(lambda tasks, n: tasks["shared"].s(n))
    first = task.delay(5)
    work_all(app)
    assert entry_of(task, 5).owner == entry_of(tasks["shared"], 5).owner == first.id
    assert tasks["shared"].delay(5).get(timeout=1) == 15
    assert runs == ["replaced", "shared 5"]


def test_a_value_that_is_cached_for_the_last_task_is_the_replaced_calls_too(app, tasks, runs, replaced_by):
    tasks["shared"].delay(5)
    work_all(app)
    task = replaced_by(lambda tasks, n: tasks["shared"].s(n))
    first = task.delay(5)
    work_all(app)
    assert first.get(timeout=1) == 15
    assert entry_of(task, 5).owner == first.id
    assert runs == ["shared 5", "replaced"]


def test_without_a_cache_the_claim_is_free_in_the_end(app, memory, replaced_by):
    task = replaced_by(lambda tasks, n: chain(tasks["double"].s(n), tasks["double"].s()), cache_duration=-1)
    first = task.delay(5)
    step(app)
    assert entry_of(task, 5).owner == first.id
    work_all(app)
    assert first.get(timeout=1) == 20
    assert entry_of(task, 5) is None
    assert task.delay(5).id != first.id


FAILING = {
    "a task": lambda tasks, n: tasks["fail"].s(n),
    "the first of a chain": lambda tasks, n: chain(tasks["fail"].s(n), tasks["double"].s()),
    "the last of a chain": lambda tasks, n: chain(tasks["double"].s(n), tasks["fail"].s()),
    "a header of a chord": lambda tasks, n: chord([tasks["fail"].s(n)], tasks["total"].s()),
    "the body of a chord": lambda tasks, n: chord([tasks["double"].s(n)], tasks["fail"].s()),
}


@pytest.mark.parametrize("made_of", FAILING.values(), ids=FAILING)
def test_a_replacement_that_fails_releases_the_claim(app, replaced_by, made_of):
    task = replaced_by(made_of)
    first = task.delay(5)
    work_all(app)
    assert first.state == states.FAILURE
    assert entry_of(task, 5) is None
    assert task.delay(5).id != first.id


def test_a_replacement_that_is_lost_frees_the_key_with_its_lease(app, clock, replaced_by):
    task = replaced_by(lambda tasks, n: tasks["double"].s(n))
    first = task.delay(5)
    step(app)
    published(app)  # And nobody reads it.
    assert task.delay(5).id == first.id
    clock.advance(30)
    assert task.delay(5).id != first.id


def test_a_replacement_that_runs_keeps_the_claim(app, schedule, runs, tasks, replaced_by):
    seen = []

    @app.task(name="proj.slow", shared=False)
    def slow(n):
        schedule.advance(50)
        seen.append(entry_of(task, n))
        return n

    task = replaced_by(lambda tasks, n: slow.s(n))
    first = task.delay(5)
    work_all(app)
    (claim,) = seen
    assert isinstance(claim, Claim)
    assert claim.owner == first.id
    assert entry_of(task, 5).owner == first.id


def test_each_task_of_a_replacement_begins_and_ends_with_a_whole_lease(app, clock, replaced_by):
    seen = []

    @app.task(name="proj.slow", shared=False)
    def slow(n):
        seen.append(entry_of(task, 5).expires - clock.now)
        clock.advance(7)
        return n

    task = replaced_by(lambda tasks, n: chain(slow.s(n), slow.s(), slow.s()))
    task.delay(5)
    step(app)
    for _ in range(2):
        clock.advance(20)
        assert step(app) == ["proj.slow"]
        assert entry_of(task, 5).expires - clock.now == 30
    assert seen == [30, 30]


def test_what_else_a_replaced_run_publishes_has_no_part_in_its_claim(app, tasks, runs):
    @app.task(bind=True, name="proj.replaced", shared=False, **BOTH)
    def replaced(self, n):
        tasks["fail"].delay(n)
        return self.replace(tasks["double"].s(n))

    first = replaced.delay(5)
    (message,) = published(app)
    execute(receive(app, message))
    for each in published(app):
        if each.headers["task"] == "proj.fail":
            execute(receive(app, each))
            assert entry_of(replaced, 5).owner == first.id
        else:
            rest = each
    execute(receive(app, rest))
    assert entry_of(replaced, 5).owner == first.id
    assert first.get(timeout=1) == 10


def test_what_the_caller_chained_is_no_part_of_the_replaced_calls_value(app, tasks, runs, replaced_by):
    task = replaced_by(lambda tasks, n: tasks["double"].s(n), **HERD)
    chained = chain(task.s(5), tasks["double"].s(), app=app).apply_async()
    work_all(app)
    assert chained.get(timeout=1) == 20
    assert task.delay(5).get(timeout=1) == 10
    assert entry_of(task, 5).owner == chained.parent.id


def test_marks_that_somebody_forged_free_and_store_nothing(app, tasks):
    @app.task(bind=True, name="proj.victim", shared=False, **BOTH)
    def victim(self, n):
        return n

    first = victim.delay(1)
    published(app)
    before = entry_of(victim, 1)
    marks = [
        "text",
        [{"id": first.id}],
        [{"id": first.id, "key": key_of(victim, 1), "task": "proj.victim"}],
        [{"id": first.id, "proof": "0" * 32, "key": key_of(victim, 1), "task": "proj.victim"}],
        [{"id": first.id, "proof": "../message:"}],
        [{"id": first.id, "proof": ["0" * 32]}, 7, None, {}],
        [{"id": "\ud800" * 1000, "proof": "0" * 32}] * 1000,
    ]
    for mark in marks:
        tasks["double"].apply_async((1,), headers={"jobtastic_replaces": mark})
        (message,) = published(app)
        message.headers["jobtastic_replaces"] = mark
        assert execute(receive(app, message)).retval == 2
        assert entry_of(victim, 1) == before
