"""The ``jobtastic_...`` settings: what they take, what is said of a wrong one, and what reaches the store."""

import logging
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from celery import Celery
from celery.worker.control import Panel

from jobtastic_signals import Jobtastic, SettingError
from jobtastic_signals.handlers.workers import worker_init
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores import disk, open_store
from jobtastic_signals.stores.memory import MemoryStore


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """The user's cache directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def new_app():
    """Makes apps with the plugin and a task ``double``, and switches it off in the end."""
    made = []

    def new_app(*, broker="memory://", backend="cache+memory://", **settings):
        app = Celery("proj", broker=broker, backend=backend, set_as_current=False)
        app.conf.update(settings)
        made.append((app, Jobtastic(app)))

        @app.task(name="double", shared=False, herd_avoidance_timeout=60, cache_duration=60)
        def double(value):
            return value * 2

        return app

    yield new_app
    for app, plugin in made:
        plugin.uninstall(app)
        app.close()


def read(**settings):
    app = Celery("proj", set_as_current=False)
    app.conf.update(settings)
    return Settings.read(app)


def default_folder(broker="memory://", backend="cache+memory://"):
    store = Settings.read(Celery("proj", broker=broker, backend=backend, set_as_current=False)).store
    assert urlsplit(store).scheme == "disk"
    return Path(unquote(urlsplit(store).path))


# What is accepted


def test_settings_say_what_was_configured():
    options = {"size_limit": 1000}
    settings = read(
        jobtastic_store="disk:///srv/store?timeout=1",
        jobtastic_store_options=options,
        jobtastic_namespace="r-1.2",
    )
    configured = (settings.store, settings.store_options, settings.namespace)
    assert configured == ("disk:///srv/store?timeout=1", options, "r-1.2")
    assert settings == read()._replace(store=configured[0], store_options=options, namespace="r-1.2")


def test_durations_may_be_timedeltas():
    settings = read(
        jobtastic_lease=timedelta(minutes=1),
        jobtastic_progress_interval=timedelta(0),
        jobtastic_broker_deadline=timedelta(milliseconds=500),
        jobtastic_store_options={"timeout": timedelta(seconds=2), "size_limit": 3},
    )
    assert (settings.lease, settings.progress_interval, settings.broker_deadline) == (60.0, 0.0, 0.5)
    assert settings.store_options == {"timeout": 2.0, "size_limit": 3}


def test_settings_have_defaults():
    settings = read()
    assert settings.store.startswith("disk:///")
    assert (settings.store_options, settings.namespace) == ({}, "")
    assert (settings.store_required, settings.key_required, settings.memleak_redact) == (
        False,
        True,
        frozenset(),
    )
    assert (settings.lease, settings.progress_interval, settings.broker_deadline) == (30.0, 0.1, 2.0)


def test_settings_work_in_djangos_namespace():
    app = Celery("proj", set_as_current=False)
    django_settings = SimpleNamespace(
        CELERY_JOBTASTIC_STORE="memory://", CELERY_JOBTASTIC_NAMESPACE="r1", JOBTASTIC_STROE="not Celery's"
    )
    app.config_from_object(django_settings, namespace="CELERY")
    assert Settings.read(app) == read()._replace(store="memory://", namespace="r1")


def test_a_setting_made_on_the_app_counts_beside_djangos_namespace():
    app = Celery("proj", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_TASK_ACKS_LATE=True), namespace="CELERY")
    app.conf.jobtastic_store = "memory://"
    assert Settings.read(app).store == "memory://"


def test_a_setting_in_capitals_without_a_namespace_is_no_key_error():
    app = Celery("proj", set_as_current=False)
    app.config_from_object(SimpleNamespace(JOBTASTIC_STORE="memory://"))
    Settings.read(app)


def test_a_misspelt_setting_in_djangos_namespace_is_told_of():
    app = Celery("proj", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_JOBTASTIC_STROE="memory://"), namespace="CELERY")
    with pytest.raises(SettingError, match="jobtastic_stroe='memory://'; did you mean 'jobtastic_store'"):
        Settings.read(app)


# What is not


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("jobtastic_stroe", "jobtastic_store"),
        ("jobtastic_store_option", "jobtastic_store_options"),
        ("jobtastic_name_space", "jobtastic_namespace"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(given, meant):
    with pytest.raises(SettingError) as refusal:
        read(**{given: "value"})
    assert f"unknown setting {given}=" in str(refusal.value)
    assert repr(meant) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value", "shown", "accepted"),
    [
        ("jobtastic_store_options", "size_limit=3", "'**'", "a dict"),
        ("jobtastic_store_options", [("size_limit", 3)], "<list>", "a dict"),
        ("jobtastic_namespace", "a/b", "'a/b'", "letters, digits and . _ -"),
        ("jobtastic_namespace", 3, "3", "letters, digits and . _ -"),
        ("jobtastic_store", "nosuch://host", "'nosuch://host'", "the stores are"),
        ("jobtastic_store", "/srv/store", "'/srv/store'", "the stores are disk://, "),
        ("jobtastic_store", "", "''", "the stores are disk://, "),
        ("jobtastic_store", None, "None", "the stores are disk://, "),
        ("jobtastic_store", Path("/srv/store"), "PosixPath('/srv/store')", "the stores are disk://, "),
    ],
)
def test_a_wrong_value_is_refused_with_the_setting_the_value_and_what_is_accepted(
    name, value, shown, accepted
):
    with pytest.raises(SettingError) as refusal:
        read(**{name: value})
    message = f"{refusal.value} ({refusal.value.__cause__})"
    assert f"{name}={shown}" in message
    assert accepted in message


@pytest.mark.parametrize("opening", [lambda url: read(jobtastic_store=url), open_store], ids=["read", "open"])
def test_an_unknown_store_is_refused_with_all_there_are(opening):
    with pytest.raises(SettingError) as refusal:
        opening("nosuch://host")
    message = f"{refusal.value} ({refusal.value.__cause__})"
    assert "nosuch://host" in message
    for scheme in ("disk://", "memory://"):
        assert scheme in message


@pytest.mark.parametrize(
    "settings",
    [
        {"jobtastic_stroe": "memory://"},
        {"jobtastic_namespace": "a/b"},
        {"jobtastic_store": "nosuch://host"},
        {"jobtastic_store": "disk://relative"},
        {"jobtastic_store": "disk://host/path"},
        {"jobtastic_store": "disk:///srv/store?sise_limit=3"},
        {"jobtastic_store": "memory://", "jobtastic_store_options": {"size_limit": 3}},
    ],
    ids=str,
)
def test_a_wrong_setting_is_raised_by_each_call_of_a_task(new_app, settings):
    app = new_app(**settings)
    for _ in range(2):
        with pytest.raises(SettingError):
            app.tasks["double"].delay(1)


@pytest.mark.parametrize(
    ("option", "value"), [("sise_limit", 3), ("nosuch", 3), ("size_limit", "abc"), ("timeout", -1)]
)
@pytest.mark.parametrize("place", ["query", "options"])
def test_an_option_that_the_store_does_not_take_is_named(new_app, tmp_path, option, value, place):
    url, options = f"disk://{tmp_path}/store", {option: value}
    if place == "query":
        url, options = f"{url}?{option}={value}", {}
    app = new_app(jobtastic_store=url, jobtastic_store_options=options)
    with pytest.raises(SettingError) as refusal:
        app.tasks["double"].delay(1)
    assert option in str(refusal.value)
    assert f"disk://{tmp_path}/store" in str(refusal.value)


def test_a_worker_with_a_wrong_setting_says_so_and_runs_the_task(new_app, caplog):
    app = new_app(jobtastic_store="disk://host/path")
    assert app.tasks["double"].apply((21,)).get() == 42
    assert any("disk:///absolute/path" in record.exc_text for record in caplog.records if record.exc_text)
    assert all(record.name.startswith("jobtastic_signals") for record in caplog.records if record.exc_text)


@pytest.mark.parametrize("name", ["jobtastic_timeout", "jobtastic_x", "jobtastic_cache"])
def test_a_setting_that_is_like_none_is_refused_with_all_there_are(name):
    with pytest.raises(SettingError) as refusal:
        read(**{name: "value"})
    assert "did you mean" not in str(refusal.value)
    assert "the settings are jobtastic_store, " in str(refusal.value)


def test_all_wrong_settings_are_reported_at_once():
    with pytest.raises(SettingError) as refusal:
        read(jobtastic_stroe="x", jobtastic_lease=timedelta(0), jobtastic_key_required=1)
    assert len(str(refusal.value).splitlines()) == 3


def test_an_error_about_the_url_of_a_store_lists_the_schemes():
    with pytest.raises(SettingError, match=r"the stores are disk://, .*redis://, .*Class\+scheme://"):
        read(jobtastic_store="nosuch://host")


class Unreachable(MemoryStore):
    """Connects when it is opened."""

    def __init__(self, *arguments, **options):
        raise ConnectionError("refused")


def test_a_store_that_is_away_stops_no_worker(new_app):
    app = new_app(jobtastic_store=f"{__name__}:Unreachable+memory://")
    Panel.meta.pop("jobtastic", None)
    worker_init(SimpleNamespace(app=app))
    assert "jobtastic" in Panel.meta


@pytest.mark.parametrize("settings", [{"jobtastic_stroe": "x"}, {"jobtastic_store": "disk://host/path"}])
def test_a_wrong_setting_stops_a_worker(new_app, settings):
    with pytest.raises(SystemExit, match=r"^The worker cannot start: .*jobtastic_store"):
        worker_init(SimpleNamespace(app=new_app(**settings)))


# What reaches the store


@pytest.fixture
def opened_with(monkeypatch):
    """The URLs and options that disk stores are opened with."""
    calls = []

    class Recorded(disk.DiskStore):
        def __init__(self, url, **options):
            calls.append((url, options))
            super().__init__(url, **options)

    monkeypatch.setattr(disk, "DiskStore", Recorded)
    return calls


def test_options_and_query_reach_the_store_and_the_query_counts(new_app, tmp_path, opened_with):
    app = new_app(
        jobtastic_store=f"disk://{tmp_path}/store?timeout=1.5&size_limit=2000",
        jobtastic_store_options={"size_limit": 1000},
    )
    app.tasks["double"].delay(1)
    assert opened_with == [(f"disk://{tmp_path}/store", {"size_limit": 2000, "timeout": 1.5})]
    assert isinstance(opened_with[0][1]["size_limit"], int)


def test_the_query_reaches_the_default_folder_as_well(new_app, opened_with):
    app = new_app(jobtastic_store="disk://?timeout=1")
    app.tasks["double"].delay(1)
    assert opened_with == [(f"disk://{default_folder()}", {"timeout": 1})]


def test_a_namespace_is_an_empty_cache(new_app, tmp_path):
    runs = []
    for namespace in ("r1", "r2", "r1"):
        app = new_app(jobtastic_store=f"disk://{tmp_path}/store", jobtastic_namespace=namespace)

        @app.task(name="counted", shared=False, cache_duration=60)
        def counted(value, namespace=namespace):
            runs.append(namespace)
            return value

        counted.apply((1, "always the same"))
    assert len(runs) == 2


def test_it_works_with_no_setting_at_all(new_app, cache_dir, caplog):
    double = new_app().tasks["double"]
    assert double.apply((21,)).get() == double.apply((21,)).get() == 42
    assert (default_folder() / "results").is_dir()
    assert default_folder().is_relative_to(cache_dir)
    assert [
        r for r in caplog.records if r.name.startswith("jobtastic") and r.levelno >= logging.WARNING
    ] == []


# The default folder


def test_the_default_folder_is_the_users(cache_dir):
    assert default_folder().parent == cache_dir / "jobtastic-signals"


def test_the_default_folder_may_have_a_name_that_a_url_must_quote(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my #1 cache? 100%"))
    assert default_folder().is_relative_to(tmp_path / "my #1 cache? 100%")


def test_brokers_and_backends_have_a_default_folder_for_each_pair():
    places = ["redis://one/0", "redis://one/1", "redis://two/0"]
    folders = {default_folder(broker, backend) for broker in places for backend in places}
    assert len(folders) == len(places) ** 2
    assert default_folder(places[0], places[1]) in folders


def test_a_relative_path_means_another_file_in_another_folder(tmp_path, monkeypatch):
    places = ("sqla+sqlite:///broker.db", "db+sqlite:///results.db")
    absolute = ("sqla+sqlite:////srv/broker.db", "db+sqlite:////srv/results.db")
    folders, fixed = set(), set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        folders.add(default_folder(*places))
        fixed.add(default_folder(*absolute))
    assert (len(folders), len(fixed)) == (2, 1)


@pytest.mark.parametrize("place", ["broker", "backend"])
@pytest.mark.parametrize("password", ["", "user@", "user:@", ":s3cret@", "user:s3cret@", "user:other%2F%40@"])
def test_a_password_has_no_influence_on_the_default_folder(place, password):
    assert default_folder(**{place: f"redis://{password}host/0"}) == default_folder(
        **{place: "redis://host/0"}
    )


def test_passwords_of_a_list_of_brokers_have_none_either():
    assert default_folder("amqp://a:1@one//;amqp://a:2@two//") == default_folder("amqp://one//;amqp://two//")
    assert default_folder(["amqp://a:1@one//", "amqp://a:2@two//"]) == default_folder(
        ["amqp://one//", "amqp://two//"]
    )
