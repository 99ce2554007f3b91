"""What ``apply_async`` does with a call: answer it by what there is, or publish it."""

from __future__ import annotations

import time
import uuid

import pytest
from celery import chain, chord, group, states
from celery.exceptions import TaskRevokedError

from jobtastic_signals import JobtasticError, forget
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, publishes
from tests.support.unit_apps import (
    entry_of,
    key_of,
    published,
    store_of,
    use_store,
    work_off,
)

# Joining, and stored results.


def test_a_call_joins_a_message_that_is_on_its_way(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    assert entry_of(double, 21).owner == first.id
    again = [double.delay(21), double.delay(n=21), double.apply_async((21, 0)), double.s(21).delay()]
    assert {result.id for result in again} == {first.id}
    assert not any(result.ready() for result in again)
    assert double.delay(22).id != first.id
    assert len(published(app)) == 2


def test_a_call_is_answered_by_a_stored_result(new_app):
    app = new_app()
    double = add_tasks(app, **CACHE)
    first = double.delay(21)
    assert work_off(app) == [first.id]
    again = double.delay(n=21)
    assert again.id == first.id
    assert (again.get(timeout=1), again.state, again.successful()) == (42, "SUCCESS", True)
    assert published(app) == []


def test_a_value_that_answers_a_call_needs_no_second_read(new_app, monkeypatch):
    app = new_app()
    double = add_tasks(app, **CACHE)
    double.delay(21)
    work_off(app)
    answered = double.delay(21)
    monkeypatch.setattr(double.backend, "get", lambda key: pytest.fail("read again"))
    assert answered.get(timeout=1) == 42


@pytest.mark.parametrize("options", [HERD, CACHE])
def test_each_option_does_its_own_part_only(new_app, options):
    app = new_app()
    double = add_tasks(app, **options)
    first, second = double.delay(1), double.delay(1)
    assert (first.id == second.id) == (options is HERD)
    work_off(app)
    assert (double.delay(1).id in {first.id, second.id}) == (options is CACHE)


@pytest.mark.parametrize(
    ("state", "value", "caches", "joined"),
    [
        (states.PENDING, None, False, True),
        (states.STARTED, None, False, True),
        (states.RETRY, KeyError("x"), False, True),
        ("PROGRESS", {"done": 1}, False, True),
        (states.FAILURE, KeyError("x"), False, False),
        (states.FAILURE, KeyError("x"), True, False),
        (states.REVOKED, TaskRevokedError("x"), True, False),
        (states.SUCCESS, 42, False, False),
        (states.SUCCESS, 42, True, True),
    ],
)
def test_the_result_backend_says_whether_an_owner_has_ended(new_app, state, value, caches, joined):
    """Its release was lost, or is still to come; its claim is taken over at once."""
    app = new_app()
    double = add_tasks(app, **(BOTH if caches else HERD))
    first = double.delay(21)
    if state != states.PENDING:
        double.backend.store_result(first.id, value, state)
    second = double.delay(21)
    assert (second.id == first.id) is joined
    assert entry_of(double, 21).owner == second.id
    assert len(published(app)) == (1 if joined else 2)
    if joined and state == states.SUCCESS:
        assert second.get(timeout=1) == 42


def test_a_lapsed_claim_is_taken_over(new_app, clock):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))
    double = add_tasks(app, **HERD)
    first = double.delay(21)
    clock.advance(31)
    second = double.delay(21)
    assert first.id != second.id
    assert entry_of(double, 21).owner == second.id


@pytest.mark.parametrize("how", ["forgotten", "expired"])
def test_a_result_that_the_backend_lost_is_written_back(new_app, how):
    """Also where this process still has it in Celery's cache of results."""
    app, other = new_app(result_cache_max=100), new_app(plugin=False)
    double = add_tasks(app, **CACHE)
    first = double.delay(21)
    work_off(app)
    assert first.get(timeout=1) == 42
    if how == "forgotten":
        first.forget()
    else:
        double.backend.delete(double.backend.get_key_for_task(first.id))
    assert other.AsyncResult(first.id).state == states.PENDING
    assert double.delay(21).get(timeout=1) == 42
    assert other.AsyncResult(first.id).get(timeout=1) == 42


def test_a_result_that_is_no_more_readable_is_dropped(new_app, caplog):
    app = new_app()
    double = add_tasks(app, **CACHE)
    pickled = b'["application/x-python-serialize", "binary"]\n...'
    store_of(app).complete(key_of(double, 21), "somebody", None, pickled, ttl=None)
    assert publishes(lambda: double.delay(21))
    assert entry_of(double, 21) is None
    assert "result_accept_content" in caplog.text


def test_a_backend_that_fails_costs_nothing_but_the_check(new_app, monkeypatch, caplog):
    app = new_app()
    double = add_tasks(app, **BOTH)
    first = double.delay(21)
    with monkeypatch.context() as broken:
        broken.setattr(double.backend, "get_task_meta", lambda *_, **__: 1 / 0)
        assert double.delay(21).id == first.id
    assert "ZeroDivisionError" in caplog.text
    work_off(app)
    first.forget()
    monkeypatch.setattr(double.backend, "store_result", lambda *_, **__: 1 / 0)
    assert double.delay(21).get(timeout=1) == 42


def test_a_result_that_was_joined_is_a_child_of_the_task_that_called(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    first = double.delay(21)

    @app.task(bind=True, name="proj.parent", shared=False)
    def parent(self):
        double.delay(21)
        double.apply_async((21,), add_to_parent=False)
        return [child.id for child in self.request.children]

    assert parent.apply().get() == [first.id]


def test_forget_lets_the_next_call_run(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    assert not forget(double, 21)
    first = double.delay(21)
    assert not forget(double, 21)
    assert double.delay(21).id == first.id
    work_off(app)
    assert forget(double, n=21, more=0)
    assert not forget(double, 21)
    assert publishes(lambda: double.delay(21))
    with pytest.raises(JobtasticError, match=r"'proj\.total' shares nothing"):
        forget(app.tasks["proj.total"], [])


def test_forget_takes_the_proxy_that_the_decorator_gives(new_app):
    app = new_app()

    @app.task(shared=False, **CACHE)
    def double(n):
        return 2 * n

    double.apply((21,))
    assert forget(double, 21)


# Dependent calls.


DEPENDENT = {
    "task_id": lambda double, total: double.apply_async((1,), task_id=uuid.uuid4().hex),
    "positional task_id": lambda double, total: double.apply_async((1,), {}, uuid.uuid4().hex),
    "link": lambda double, total: double.apply_async((1,), link=total.s()),
    "link_error": lambda double, total: double.apply_async((1,), link_error=total.s()),
    "chain=": lambda double, total: double.apply_async((1,), chain=[total.s()]),
    "chord=": lambda double, total: double.apply_async((1,), chord=total.s()),
    "group_id": lambda double, total: double.apply_async((1,), group_id="g"),
    "retries": lambda double, total: double.apply_async((1,), retries=1),
    "ignore_result": lambda double, total: double.apply_async((1,), ignore_result=True),
    "a linked signature": lambda double, total: double.s(1).set(link=total.s()).delay(),
    "a frozen signature": lambda double, total: (lambda s: (s.freeze(), s.delay())[1])(double.s(1)),
}


@pytest.mark.parametrize("stored", [False, True], ids=["claimed", "stored"])
@pytest.mark.parametrize("dependent", DEPENDENT.values(), ids=DEPENDENT)
def test_a_dependent_call_is_published_under_its_own_id(new_app, dependent, stored):
    app = new_app()
    double = add_tasks(app, **BOTH)
    first = double.delay(1)
    if stored:
        work_off(app)
    published(app)
    before = entry_of(double, 1)
    assert publishes(lambda: dependent(double, app.tasks["proj.total"]))
    assert before.owner == entry_of(double, 1).owner == first.id


def test_each_member_of_a_canvas_is_published_under_its_own_id(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    total = app.tasks["proj.total"]
    double.delay(1)
    published(app)
    members = group([double.s(1), double.s(1)], app=app).apply_async()
    header = chord([double.s(1), double.s(1)], total.s(), app=app).apply_async()
    chained = chain(double.s(1), double.s(), app=app).apply_async()
    ids = {message.headers["id"] for message in published(app)}
    expected = {*(r.id for r in members), *(r.id for r in header.parent.results), chained.parent.id}
    assert len(expected) == 5
    assert ids == expected


def test_a_canvas_of_equal_members_gets_all_its_values(new_app):
    app = new_app()
    double = add_tasks(app, **BOTH)
    total = app.tasks["proj.total"]
    header = chord([double.s(1), double.s(1), double.s(2)], total.s(), app=app).apply_async()
    chained = chain(double.s(1), double.s(), app=app).apply_async()
    deadline = time.monotonic() + 20
    while not (header.ready() and chained.ready()):
        assert time.monotonic() < deadline
        work_off(app)
    assert (header.get(timeout=1), chained.get(timeout=1)) == (8, 4)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_call_whose_ignore_result_is_the_tasks_own_is_a_plain_one(new_app, ignored):
    app = new_app()
    double = add_tasks(app, ignore_result=ignored, **HERD)
    first = double.delay(1)
    again = double.apply_async((1,), ignore_result=ignored)
    assert again.id == first.id
    assert again.ignored is ignored
    assert double.apply_async((1,), ignore_result=not ignored).id != first.id


def test_a_call_that_keeps_no_result_does_not_stand_for_others(new_app):
    app = new_app()
    double = add_tasks(app, **HERD)
    double.apply_async((1,), ignore_result=True)
    assert entry_of(double, 1) is None


def test_results_that_only_the_caller_can_read_are_never_joined(new_app):
    app = new_app(result_backend="rpc://")
    double = add_tasks(app, **BOTH)
    ids = {double.delay(1).id, double.delay(1).id}
    assert len(ids) == 2
    assert {message.headers["id"] for message in published(app)} == ids
