"""The setting ``JOBTASTIC_CACHE`` names the store, as it named jobtastic's cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from jobtastic_signals import SettingError
from jobtastic_signals.compat.settings import use_store_of_jobtastic
from jobtastic_signals.settings import Settings

REDIS = "redis://:secret-of-redis@127.0.0.1:6379/3"


def store_of(**conf: Any) -> str:
    """The store that an app has with this configuration."""
    app = Celery("proj", set_as_current=False)
    namespace = conf.pop("namespace", None)
    app.config_from_object(SimpleNamespace(**conf), namespace=namespace)
    use_store_of_jobtastic(app)
    return Settings.read(app).store


@pytest.mark.parametrize(
    ("cache", "store"),
    [
        ("shared", "django://shared"),
        ("with space", "django://with%20space"),
        (REDIS, REDIS),
        ("rediss://host/1", "rediss://host/1"),
        ("cache+memcached://127.0.0.1:11211/", "memcached://127.0.0.1:11211"),
        ("cache+pylibmc://a:11211;b:11211/", "memcached://a:11211,b:11211"),
        ("memory://", "memory://"),
    ],
)
def test_what_named_a_cache_names_a_store(cache, store):
    assert store_of(JOBTASTIC_CACHE=cache) == store


@pytest.mark.parametrize("name", ["JOBTASTIC_CACHE", "CELERY_JOBTASTIC_CACHE"])
def test_in_settings_with_a_namespace_it_has_both_names(name):
    assert store_of(**{name: "shared", "namespace": "CELERY"}) == "django://shared"


def test_the_plugins_own_setting_comes_first():
    both = {"CELERY_JOBTASTIC_CACHE": "shared", "CELERY_JOBTASTIC_STORE": REDIS, "namespace": "CELERY"}
    assert store_of(**both) == REDIS


@pytest.mark.parametrize(
    ("backend", "store"),
    [(REDIS, REDIS), ("cache+memcached://a:11211/", "memcached://a:11211"), ("db+sqlite://", "disk://")],
)
def test_without_it_the_server_of_the_result_backend_is_taken(backend, store):
    assert store_of(result_backend=backend).startswith(store)


@pytest.mark.parametrize(
    ("backend", "store"),
    [
        ("redis.RedisCache", "django://default"),
        ("locmem.LocMemCache", "disk://"),
        ("dummy.DummyCache", "disk://"),
    ],
)
def test_without_it_the_default_cache_of_django_is_taken_if_processes_share_it(monkeypatch, backend, store):
    caches = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    monkeypatch.setattr("django.conf.settings", SimpleNamespace(CACHES=caches))
    assert store_of().startswith(store)


def test_an_object_is_refused():
    with pytest.raises(SettingError, match=r"JOBTASTIC_CACHE=.* is not accepted: .* jobtastic_store"):
        store_of(JOBTASTIC_CACHE=object())


def test_without_the_base_class_it_is_an_unknown_setting():
    app = Celery("proj", set_as_current=False)
    app.conf.jobtastic_cache = "shared"
    with pytest.raises(SettingError, match="unknown setting jobtastic_cache"):
        Settings.read(app)
