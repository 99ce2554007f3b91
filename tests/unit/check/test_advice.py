"""What a check says of settings and options that work, and probably not as meant."""

import datetime
from types import SimpleNamespace

import pytest
from celery import Celery, shared_task

from jobtastic_signals import Jobtastic
from jobtastic_signals.cli.check.base import Level
from tests.support.checks import checked


def add(app, name="report", **options):
    @app.task(name=name, shared=False, **options)
    def report():
        pass


def nothing():
    pass


def notes_of(app):
    record = checked(app)
    assert record.to_fix == 0
    return record.about("task", Level.NOTE)


# All at once


def test_all_that_is_wrong_is_reported_at_once(new_app, tmp_path):
    app = new_app(
        jobtastic_store=f"disk://{tmp_path}",
        jobtastic_lease="soon",
        jobtastic_namespace="a/b",
        jobtastic_nothing_like_it=1,
    )
    add(app, "one", cache_duration="soon", herd_avoidance_timeout=-1)
    add(app, "two", significant_kwargs=["typo"])
    add(app, "three", cache_duratoin=1)
    shared_task(nothing, name="four", cache_duratoin=2)
    shared_task(nothing, name="five", cache_duratoin=3)
    record = checked(app)
    settings, tasks = record.about("settings", Level.FIX), record.about("task", Level.FIX)
    assert [reason.partition("=")[0].split()[-1] for reason in settings] == [
        "jobtastic_nothing_like_it",
        "jobtastic_namespace",
        "jobtastic_lease",
    ]
    assert len(tasks) == len(set(tasks)) == 6
    for wrong in ("cache_duration='soon'", "herd_avoidance_timeout=-1", "names 'typo'", "cache_duratoin=1"):
        assert wrong in "".join(tasks)
    assert "'four'" in "".join(tasks)
    assert "'five'" in "".join(tasks)
    assert record.about("task", Level.NOTE) == []
    # The store is checked all the same, since its own settings are right.
    assert len(record.about("store", Level.OK)) == 3


@pytest.mark.parametrize(
    "wrong", [{"jobtastic_store": "nosuch://"}, {"jobtastic_store_options": 3}, {"jobtastic_stroe": "x"}]
)
def test_a_store_that_was_not_meant_is_not_checked(new_app, folder, wrong):
    record = checked(new_app(**{"jobtastic_store": f"disk://{folder}", **wrong}))
    assert (record.about("store"), record.to_fix) == ([], 1)


# Settings


@pytest.mark.parametrize(
    ("namespace", "given", "right"),
    [
        ("CELERY", "JOBTASTIC_STORE", "CELERY_JOBTASTIC_STORE"),
        ("CELERY", "JOBTASTIC_STROE", "CELERY_JOBTASTIC_STROE"),
        (None, "JOBTASTIC_STORE", "jobtastic_store"),
        (None, "CELERY_JOBTASTIC_STORE", "jobtastic_store"),
    ],
)
def test_a_setting_that_celery_does_not_read_is_named_with_its_right_name(
    new_app, tmp_path, monkeypatch, namespace, given, right
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    app = Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.config_from_object(SimpleNamespace(**{given: f"disk://{tmp_path}", "DEBUG": 1}), namespace=namespace)
    Jobtastic(app)
    try:
        (reason,) = checked(app).about("settings", Level.FIX)
    finally:
        Jobtastic().uninstall(app)
        app.close()
    assert reason == f"{given} has no effect, because Celery does not read it Name it {right}"


@pytest.mark.parametrize("name", ["JOBTASTIC_CACHE_BACKEND", "MY_JOBTASTIC_STORE", "JOBTASTIC"])
def test_a_setting_of_others_is_left_alone(app, name):
    app.conf[name] = "x"
    assert checked(app).to_fix == 0


# Options


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("herd_timeout", "herd_avoidance_timeout"),
        ("herd_avoidance", "herd_avoidance_timeout"),
        ("cache_ttl", "cache_prefix or cache_tags or cache_duration"),
        ("cache_timeout", "cache_duration"),
        ("significant", "significant_kwargs"),
        ("memleak_limit", "memleak_t"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"cache_duration": 5}], ids=["alone", "beside another"])
def test_an_attribute_that_looks_like_an_option_is_named(app, name, meant, more):
    add(app, **{name: 60}, **more)
    (near,) = notes_of(app)
    assert near.startswith(f"report: {name}=60 is none of our options")
    assert meant in near


def test_attributes_of_the_user_and_of_celery_are_not(app):
    add(
        app,
        cache_duration=5,
        tenant="x",
        _cache_ttl=3,
        rate_limit="1/s",
        herd=1,
        soft_time_limit=3,
        timeout=9,
    )
    assert notes_of(app) == []


@pytest.mark.parametrize(("duration", "notes"), [(0, 1), (datetime.timedelta(0), 1), (1, 0), (-1, 0)])
def test_results_that_are_cached_for_ever_are_named(app, duration, notes):
    add(app, cache_duration=duration)
    found = notes_of(app)
    assert len(found) == notes
    assert all("answer calls for ever" in each for each in found)


@pytest.mark.parametrize(
    ("conf", "options", "reason"),
    [
        ({"task_ignore_result": True}, {}, "because of the setting task_ignore_result"),
        ({}, {"ignore_result": True}, "because of ignore_result"),
        ({"task_ignore_result": True}, {"ignore_result": False}, None),
        ({}, {}, None),
    ],
    ids=str,
)
def test_results_that_nobody_can_read_are_named(new_app, folder, conf, options, reason):
    app = new_app(jobtastic_store=f"disk://{folder}", **conf)
    add(app, cache_duration=60, **options)
    add(app, "plain", **options)
    found = notes_of(app)
    assert len(found) == (reason is not None)
    assert all(reason in each and "ignore_result=False" in each for each in found)


@pytest.mark.parametrize(
    ("conf", "options", "told"),
    [
        ({}, {"herd_avoidance_timeout": 3601}, "visibility_timeout=3600"),
        ({}, {"herd_avoidance_timeout": 60, "time_limit": 3601}, "visibility_timeout=3600"),
        ({}, {"herd_avoidance_timeout": 3600}, None),
        ({"visibility_timeout": 60}, {"herd_avoidance_timeout": 61}, "visibility_timeout=60"),
        ({"visibility_timeout": 7200}, {"herd_avoidance_timeout": 3601}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("broker", ["redis", "sentinel", "memory"])
def test_a_run_that_may_outlast_the_visibility_timeout_of_redis_is_named(
    new_app, folder, monkeypatch, broker, conf, options, told
):
    from jobtastic_signals.cli.check import check

    monkeypatch.setattr(check, "ask_workers", lambda app, timeout: ([], None))
    app = new_app(
        jobtastic_store=f"disk://{folder}",
        broker_url=f"{broker}://127.0.0.1:1/0",
        broker_transport_options=conf,
    )
    add(app, **options)
    found = notes_of(app)
    assert len(found) == (told is not None and broker != "memory")
    assert all(str(told) in each for each in found)


# Workers


def test_a_missing_worker_is_a_note_unless_workers_are_required(app):
    assert checked(app).about("worker", Level.NOTE)
    record = checked(app, require_workers=True)
    (silence,) = record.about("worker", Level.FIX)
    assert silence.startswith("no worker answered")
    assert record.to_fix == 1
