"""``apply()`` and always-eager apps: served and stored as on a worker, without claims, never told to wait."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry

from jobtastic_signals import Result
from tests.support import unit_apps
from tests.support.unit_apps import entry_of, key_of, published, real, store_of, work_off

BOTH = {"herd_avoidance_timeout": 60, "cache_duration": 60}
HERD = {"herd_avoidance_timeout": 60}


def run_by_apply(task: Task, *args: Any, **kwargs: Any) -> Any:
    return task.apply(args, kwargs)


def run_by_delay(task: Task, *args: Any, **kwargs: Any) -> Any:
    task.app.conf.task_always_eager = True
    return task.delay(*args, **kwargs)


def run_by_signature(task: Task, *args: Any, **kwargs: Any) -> Any:
    task.app.conf.task_always_eager = True
    return task.s(*args, **kwargs).apply_async()


eagerly = pytest.mark.parametrize("run", [run_by_apply, run_by_delay, run_by_signature])


def add_task(app: Celery, body: Any, **options: Any) -> Task:
    return app.task(body, bind=True, name="proj.task", shared=False, **options)


@eagerly
def test_a_second_run_is_served_what_the_first_returned(new_app, run):
    app = new_app()
    runs = []

    def body(self, n, more=0):
        runs.append(n)
        assert self.request.is_eager
        return {"n": n}

    task = add_task(app, body, **BOTH)
    assert [run(task, 1).get(), run(task, n=1).get(), run(task, 2).get()] == [{"n": 1}, {"n": 1}, {"n": 2}]
    assert runs == [1, 2]
    assert run(task, 1).state == "SUCCESS"


@eagerly
@pytest.mark.parametrize("options", [BOTH, {}])
def test_the_body_sees_the_request_of_its_run(new_app, run, options):
    app = new_app()

    def body(self, n):
        return [self.request.id, self.request.is_eager, self.request.called_directly, self.request.retries]

    result = run(add_task(app, body, **options), 1)
    assert result.get() == [result.id, True, False, 0]


@eagerly
def test_a_worker_is_served_what_an_eager_run_returned_and_the_other_way_round(new_app, run):
    app = new_app()
    runs = []
    task = add_task(app, lambda_body(lambda self, n: runs.append(n) or 2 * n), **BOTH)
    eager = task.apply((1,))
    joined = task.delay(1)
    assert (joined.id, joined.get(timeout=1)) == (eager.id, 2)
    task.delay(2)
    work_off(app)
    assert run(task, 2).get() == 4
    assert runs == [1, 2]


def lambda_body(function: Any) -> Any:
    def body(self, n):
        return function(self, n)

    return body


@eagerly
@pytest.mark.parametrize(
    "error", [KeyError("x"), Ignore(), Reject("x")], ids=lambda error: type(error).__name__
)
def test_a_run_claims_nothing_and_stores_nothing_unless_it_succeeds(new_app, run, error):
    app = new_app()
    seen = []

    def body(self, n):
        seen.append(entry_of(task, n))
        raise error

    task = add_task(app, body, **BOTH)
    run(task, 1)
    assert entry_of(task, 1) is None
    run(task, 1)
    assert seen == [None, None]


@eagerly
def test_an_error_that_propagates_stores_nothing_either(new_app, run):
    app = new_app(task_eager_propagates=True)

    def body(self, n):
        raise KeyError(n)

    task = add_task(app, body, **BOTH)
    with pytest.raises(KeyError):
        run(task, 1)
    assert entry_of(task, 1) is None


def test_an_exit_leaves_no_claim(new_app):
    app = new_app()

    def body(self, n):
        raise SystemExit

    task = add_task(app, body, **BOTH)
    with pytest.raises(SystemExit):
        task.apply((1,))
    assert entry_of(task, 1) is None


@eagerly
@pytest.mark.parametrize("options", [{}, {"autoretry_for": (KeyError,), "retry_kwargs": {"countdown": 0}}])
@pytest.mark.parametrize("fails", [2, 99], ids=["and succeeds", "and gives up"])
def test_a_run_that_retries_stores_what_it_returns_in_the_end(new_app, run, options, fails):
    app = new_app()
    seen = []

    def body(self, n):
        seen.append(entry_of(task, n))
        if self.request.retries < fails:
            error = KeyError(n)
            raise error if options else self.retry(exc=error, countdown=0)
        return n

    task = add_task(app, body, max_retries=3, **BOTH, **options)
    result = run(task, 1)
    assert seen == [None] * (3 if fails == 2 else 4)
    if fails == 2:
        assert result.get() == 1
        assert isinstance(entry_of(task, 1), Result)
    else:
        assert isinstance(result.result, KeyError)
        assert entry_of(task, 1) is None


def test_a_retry_with_other_arguments_leaves_no_claim(new_app):
    app = new_app()

    def body(self, n):
        if n == 1:
            raise self.retry(args=(2,), countdown=0)
        return n

    task = add_task(app, body, **HERD)
    assert task.apply((1,)).get() == 2
    assert [entry_of(task, 1), entry_of(task, 2)] == [None, None]


def test_a_retry_that_propagates_leaves_no_claim(new_app):
    """Celery then raises the retry to the caller, and nobody runs the task again."""
    app = new_app(task_eager_propagates=True)

    def body(self, n):
        raise self.retry(countdown=0)

    task = add_task(app, body, **HERD)
    with pytest.raises(Retry):
        task.apply((1,))
    assert entry_of(task, 1) is None


@eagerly
@pytest.mark.parametrize("options", [BOTH, HERD])
def test_an_identical_run_inside_a_run_is_not_told_to_wait(new_app, run, options):
    app = new_app()
    depth = []

    def body(self, n):
        depth.append(n)
        if len(depth) < 3:
            assert task.apply((n,)).get(disable_sync_subtasks=False) == len(depth)
        return len(depth)

    task = add_task(app, body, **options)
    assert run(task, 1).get() == 3


@eagerly
@pytest.mark.parametrize("options", [BOTH, HERD])
def test_a_run_does_not_wait_for_a_run_on_a_worker_and_leaves_its_claim_alone(new_app, run, options, caplog):
    """Nor does it ask the result backend, which complains in an always-eager app."""
    app = new_app()
    task = add_task(app, lambda_body(lambda self, n: 2 * n), **options)
    store_of(app).claim(key_of(task, 1), "worker", "worker/1", 60)
    before = entry_of(task, 1)
    assert run(task, 1).get() == 2
    assert entry_of(task, 1) == before
    assert caplog.records == []


@eagerly
def test_a_queued_claim_of_a_worker_stays_beside_the_result_of_a_run(new_app, run, caplog):
    app = new_app()
    task = add_task(app, lambda_body(lambda self, n: 2 * n), **BOTH)
    worker = task.delay(1)
    before = entry_of(task, 1)
    assert run(task, 1).get() == 2
    assert isinstance(entry_of(task, 1), Result)
    store_of(app).forget(key_of(task, 1))
    assert entry_of(task, 1) == before
    assert before.owner == worker.id
    assert caplog.records == []


@pytest.mark.parametrize("options", [BOTH, HERD])
def test_a_caller_elsewhere_does_not_wait_for_what_only_the_eager_caller_gets(new_app, options):
    app = new_app()
    calls = []

    def body(self, n):
        # Another thread, as of a web server: it is not in this run.
        caller = threading.Thread(target=lambda: calls.append(task.delay(n)))
        caller.start()
        caller.join()
        return 2 * n

    task = add_task(app, body, **options)
    task.apply((1,))
    work_off(app)
    assert calls[0].get(timeout=20) == 2


# Direct calls.


class Untouched:
    """A store that nobody may ask anything."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"the store was asked to {name}")


def test_a_direct_call_touches_nothing(new_app, monkeypatch):
    app = new_app()
    task = real(add_task(app, lambda_body(lambda self, n: (2 * n, self.request.called_directly)), **BOTH))
    monkeypatch.setattr(unit_apps.installation_on(app), "_store", Untouched())
    assert task(21) == (42, True)
    assert task.run(21) == (42, True)
    with pytest.raises(TypeError):
        task()
    monkeypatch.undo()


@eagerly
def test_recursion_by_direct_calls_is_as_in_celery(new_app, run):
    def outcomes(app: Celery) -> list[Any]:
        seen = []

        def body(self, n):
            seen.append((n, self.request.called_directly, self.request.id is None, tuple(self.request.args)))
            return n * task(n - 1) if n > 1 else 1

        task = add_task(app, body, **BOTH)
        return [run(task, 4).get(), seen]

    assert outcomes(new_app()) == outcomes(new_app(plugin=False))


def test_a_direct_call_of_another_task_inside_a_run_touches_nothing(new_app):
    app = new_app()

    @app.task(name="proj.inner", shared=False, **BOTH)
    def inner(n):
        return n + 1

    task = add_task(app, lambda_body(lambda self, n: inner(n)), **BOTH)
    assert task.apply((1,)).get() == 2
    assert entry_of(inner, 1) is None


def test_a_direct_call_runs_also_where_a_value_would_be_served(new_app):
    app = new_app()
    runs = []
    task = add_task(app, lambda_body(lambda self, n: runs.append(n) or n), **BOTH)
    task.apply((1,))
    assert task(1) == 1
    assert runs == [1, 1]


# Results.


@eagerly
def test_a_result_that_cannot_be_serialised_is_not_stored_and_harms_nothing(new_app, run, caplog):
    app = new_app()
    value = object()
    task = add_task(app, lambda_body(lambda self, n: value), **BOTH)
    with caplog.at_level(logging.WARNING):
        assert run(task, 1).get() is value
        assert run(task, 1).get() is value
    assert entry_of(task, 1) is None
    assert "its result cannot be shared" in caplog.text


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_served_value_is_what_the_result_serializer_makes_of_it(new_app, serializer):
    app = new_app(result_serializer=serializer, accept_content=["json", "pickle"])
    task = add_task(app, lambda_body(lambda self, n: (n, {1: b"x"})), **BOTH)
    assert task.apply((1,)).get() == (1, {1: b"x"})
    served = task.apply((1,)).get()
    assert served == ([1, {"1": b"x"}] if serializer == "json" else (1, {1: b"x"}))


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_empty_value_is_served_like_any_other(new_app, value):
    app = new_app()
    runs = []
    task = add_task(app, lambda_body(lambda self, n: runs.append(n) or value), **BOTH)
    assert [task.apply((1,)).get(), task.apply((1,)).get()] == [value, value]
    assert runs == [1]


def test_a_duration_of_zero_is_for_ever_and_a_negative_one_is_never(new_app):
    for duration, stored in [(0, True), (-1, False)]:
        app = new_app()
        task = add_task(app, lambda_body(lambda self, n: n), cache_duration=duration)
        task.apply((1,))
        entry = entry_of(task, 1)
        assert (entry is not None) is stored
        if stored:
            assert entry.expires is None


def test_an_argument_without_a_key_costs_an_eager_run_the_sharing_and_says_so(new_app, caplog):
    app = new_app()
    task = add_task(app, lambda_body(lambda self, n: 1), **BOTH)
    assert task.apply((object(),)).get() == 1
    assert "such calls go unshared" in caplog.text
    assert "argument 'n' has no canonical form" in caplog.text


def test_arguments_that_the_task_does_not_take_are_celerys_own_error(new_app):
    app = new_app()
    task = add_task(app, lambda_body(lambda self, n: 1), **BOTH)
    assert isinstance(task.apply((1, 2)).result, TypeError)
    assert list(published(app)) == []


def test_runs_in_threads_do_not_mix(new_app):
    """One task object serves them all."""
    app = new_app()
    barrier = threading.Barrier(4)

    def body(self, n):
        barrier.wait(timeout=10)
        return [n, self.request.id]

    task = add_task(app, body, **BOTH)
    real(task)
    results: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: task.apply((n,))})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: result.get() for n, result in results.items()} == {n: [n, results[n].id] for n in range(4)}
    assert all(store_of(app).lookup(key_of(task, n)).owner == results[n].id for n in range(4))
