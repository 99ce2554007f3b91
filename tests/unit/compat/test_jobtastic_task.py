"""What jobtastic's own tests ask of its base class, and what its users relied on, asked of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import Celery, _state, states
from celery.result import EagerResult

from jobtastic_signals import Jobtastic, OptionError
from jobtastic_signals.compat import PROGRESS, JobtasticTask
from jobtastic_signals.installation import installation_on
from tests.support.unit_apps import NewApp, entry_of, published

#: The ways of calling a task that jobtastic added to Celery's.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("async_or_fail", {"kwargs": {"result": 27}}),
    ("delay_or_fail", {"result": 27}),
    ("async_or_eager", {"kwargs": {"result": 27}}),
    ("delay_or_eager", {"result": 27}),
    ("delay_or_run", {"result": 27}),
]
WAYS = pytest.mark.parametrize(("way", "arguments"), ASKED, ids=[way for way, _ in ASKED])
EAGER = {"task_always_eager": True, "task_store_eager_result": True}
ON_BOTH = pytest.mark.parametrize("is_class", [True, False], ids=["class", "instance"])


@pytest.fixture
def app(new_app: NewApp) -> Iterator[Celery]:
    """The current app, which nobody has switched the plugin on for."""
    app = new_app(plugin=False, jobtastic_broker_deadline=60)
    with as_current(app):
        yield app


class as_current:  # noqa: N801 - a context manager
    def __init__(self, app: Celery) -> None:
        self._app, self._before = app, _state._tls.current_app

    def __enter__(self) -> None:
        _state._set_current_app(self._app)

    def __exit__(self, *error: object) -> None:
        _state._set_current_app(self._before)


def parrot(**options: Any) -> Any:
    """A class whose task returns what it is given, and remembers that it ran."""

    class Parrot(JobtasticTask):
        significant_kwargs = [("result", str)]
        herd_avoidance_timeout = 60
        ran: list[Any] = []

        def calculate_result(self, result: Any, **kwargs: Any) -> Any:
            self.ran.append(result)
            return result

    for name, value in options.items():
        setattr(Parrot, name, value)
    return Parrot


def call(task: Any, way: str, arguments: dict[str, Any]) -> tuple[Any, bool | None]:
    """What *way* of calling a task answers, and for ``delay_or_run`` whether it fell back."""
    if way != "delay_or_run":
        return getattr(task, way)(**arguments), None
    with pytest.deprecated_call():
        answer: tuple[Any, bool] = getattr(task, way)(**arguments)
    return answer


@ON_BOTH
@WAYS
def test_each_way_of_calling_publishes_while_the_broker_works(app, way, arguments, is_class):
    task = parrot() if is_class else parrot()()
    result, fell_back = call(task, way, arguments)
    assert not fell_back
    assert (result.state, len(published(app)), task.ran) == (states.PENDING, 1, [])


@WAYS
def test_each_way_of_calling_runs_once_where_all_runs_are_eager(app, way, arguments):
    app.conf.update(EAGER)
    task = parrot()
    result, fell_back = call(task, way, arguments)
    assert not fell_back
    assert (result.state, result.result, task.ran) == (states.SUCCESS, 27, [27])


@WAYS
def test_each_way_of_calling_answers_while_the_broker_is_down(app, down, way, arguments):
    app.conf.broker_url = down
    task = parrot()
    result, fell_back = call(task, way, arguments)
    if way.endswith("_fail"):
        assert (result.state, task.ran) == (states.FAILURE, [])
    elif way.endswith("_eager"):
        assert (type(result), result.state, result.result, task.ran) == (EagerResult, "SUCCESS", 27, [27])
    else:
        assert (result, fell_back, task.ran) == (27, True, [27])


def test_an_error_of_the_callers_own_is_a_failed_result_for_whoever_has_its_id(app):
    result = parrot().simulate_async_error(LookupError("no such customer"))
    assert (result.state, str(result.result)) == (states.FAILURE, "no such customer")
    assert "LookupError: no such customer" in result.traceback


def test_identical_calls_on_the_class_share_however_they_are_spelt(app):
    task = parrot()
    first = task.delay(result=1)
    assert task.delay(1).id == task.apply_async((1,)).id == task.s(result=1).delay().id == first.id
    assert task.delay(result=2).id != first.id
    assert task._get_cache_key(result=1) != task._get_cache_key(result=2)


def test_a_range_is_a_list_as_in_jobtastics_examples(app):
    task = parrot()
    first = task.delay(result=range(3))
    assert task.delay(result=[0, 1, 2]).id == first.id
    (message,) = published(app)
    assert message.decode()[1] == {"result": [0, 1, 2]}


def test_the_state_is_progress_as_soon_as_a_run_begins_and_the_result_can_be_read_by_its_id(app):
    app.conf.update(EAGER)
    seen = []

    class Counting(JobtasticTask):
        significant_kwargs = [("count_to", str)]
        herd_avoidance_timeout = 60

        def calculate_result(self, count_to: int, **kwargs: Any) -> int:
            result = self.AsyncResult(self.request.id)
            seen.append((result.state, result.info["progress_percent"], result.info["time_remaining"]))
            for count in range(count_to):
                self.update_progress(count, count_to, update_frequency=2)
            seen.append(self.AsyncResult(self.request.id).state)
            return count_to

    result = Counting.delay(count_to=6)
    assert seen == [(PROGRESS, 0, -1), PROGRESS]
    assert (result.get(), Counting.AsyncResult(result.id).state) == (6, states.SUCCESS)


def test_a_failure_of_an_eager_run_can_be_read_by_its_id(app):
    app.conf.update(EAGER)

    class Failing(JobtasticTask):
        significant_kwargs: list[Any] = []

        def calculate_result(self, **kwargs: Any) -> None:
            raise LookupError("gone")

    assert Failing.AsyncResult(Failing.delay().id).state == states.FAILURE


@pytest.mark.parametrize(
    ("threshold", "added", "warns"),
    [
        (10, 4_000_000, False),
        (10, 10_000_001, True),
        (0, 1, True),
        (-1, 50_000_000, False),
        (None, 50e6, False),
    ],
    ids=["below", "above", "all", "negative", "unset"],
)
def test_each_run_that_adds_more_than_the_threshold_calls_the_method_for_it(
    app, monkeypatch, threshold, added, warns
):
    usage = [100_000_000, 100_000_000 + added, 200_000_000, 200_000_000 + added, 300_000_000, 300_000_000]
    monkeypatch.setattr("jobtastic_signals.compat.task.resident", lambda: usage.pop(0))
    seen: list[Any] = []
    task = parrot(
        warn_of_memory_leak=lambda self, growth, begining_usage, ending_usage, task_kwargs: seen.append(
            (growth, begining_usage, ending_usage, task_kwargs)
        )
    )
    if threshold is not None:
        task.memleak_threshold = threshold
    assert [task().run(result=n) for n in range(3)] == [0, 1, 2]
    one = (added, 100_000_000, 100_000_000 + added, {"result": 0})
    other = (added, 200_000_000, 200_000_000 + added, {"result": 1})
    assert seen == ([one, other] if warns else [])


def test_the_lines_of_a_warning_are_jobtastics_without_secrets(app, monkeypatch, caplog):
    usage = [100_000_000, 110_000_001]
    monkeypatch.setattr("jobtastic_signals.compat.task.resident", lambda: usage.pop(0))
    with caplog.at_level("INFO", "celery.task"):
        parrot(memleak_threshold=10)().run(result=1, password="hidden")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("Parrot", "WARNING", "Jobtastic:memleak memleak_detected. memory_increase=00010 unit=MB"),
        ("Parrot", "INFO", "Jobtastic:memleak memory_usage_start=00100 unit=MB"),
        ("Parrot", "INFO", "Jobtastic:memleak memory_usage_end=00110 unit=MB"),
        ("Parrot", "INFO", "Jobtastic:memleak task_kwargs={'result': 1, 'password': '[redacted]'}"),
    ]


def test_a_run_is_measured_by_the_class_alone(app, monkeypatch):
    app.conf.update(EAGER)
    measured = []
    for module in ("compat.task", "memory.middleware"):
        measure = partial(lambda module: measured.append(module) or 0, module)
        monkeypatch.setattr(f"jobtastic_signals.{module}.resident", measure)
    parrot(memleak_threshold=10).delay(result=1)
    assert measured == ["compat.task"] * 2


def test_a_class_switches_the_plugin_on_for_each_app_that_has_it(new_app):
    first, second = (new_app(plugin=False) for _ in range(2))
    with as_current(first):
        task = parrot()
    for app in (first, second):
        with as_current(app):
            result = task.delay(result=1)
            assert installation_on(app) is not None
            assert app.tasks[task.name].app is app
            assert [message.headers["id"] for message in published(app)] == [result.id]
            assert entry_of(app.tasks[task.name], result=1).owner == result.id


def test_a_class_belongs_to_the_app_that_was_current_where_a_thread_has_none(app):
    task, ids = parrot(), []
    thread = threading.Thread(target=lambda: ids.append(task.delay_or_fail(result=1).id))
    thread.start()
    thread.join()
    assert [message.headers["id"] for message in published(app)] == ids


def test_a_class_defined_once_its_app_is_in_use_is_a_task_too(app):
    assert app.tasks
    task = parrot()
    assert isinstance(app.tasks[task.name], task)


def test_a_class_that_was_asked_for_its_app_still_shares(app):
    Jobtastic(app)
    task = parrot()
    assert task.app.main == app.main
    assert task.apply_async((1,)).id == task.apply_async((1,)).id


def test_where_the_plugin_was_switched_off_it_stays_off(app):
    Jobtastic().uninstall(app)
    task = parrot()
    assert task.delay(result=1).id != task.delay(result=1).id
    assert installation_on(app) is None


def test_abstract_classes_and_those_that_ask_for_it_are_no_tasks(app):
    class Base(JobtasticTask):
        abstract = True

    class Helper(Base):
        autoregister = False

    class Real(Base):
        name = "reports.real"

    names = {name for name in app.tasks if not name.startswith("celery.")}
    assert names == {"reports.real"}
    assert (Base.name, Helper.name) == (None, None)


def test_a_subclass_has_a_name_of_its_own(app):
    class Real(parrot()):  # type: ignore[misc]
        pass

    assert Real.name == f"{__name__}.Real"
    assert Real.delay(result=1).id != Real.__mro__[1].delay(result=1).id


def test_it_can_be_the_base_of_a_decorated_function(app):
    @app.task(base=JobtasticTask, herd_avoidance_timeout=60)
    def double(n: int) -> int:
        return 2 * n

    Jobtastic(app)
    assert double.delay_or_eager(2).id == double.delay_or_eager(n=2).id
    assert len(published(app)) == 1


def test_hooks_retries_and_class_methods_of_a_subclass_work(app):
    app.conf.update(EAGER)
    seen: list[Any] = []

    class Retrying(JobtasticTask):
        significant_kwargs = [("n", str)]
        autoretry_for = (LookupError,)
        default_retry_delay = 0

        @classmethod
        def apply_async(cls, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            seen.append("apply_async")
            return super().apply_async(args, kwargs, **options)

        def calculate_result(self, n: int, **kwargs: Any) -> int:
            self.logger.info("it runs")
            if self.request.retries < 2:
                raise LookupError
            return n

        def on_success(self, retval: int, *details: Any) -> None:
            super().on_success(retval, *details)
            seen.append(("on_success", retval))

    assert Retrying().delay(n=3).get() == 3
    assert seen.count("apply_async") == 1
    assert seen[-1] == ("on_success", 3)


def test_a_body_that_is_missing_fails_the_run(app):
    app.conf.update(EAGER)

    class Misspelt(JobtasticTask):
        significant_kwargs: list[Any] = []

        def calculate_results(self, **kwargs: Any) -> None: ...

    with pytest.raises(NotImplementedError, match="Misspelt does not define calculate_result"):
        Misspelt.delay().get()


@pytest.mark.parametrize("name", ["_get_cache_key", "_get_cache", "calc_progress"])
def test_overriding_what_is_not_called_is_an_error(app, name):
    with pytest.raises(OptionError, match=f"Report overrides {name}, which is not called; "):
        type("Report", (JobtasticTask,), {name: lambda self: None})
