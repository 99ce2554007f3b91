"""A wrong option is an error when the task binds, and says what was wrong, where, and what is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from jobtastic_signals import Jobtastic, JobtasticError, OptionError
from jobtastic_signals.installation import installation_on
from jobtastic_signals.keys.tags import CACHE_TAGS
from jobtastic_signals.options import Option, finite_number, read_options
from tests.support import unit_apps
from tests.support.unit_apps import is_changed, key_of, real

NewApp = unit_apps.NewApp


def by_decorator(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app()

    @app.task(name="proj.wrong", shared=False, **options)
    def wrong(n):
        return n

    app.finalize()
    return app


def by_class(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app()
    app.register_task(type("Wrong", (Task,), {"name": "proj.wrong", "run": lambda self, n: n, **options})())
    return app


def by_inheritance(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app()
    base = type("Base", (Task,), {"abstract": True, **options})
    app.register_task(type("Wrong", (base,), {"name": "proj.wrong", "run": lambda self, n: n})())
    return app


def by_annotation(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app(task_annotations={"proj.wrong": options})
    app.task(_body, name="proj.wrong", shared=False)
    app.finalize()
    return app


def by_annotation_and_setting(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app(plugin=False, task_annotations=["jobtastic_signals:Jobtastic", {"proj.wrong": options}])
    app.task(_body, name="proj.wrong", shared=False)
    app.finalize()
    return app


def by_switching_on_late(new_app: NewApp, options: dict[str, Any]) -> Celery:
    app = new_app(plugin=False)
    app.task(_body, name="proj.wrong", shared=False, **options)
    app.finalize()
    Jobtastic(app)
    return app


def _body(n):
    return n


WAYS = [value for name, value in list(globals().items()) if name.startswith("by_")]

WRONG = [
    {"cache_duration": "soon"},
    {"cache_duration": True},
    {"cache_duration": math.nan},
    {"cache_duration": math.inf},
    {"cache_duration": [1]},
    {"cache_duration": None},
    {"herd_avoidance_timeout": -1},
    {"herd_avoidance_timeout": timedelta(seconds=-1)},
    {"memleak_threshold": timedelta(seconds=1)},
    {"herd_avoidance_timeout": "x"},
    {"herd_avoidance_timeout": True},
    {"herd_avoidance_timeout": math.inf},
    {"significant_kwargs": "abc"},
    {"significant_kwargs": b"n"},
    {"significant_kwargs": 3},
    {"significant_kwargs": [("typo", str)]},
    {"significant_kwargs": ["typo"]},
    {"significant_kwargs": [("n",)]},
    {"significant_kwargs": [("n", 3)]},
    {"significant_kwargs": [("n", str, str)]},
    {"significant_kwargs": [(3, str)]},
    {"significant_kwargs": [3]},
    {"significant_kwargs": ["n", ("n", str)]},
    {"cache_prefix": ""},
    {"cache_prefix": 3},
    {"cache_prefix": b"p"},
    {"cache_tags": "n:{n}"},
    {"cache_tags": 3},
    {"cache_tags": [""]},
    {"cache_tags": [3]},
    {"cache_tags": ["n:{n"]},
    {"cache_failures_for": [ValueError]},
    {"cache_failures_for": {"ValueError": 60}},
    {"cache_failures_for": {ValueError: 0}},
    {"cache_failures_for": {ValueError: "soon"}},
    {"cache_failures_for": {KeyboardInterrupt: 60}},
    {"cache_failures_for": {Retry: 60}},
    {"cache_failures_for": {Ignore: 60}},
    {"cache_when": True},
    {"cache_max_bytes": 0},
    {"cache_max_bytes": 1.5},
    {"cache_max_bytes": True},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", WRONG, ids=str)
def test_a_wrong_value_names_task_option_value_and_what_is_accepted(
    new_app: NewApp, way: Callable[..., Celery], options: dict[str, Any]
):
    (name, value), *_ = options.items()
    with pytest.raises(OptionError) as caught:
        way(new_app, options)
    message = str(caught.value)
    assert "'proj.wrong'" in message
    assert name in message
    assert "it takes" in message or "its arguments are" in message
    assert repr(value) in message or "'typo'" in message
    assert isinstance(caught.value, JobtasticError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("herd_avoidence_timeout", "herd_avoidance_timeout"),
        ("herd_avoidance_timeouts", "herd_avoidance_timeout"),
        ("cache_duraton", "cache_duration"),
        ("significant_kwarg", "significant_kwargs"),
        ("cache_prefx", "cache_prefix"),
    ],
)
def test_a_misspelt_option_names_the_one_that_was_meant(new_app, way, misspelt, meant):
    with pytest.raises(OptionError, match=rf"'proj.wrong'.*{misspelt}=60; did you mean '{meant}'\? It takes"):
        way(new_app, {misspelt: 60})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "own",
    [{"cache_timeout": 1}, {"herd_timeout": 1}, {"_cache_duraton": 1}, {"cache_duraton": lambda self: 1}],
)
def test_names_of_the_users_own_are_not_taken_for_slips(new_app, way, own):
    app = way(new_app, own)
    assert not is_changed(app.tasks["proj.wrong"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({"cache_duration": 0}, 0),
        ({"cache_duration": timedelta(hours=1)}, 3600),
        ({"cache_duration": timedelta(seconds=-1)}, -1),
        ({"herd_avoidance_timeout": timedelta(minutes=1)}, 60),
        ({"herd_avoidance_timeout": timedelta(0)}, None),
        ({"cache_duration": -1}, -1),
        ({"cache_duration": 0.5}, 0.5),
        ({"herd_avoidance_timeout": 60}, 60),
        ({"herd_avoidance_timeout": 0}, None),
        ({"herd_avoidance_timeout": None}, None),
        ({"significant_kwargs": None}, None),
        ({"significant_kwargs": []}, ()),
        ({"significant_kwargs": ("n",)}, (("n", None),)),
        ({"significant_kwargs": [["n", str]]}, (("n", str),)),
        ({"significant_kwargs": {"n"}}, (("n", None),)),
        ({"cache_prefix": "family"}, "family"),
        ({"cache_prefix": None}, None),
        ({"cache_tags": None}, None),
        ({"cache_tags": []}, None),
        ({"cache_failures_for": None}, {}),
        ({"cache_failures_for": {}}, {}),
        ({"cache_when": None}, None),
        ({"cache_max_bytes": None}, None),
    ],
    ids=str,
)
def test_each_form_that_an_option_takes_is_read(new_app, way, options, read):
    app = way(new_app, options)
    task = app.tasks["proj.wrong"]
    (name,) = options
    assert is_changed(task)
    assert installation_on(app).policy_of(type(task))[name] == read  # type: ignore[index]


def test_options_that_are_not_given_have_their_defaults(new_app):
    app = by_decorator(new_app, {"cache_prefix": "family"})
    policy = installation_on(app).policy_of(type(app.tasks["proj.wrong"]))
    assert dict(policy.options) == {
        "significant_kwargs": None,
        "cache_prefix": "family",
        "key_context": None,
        "cache_tags": None,
        "herd_avoidance_timeout": None,
        "cache_duration": -1,
        "cache_stale_for": 0.0,
        "cache_failures_for": {},
        "cache_when": None,
        "cache_max_bytes": None,
        "on_duplicate": "join",
        "memleak_threshold": -1,
        "memleak_trace": False,
    }


def test_an_annotation_overrides_what_the_task_says_right_or_wrong(new_app):
    app = new_app(task_annotations={"proj.right": {"cache_duration": "soon"}})
    right = app.task(_body, name="proj.right", shared=False, cache_duration=60)
    with pytest.raises(OptionError, match="'soon'"):
        real(right)
    app = new_app(task_annotations={"proj.right": {"cache_duration": 5}})
    app.task(_body, name="proj.right", shared=False, cache_duration="soon")
    assert installation_on(app).policy_of(type(app.tasks["proj.right"]))["cache_duration"] == 5  # type: ignore[index]


def test_names_that_double_star_catches_may_be_significant(new_app):
    app = new_app()

    @app.task(significant_kwargs=["colour"], shared=False, cache_duration=1)
    def paint(n, **more):
        return n

    assert key_of(paint, 1, colour="red") == key_of(paint, 2, colour="red", size=3)
    assert key_of(paint, 1, colour="red") != key_of(paint, 1, colour="blue")


@pytest.mark.parametrize("way", [by_annotation, by_annotation_and_setting])
def test_an_attribute_error_while_annotating_is_not_lost(new_app, way):
    """Celery up to 5.6.2 takes one for a missing method, and drops the annotation without a word."""
    with pytest.raises(JobtasticError, match=r"annotating 'proj.wrong' failed.*no_such_method"):
        way(new_app, {"@no_such_method": lambda method: method})


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, 1j, [1]])
def test_a_number_is_finite_and_no_boolean(value):
    with pytest.raises(TypeError):
        finite_number(value)


def test_all_that_is_wrong_with_a_task_is_said_at_once(new_app):
    with pytest.raises(OptionError) as caught:
        by_decorator(new_app, {"cache_duration": "soon", "herd_avoidance_timeout": -1, "cache_prefx": "x"})
    misspelt, *values = str(caught.value).splitlines()
    assert "unknown option cache_prefx='x'" in misspelt
    assert [value.split()[2].partition("=")[0] for value in values] == [
        "herd_avoidance_timeout",
        "cache_duration",
    ]


def test_a_class_without_a_name_is_called_by_where_it_stands():
    wrong = type("Wrong", (Task,), {"__module__": "proj.tasks", "size": 0})
    with pytest.raises(OptionError, match=r"task 'proj.tasks.Wrong': size=0 .* it takes a size"):
        read_options(wrong, [Option("size", 1, "a size", lambda value: 1 // value if value else int("x"))])


def test_a_method_of_an_options_name_belongs_to_its_class(new_app):
    """As the ``on_duplicate`` of celery-singleton."""

    class Singleton(Task):
        abstract = True

        def on_duplicate(self, existing_task_id):
            return existing_task_id

        @property
        def cache_duration(self):
            return 60

    app = new_app()
    alone = app.task(_body, base=Singleton, name="proj.alone", shared=False)
    shared = app.task(_body, base=Singleton, name="proj.shared", shared=False, herd_avoidance_timeout=60)
    app.finalize()
    assert not is_changed(alone)
    policy = installation_on(app).policy_of(type(app.tasks["proj.shared"]))
    assert policy is not None
    assert (policy["on_duplicate"], policy.avoids_herds, policy.caches) == ("join", True, False)
    assert shared.on_duplicate("an id") == "an id"


def test_a_function_that_a_class_defines_is_an_option_where_that_takes_functions():
    class Report(Task):
        def cache_tags(**arguments):
            return [f"customer:{arguments['customer']}"]

    options = read_options(Report, [CACHE_TAGS])
    assert options is not None
    assert options["cache_tags"](customer=5) == ["customer:5"]


def test_a_wrong_option_of_a_metaclass_is_refused_like_any_other():
    class Meta(type):
        size = "large"

    with pytest.raises(OptionError, match="size='large' is not accepted"):
        read_options(Meta("Report", (Task,), {"name": "proj.report"}), [Option("size", 1, "a size", int)])
