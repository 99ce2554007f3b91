"""The setting ``JOBTASTIC_CACHE``, as a URL of a store."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery

from ..errors import SettingError
from ..support.redaction import redacted_repr

__all__ = ["use_store_of_jobtastic"]

_STORE, _CACHE = "jobtastic_store", "JOBTASTIC_CACHE"

#: Caches of Django that cannot keep claims: private to a process, without memory, or not atomic.
_UNSHARED = ("LocMemCache", "DummyCache", "FileBasedCache")

#: How the URLs of Celery's backends for Memcached begin.
_MEMCACHED = ("cache+memcached://", "cache+pylibmc://", "cache+pymemcache://")


def use_store_of_jobtastic(app: Celery[Any]) -> None:
    """Set ``jobtastic_store`` to where jobtastic kept its locks, unless it is set already.

    :raises SettingError: for a cache that no URL names.
    """
    if _given(app, _STORE) is None:
        store = _store_of(app, _given(app, _CACHE))
        if store is not None:
            app.conf[_STORE] = store


def _store_of(app: Celery[Any], cache: Any) -> str | None:
    """Return the store that *cache* stands for; ``None`` for the plugin's own default."""
    if not cache:
        # jobtastic took Django's default cache, or else the server of the result backend.
        return "django://default" if _has_shared_cache() else _at_server(str(app.conf.result_backend or ""))
    if not isinstance(cache, str):
        raise SettingError(
            f"{_CACHE}={redacted_repr(cache)} is not accepted: an object with a lock of its own cannot keep "
            f"claims; name a cache of Django, or set {_STORE} to the URL of a store"
        )
    if "://" not in cache:
        return f"django://{quote(cache, safe='')}"
    return _at_server(cache) or cache


def _at_server(url: str) -> str | None:
    """Return the store on the server of a result backend; ``None`` if it cannot be one."""
    if url.startswith(("redis://", "rediss://")):
        return url
    scheme = next((each for each in _MEMCACHED if url.startswith(each)), None)
    if scheme is None:
        return None
    return "memcached://" + url.removeprefix(scheme).rstrip("/").replace(";", ",")


def _has_shared_cache() -> bool:
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
    except ImportError:
        return False
    try:
        backend = str(settings.CACHES["default"]["BACKEND"])
    except (ImproperlyConfigured, KeyError):
        return False
    return not backend.endswith(_UNSHARED)


def _given(app: Celery[Any], name: str) -> Any:
    """Return a setting, which can stand in Django's settings with the prefix of Celery's."""
    for each in (f"{app.conf.prefix or ''}{name.upper()}", name, name.lower()):
        if (value := app.conf.get(each)) is not None:
            return value
    return None
