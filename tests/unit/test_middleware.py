"""A middleware of the user's own stands beside the built-in ones and has all they have."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, signals, states
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from jobtastic_signals import Jobtastic, JobtasticError, Middleware
from jobtastic_signals.calls import Raised, Served
from jobtastic_signals.installation import installation_on
from jobtastic_signals.memory.middleware import MemoryWatch
from jobtastic_signals.progress.middleware import ProgressReports
from jobtastic_signals.results.notes import Notes
from jobtastic_signals.sharing.answers import SharedCalls
from jobtastic_signals.sharing.counting import Counting
from jobtastic_signals.sharing.middleware import Sharing
from jobtastic_signals.sharing.observation import ObservedRuns
from tests.support.unit_apps import deliver, entry_of, key_of, published, real, work_off

HOOKS = [
    "answer",
    "after_answer",
    "before_publish",
    "publish_failed",
    "before_run",
    "before_body",
    "after_body",
    "after_run",
    "run_lost",
]


class Diary(Middleware):
    """Writes down which hook was called of whom, with what."""

    def __init__(self, name: str, diary: list[Any]) -> None:
        self.name, self.diary = name, diary


def _noting(hook: str) -> Callable[..., None]:
    def note(self: Diary, subject: Any, *more: Any) -> None:
        self.diary.append((self.name, hook, subject, *more))

    return note


for _hook in HOOKS:
    setattr(Diary, _hook, _noting(_hook))


def add_task(app: Celery, body: Any = None, **options: Any) -> Task:
    def double(n):
        return 2 * n

    return real(app.task(body or double, name="proj.double", shared=False, **options))


BOTH = {"herd_avoidance_timeout": 60, "cache_duration": 60}


@pytest.fixture
def diary() -> list[Any]:
    return []


@pytest.fixture
def diaries(diary: list[Any]) -> tuple[Middleware, ...]:
    return (Diary("first", diary), Diary("second", diary))


def short(diary: list[Any]) -> list[tuple[str, str]]:
    return [entry[:2] for entry in diary]


# Order.


def test_hooks_are_called_in_order_on_the_way_in_and_reversed_on_the_way_out(new_app, diary, diaries):
    app = new_app(middleware=diaries)
    double = add_task(app, **BOTH)
    result = double.delay(21)
    assert short(diary) == [
        ("first", "answer"),
        ("second", "answer"),
        ("first", "before_publish"),
        ("second", "before_publish"),
    ]
    call = diary[0][2]
    assert all(entry[2] is call for entry in diary)
    assert (call.task, call.id, call.key, call.plain) == (double, result.id, key_of(double, 21), True)
    diary.clear()
    work_off(app)
    assert short(diary) == [
        ("first", "before_run"),
        ("second", "before_run"),
        ("first", "before_body"),
        ("second", "before_body"),
        ("second", "after_body"),
        ("first", "after_body"),
        ("second", "after_run"),
        ("first", "after_run"),
    ]
    run = diary[0][2]
    assert all(entry[2] is run for entry in diary)
    assert (run.task, run.id, list(run.args), run.kwargs) == (double, result.id, [21], {})
    assert (run.key, run.stamp["id"], run.is_eager) == (key_of(double, 21), result.id, False)
    assert diary[-1][3:] == ("SUCCESS", 42)


def test_the_built_in_ones_come_first(new_app, diary, diaries):
    app = new_app(middleware=diaries)
    kinds = [type(middleware) for middleware in installation_on(app).stack]
    assert kinds == [
        SharedCalls,
        Sharing,
        ObservedRuns,
        Counting,
        ProgressReports,
        Notes,
        MemoryWatch,
        Diary,
        Diary,
    ]
    double = add_task(app, **BOTH)
    double.delay(21)
    diary.clear()
    assert double.delay(21)
    assert {hook for _, hook in short(diary)} == {"after_answer"}, "sharing answered before they were asked"


def test_a_dependent_call_and_an_eager_run_are_not_asked_for_an_answer(new_app, diary, diaries):
    app = new_app(middleware=diaries)
    double = add_task(app, **BOTH)
    double.apply_async((21,), task_id="mine")
    assert {hook for _, hook in short(diary)} == {"before_publish"}
    diary.clear()
    double.apply((22,))
    assert {hook for _, hook in short(diary)} == {"before_run", "before_body", "after_body", "after_run"}
    assert diary[0][2].is_eager


def test_a_publishing_that_fails_goes_out_in_reverse(new_app, diary, diaries):
    app = new_app(middleware=diaries)
    double = add_task(app, **BOTH)

    def refuse(*args, **kwargs):
        raise OperationalError

    with app.producer_pool.acquire(block=True) as producer:
        producer.publish = refuse
        with pytest.raises(OperationalError):
            double.apply_async((21,), producer=producer)
        del producer.publish
    assert short(diary)[-2:] == [("second", "publish_failed"), ("first", "publish_failed")]


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyError("x"), states.FAILURE), (Ignore(), states.IGNORED), (SystemExit(), None)],
    ids=["KeyError", "Ignore", "SystemExit"],
)
def test_after_run_is_told_how_it_ended(new_app, diary, diaries, error, state):
    app = new_app(middleware=diaries)

    def body(n):
        raise error

    double = add_task(app, body, **BOTH)
    try:
        double.apply((21,))
    except SystemExit:
        assert state is None
    told, value = diary[-1][3:]
    assert told == state
    if state == states.FAILURE:
        assert value is error


def revoked(task: Task, task_id: str, request: Any) -> None:
    signals.task_revoked.send(sender=task, request=request, terminated=True, signum=9, expired=False)


def failed(task: Task, task_id: str, request: Any) -> None:
    """As when the child is killed: no request is on the main process's stack."""
    about = {"task_id": task_id, "exception": KeyError("x"), "args": [21], "kwargs": {}, "einfo": None}
    signals.task_failure.send(sender=task, traceback=None, **about)


@pytest.mark.parametrize("lose", [revoked, failed])
def test_a_run_that_is_lost_is_told_to_the_main_process_and_its_claim_released(new_app, diary, diaries, lose):
    app = new_app(middleware=diaries)
    double = add_task(app, **BOTH)
    result = double.delay(21)
    (message,) = published(app)
    assert entry_of(double, 21).owner == result.id
    diary.clear()
    request = SimpleNamespace(id=result.id, args=[21], kwargs={}, jobtastic=message.headers["jobtastic"])
    lose(double, result.id, request)
    assert short(diary) == [("second", "run_lost"), ("first", "run_lost")]
    run = diary[0][2]
    assert (run.task, run.id, run.request) == (double, result.id, None)
    assert entry_of(double, 21) is None
    lose(double, result.id, request)
    assert entry_of(double, 21) is None


def test_the_loss_of_one_run_leaves_the_claim_of_another_alone(new_app):
    app = new_app()
    double = add_task(app, **BOTH)
    first = double.delay(21)
    failed(double, "another", None)
    assert entry_of(double, 21).owner == first.id


def test_a_failure_in_the_body_is_not_told_twice(new_app, diary, diaries):
    app = new_app(middleware=diaries)

    def body(n):
        raise KeyError(n)

    double = add_task(app, body, **BOTH)
    double.delay(21)
    work_off(app)
    seen = [hook for name, hook in short(diary) if name == "first"]
    assert seen[-4:] == ["before_run", "before_body", "after_body", "after_run"]


# What hooks can do.


def test_a_run_that_has_ended_leaves_the_garbage_collector_nothing(new_app):
    """Its arguments may be large, and the collector may not come for long."""
    seen = []

    class Watch(Middleware):
        def after_run(self, run, state, value):
            seen.append(weakref.ref(run))

    app = new_app(middleware=[Watch()])
    task = add_task(app, **BOTH)
    gc.disable()
    try:
        for n in range(2):
            task.delay(n)
            work_off(app)
        assert seen[0]() is None
    finally:
        gc.enable()


def test_a_middleware_may_serve_a_value(new_app):
    class Serving(Middleware):
        def before_run(self, run):
            run.decision = Served("served")

    app = new_app(middleware=(Serving(),))
    runs = []

    def body(n):
        runs.append(n)

    double = add_task(app, body, **BOTH)
    assert double.apply((21,)).get() == "served"
    result = double.delay(22)
    work_off(app)
    assert result.get(timeout=1) == "served"
    assert runs == []


def test_a_middleware_may_raise_instead_of_running_the_body(new_app):
    class Refusing(Middleware):
        def before_run(self, run):
            run.decision = Raised(Ignore("not today"))

    app = new_app(middleware=(Refusing(),))
    double = add_task(app, **BOTH)
    assert double.apply((21,)).state == states.IGNORED


def test_a_claim_does_not_outlive_a_run_that_another_middleware_served(new_app):
    class Serving(Middleware):
        def before_run(self, run):
            run.decision = Served("served")

    app = new_app(middleware=(Serving(),))
    double = add_task(app, **BOTH)
    double.apply((21,))
    assert getattr(entry_of(double, 21), "owner", None) is None


def test_a_middleware_may_answer_a_call(new_app, diary):
    class Answering(Middleware):
        def answer(self, call):
            return call.task.AsyncResult("elsewhere")

    app = new_app(middleware=(Answering(), Diary("later", diary)))
    double = add_task(app, **BOTH)
    assert double.delay(21).id == "elsewhere"
    assert published(app) == []
    assert short(diary) == [("later", "after_answer")]
    assert entry_of(double, 21) is None, "what was claimed for the call is free"
    assert double.apply_async((21,), task_id="mine").id == "mine"


def test_a_middleware_may_add_to_the_stamp_and_read_it_on_the_worker(new_app, diary):
    class Stamping(Middleware):
        def before_publish(self, call):
            call.stamp["caller"] = "me"

        def before_run(self, run):
            diary.append(run.stamp.get("caller"))

    app = new_app(middleware=(Stamping(),))
    add_task(app, **BOTH).delay(21)
    work_off(app)
    assert diary == ["me"]


# What goes wrong.


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_logged_and_harms_nothing(new_app, diary, caplog, hook):
    class Broken(Middleware):
        pass

    def fail(self, *args):
        raise RuntimeError("a broken hook")

    fail.__name__ = hook
    setattr(Broken, hook, fail)
    app = new_app(middleware=(Broken(), Diary("beside", diary)))
    double = add_task(app, **BOTH)
    first = double.delay(21)
    assert double.delay(21).id == first.id
    failed(double, "lost", None)
    work_off(app)
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish = lambda *args, **kwargs: 1 / 0
        with pytest.raises(ZeroDivisionError):
            double.apply_async((22,), producer=producer)
        del producer.publish
    assert double.delay(21).get(timeout=1) == 42
    assert entry_of(double, 22) is None
    assert {name for _, name in short(diary)} == set(HOOKS)
    assert f"{hook} of <" in caplog.text
    assert "a broken hook" in caplog.text


def test_an_answer_may_tell_the_caller_what_is_to_be_mended(new_app):
    class Strict(Middleware):
        def answer(self, call):
            raise JobtasticError("mend it")

    app = new_app(middleware=(Strict(),))
    with pytest.raises(JobtasticError, match="mend it"):
        add_task(app, **BOTH).delay(21)
    assert published(app) == []


def test_the_base_does_nothing(new_app):
    app = new_app(middleware=(Middleware(),))
    double = add_task(app, **BOTH)
    first = double.delay(21)
    work_off(app)
    assert double.delay(21).get(timeout=1) == 42
    assert double.delay(21).id == first.id
    more = {"after_answer": 1, "after_run": 2}
    done = [getattr(Middleware(), hook)(None, *[None] * more.get(hook, 0)) for hook in HOOKS]
    assert done == [None] * len(HOOKS)


def test_middleware_given_to_an_app_that_has_the_plugin_without_it_is_refused(new_app, diary):
    app = new_app(plugin=False, task_annotations=["jobtastic_signals:Jobtastic"])
    app.finalize()
    with pytest.raises(JobtasticError, match="the plugin is already enabled"):
        Jobtastic(app, middleware=[Diary("mine", diary)])


def test_a_message_runs_as_well_where_nobody_stamped_it(new_app, diary, diaries):
    app, client = new_app(middleware=diaries), new_app(plugin=False)
    double, theirs = add_task(app, **BOTH), add_task(client, **BOTH)
    theirs.delay(21)
    (message,) = published(client)
    assert deliver(app, message).retval == 42
    assert diary[0][2].stamp == {}
    assert entry_of(double, 21).owner == message.headers["id"]
