"""What is secret in a setting is told nowhere: in no error, warning or event, and in no ``repr``."""

import logging

import pytest
from celery import Celery

from jobtastic_signals import SettingError, events
from jobtastic_signals.settings import Settings
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.support.redaction import redacted_repr, without_passwords

SECRET = "s3cret"
URL = f"memory://me:{SECRET}@host/0?ssl_password={SECRET}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host:6379/0?db=1", "redis://host:6379/0?db=1"),
        ("redis://:s3cret@host/0", "redis://**@host/0"),
        ("redis://s3cret@host/0", "redis://**@host/0"),
        ("redis://me:s3@cret@host/0", "redis://**@host/0"),
        ("redis://me:s3/c?r#e;t@host/0", "redis://**@host/0"),
        ("redis://me:s3\ncret@host/0", "redis://**@host/0"),
        ("unix:///run/redis.sock?db=1&password=s3@cret", "unix:///run/redis.sock?db=1&password=**"),
        ("sentinel://a:1?Sentinel_Password=s3cret&db=1", "sentinel://a:1?Sentinel_Password=**&db=1"),
        ("sentinel://:s3cret@a:1;sentinel://b:2/0", "sentinel://**@a:1;sentinel://b:2/0"),
        ("sentinel://a:1;sentinel://:s3cret@b:2/0", "sentinel://a:1;sentinel://**@b:2/0"),
        ("disk:///srv/me@work/store", "disk:///srv/me@work/store"),
        ("no URL", "no URL"),
    ],
)
def test_a_url_is_told_without_its_passwords(url, expected):
    assert without_passwords(url) == expected
    assert without_passwords(expected) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://:s3cret@host", "'redis://**@host'"),
        ({"password": "s3cret", "db": 1}, "{'password': '**', 'db': 1}"),
        ({"sentinel_kwargs": {"ssl_password": "s3cret"}}, "{'sentinel_kwargs': {'ssl_password': '**'}}"),
        ({"pasword": "s3cret"}, "{'pasword': '**'}"),
        ({"url": "redis://:s3cret@host"}, "{'url': 'redis://**@host'}"),
        ({1: None}, "{1: None}"),
        (3, "3"),
    ],
)
def test_a_setting_is_told_as_its_repr_without_what_is_secret(value, expected):
    assert redacted_repr(value) == expected


def read(**settings):
    app = Celery("proj", set_as_current=False)
    app.conf.update(settings)
    return Settings.read(app)


@pytest.mark.parametrize(
    "fails",
    [
        lambda: open_store(URL.replace("memory", "nosuch")),
        lambda: open_store(URL, nosuch=1, password=SECRET),
        lambda: read(jobtastic_stroe=URL),
        lambda: read(jobtastic_store=URL.replace("memory", "nosuch")),
        lambda: read(jobtastic_store_option={"password": SECRET}),
        lambda: read(jobtastic_store_options=URL),
    ],
)
def test_an_error_about_a_setting_tells_no_password(fails):
    with pytest.raises(SettingError) as refusal:
        fails()
    error = refusal.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def test_no_repr_tells_a_password():
    settings = read(jobtastic_store=URL, jobtastic_store_options={"password": SECRET})
    assert settings.store == URL
    assert SECRET not in repr(settings)
    assert repr(MemoryStore(URL)) == "<MemoryStore memory://**@host/0?ssl_password=**>"


def test_the_guard_tells_no_password(caplog):
    told_of = []

    def fail():
        raise OSError("no connection")

    def remember(sender, **_):
        told_of.append(sender)

    with events.store_unavailable.connected_to(remember), caplog.at_level(logging.INFO):
        GuardedStore(fail, URL).lookup("key")
    assert told_of == ["memory://**@host/0?ssl_password=**"]
    assert "**@host" in caplog.text
    assert SECRET not in caplog.text
