"""What ``celery -A proj jobtastic check`` finds in an app and its store, and how it tells it."""

import functools

import pytest
from celery import Task

from jobtastic_signals import Middleware
from jobtastic_signals.cli.check.base import Level
from jobtastic_signals.options import Option
from tests.support.checks import Careful, checked

# The app


def test_an_app_that_is_well_has_nothing_to_fix(app):
    record = checked(app)
    assert record.to_fix == 0
    assert record.about("plugin") == ["enabled"]
    assert record.about("settings") == ["valid"]
    assert record.about("backend") == ["cache+memory://"]
    assert record.about("task") == []


def test_an_app_without_the_plugin_is_told_how_to_switch_it_on(new_app, folder):
    app = new_app(plugin=False, jobtastic_store=f"disk://{folder}")

    @app.task(name="report", cache_duration=60, shared=False)
    def report():
        pass

    record = checked(app)
    (off,) = record.about("plugin", Level.FIX)
    assert "Jobtastic(app)" in off
    assert 'task_annotations = ["jobtastic_signals:Jobtastic"]' in off
    assert record.about("task", Level.FIX) == ["without the plugin, the options of report have no effect"]
    assert record.tasks == {"report": {"cache_duration": "60"}}
    # The store is looked at all the same.
    assert len(record.about("store", Level.OK)) == 3


def test_the_plugin_is_found_where_the_configuration_names_it(new_app, folder):
    app = new_app(plugin=False, jobtastic_store=f"disk://{folder}")
    app.conf.task_annotations = ["jobtastic_signals:Jobtastic"]
    record = checked(app)
    assert (record.about("plugin"), record.to_fix) == (["enabled"], 0)


@pytest.mark.parametrize(
    ("wrong", "subject", "reason"),
    [
        ({"jobtastic_stroe": "x"}, "settings", "did you mean 'jobtastic_store'?"),
        ({"jobtastic_namespace": "a/b"}, "settings", "letters, digits and . _ -"),
        ({"jobtastic_store": "disk://host/path"}, "store", "names no folder"),
        ({"jobtastic_store": "disk:///srv/x?size_limit=no"}, "store", "not a positive number"),
    ],
)
def test_a_wrong_setting_is_told_and_the_rest_is_looked_at(new_app, folder, wrong, subject, reason):
    record = checked(new_app(**{"jobtastic_store": f"disk://{folder}", **wrong}))
    (told,) = record.about(subject, Level.FIX)
    assert reason in told
    assert (record.about("plugin"), len(record.about("worker")), record.to_fix) == (["enabled"], 1, 1)


@pytest.mark.parametrize(
    ("backend", "level", "told"),
    [
        ("disabled://", Level.NOTE, "nobody can read what it returns"),
        ("rpc://", Level.NOTE, "lets only the caller read a result"),
        ("nosuch://", Level.FIX, "No module named 'nosuch'"),
    ],
)
def test_a_result_backend_that_others_cannot_read_is_told_of(new_app, folder, backend, level, told):
    record = checked(new_app(jobtastic_store=f"disk://{folder}", result_backend=backend))
    (finding,) = record.about("backend", level)
    assert told in finding
    assert record.to_fix == (level is Level.FIX)


def test_a_store_of_each_process_shares_nothing_with_a_worker(new_app):
    (told,) = checked(new_app(jobtastic_store="memory://")).about("settings", Level.FIX)
    assert "callers and workers share nothing" in told


def test_eager_tasks_need_no_more_than_a_store_of_this_process(new_app):
    record = checked(new_app(jobtastic_store="memory://", task_always_eager=True))
    (told,) = record.about("settings", Level.NOTE)
    assert "task_always_eager" in told
    assert record.to_fix == 0


# Tasks


def test_tasks_are_told_with_the_options_that_they_set(new_app, folder):
    class Own(Middleware):
        options = (Option("urgency", default=0, accepts="a number", parse=int),)

    app = new_app(jobtastic_store=f"disk://{folder}", middleware=(Own(),))
    options = {"significant_kwargs": ["a", ("b", str)], "cache_prefix": "x", "urgency": 3}

    @app.task(name="with_options", shared=False, **options)
    def with_options(a, b):
        pass

    @app.task(name="without", shared=False)
    def without():
        pass

    assert checked(app).tasks == {
        "with_options": {
            "significant_kwargs": "['a', ('b', str)]",
            "cache_prefix": "'x'",
            "urgency": "3",
        }
    }


def test_a_misspelt_option_is_told_as_one_finding(app):
    @app.task(name="report", shared=False, cache_duratoin=60)
    def report():
        pass

    (told,) = checked(app).about("task", Level.FIX)
    assert "unknown option cache_duratoin=60; did you mean 'cache_duration'?" in told


class Plain(Task):
    name = "plain"

    def run(self):
        pass


def register(app, base, name, **options):
    """Register a class task on *app*."""
    return app.register_task(type(name.title(), (base,), {"name": name, **options})())


def test_a_task_that_bound_unseen_is_told_of_before_it_is_looked_at(app):
    base = type(register(app, Plain, "base"))
    register(app, base, "late", cache_duration=60)
    (told,) = checked(app).about("task", Level.NOTE)
    assert told.startswith("late: its options are read only at the first call")
    assert checked(app).about("task") == []


def test_a_task_that_bound_unseen_and_shares_all_the_same_is_not(app):
    base = type(register(app, Plain, "base", cache_duration=60))
    register(app, base, "late")
    record = checked(app)
    assert (list(record.tasks), record.about("task")) == (["base", "late"], [])


def test_a_wrong_option_of_a_task_that_bound_unseen_is_told(app):
    base = type(register(app, Plain, "base"))
    register(app, base, "late", cache_duration="soon")
    (told,) = checked(app).about("task", Level.FIX)
    assert "cache_duration='soon' is not accepted" in told


def test_methods_that_were_there_before_the_plugin_are_no_trouble(app):
    class Careless(Task):
        def apply_async(self, *args, **kwargs):
            return None

        def __call__(self, *args, **kwargs):
            return self.run()

    for base in (Careful, Careless):

        @app.task(name=base.__name__, base=base, shared=False, cache_duration=60)
        def task():
            pass

    record = checked(app)
    assert (len(record.tasks), record.about("task")) == (2, [])


@pytest.mark.parametrize(
    ("method", "harm"),
    [
        ("apply_async", "published although a result or a run could answer them"),
        ("__call__", "run calls that they could serve"),
    ],
)
def test_a_method_that_took_the_place_of_ours_is_named_with_what_may_be_lost(app, report, method, harm):
    setattr(type(report), method, Careful.__dict__[method])
    (told,) = checked(app).about("task", Level.FIX)
    assert told.startswith(f"report: tests.support.checks.Careful.{method} replaced {method}")
    assert harm in told


def test_so_is_one_on_the_task_itself(app, report):
    report.apply_async = functools.partial(report.apply_async)
    (told,) = checked(app).about("task", Level.FIX)
    assert told.startswith("report: functools.partial replaced apply_async")


def test_one_that_says_that_it_wraps_ours_is_believed(app, report):
    ours = type(report).apply_async

    @functools.wraps(ours)
    def traced(*args, **kwargs):
        return ours(*args, **kwargs)

    type(report).apply_async = traced
    assert checked(app).about("task") == []
