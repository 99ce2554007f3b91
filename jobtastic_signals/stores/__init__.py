"""Where claims and results live: the contract in :mod:`.base`, and one module for each store."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import SettingError, StoreError
from ..redaction import told
from .base import Claim, Result, Store

__all__ = ["Claim", "Result", "Store", "open_store"]

_REDIS = (".redis:RedisStore", "redis")

#: The class for each scheme, and the extra that installs its driver.
_STORES: dict[str, tuple[str, str | None]] = {
    "disk": (".disk:DiskStore", None),
    "django": (".django:DjangoStore", "django"),
    "memcached": (".memcached:MemcachedStore", "memcached"),
    "memory": (".memory:MemoryStore", None),
    "redis": _REDIS,
    "rediss": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "unix": _REDIS,
    "redis+socket": _REDIS,
    "sentinel": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
}


def open_store(url: str, **options: Any) -> Store:
    """The store that *url* names; *options* are those of its class, and the URL's query adds to them.

    :raises SettingError: for an unknown scheme, and for options that the store does not take.
    :raises StoreError: if its driver is not installed.

    >>> open_store("memory://")
    <MemoryStore memory://>
    """
    check_url(url)
    store = _store_of(_scheme_of(url))
    try:
        return store.from_url(url, **options)
    except TypeError as error:
        raise SettingError(f"jobtastic_store={told(url)} with options {told(options)}: {error}") from error


def check_url(url: str) -> None:
    """Accept *url* if its scheme is a store's.

    :raises SettingError: otherwise.
    """
    if not isinstance(url, str) or _scheme_of(url) not in _STORES:
        known = ", ".join(f"{scheme}://" for scheme in _STORES)
        raise SettingError(f"jobtastic_store={told(url)} names no store; the stores are {known}")


def _scheme_of(url: str) -> str:
    # Not by urlsplit, which raises for what a store can refuse with a better word.
    scheme, colon, _ = url.partition(":")
    return scheme.lower() if colon else ""


def _store_of(scheme: str) -> type[Store]:
    path, extra = _STORES[scheme]
    module, _, name = path.partition(":")
    try:
        store: type[Store] = getattr(import_module(module, __name__), name)
    except ModuleNotFoundError as error:
        if extra is None:
            raise
        install = f"pip install 'jobtastic-signals[{extra}]'"
        raise StoreError(f"{scheme}:// needs {error.name}, which is not installed: {install}") from error
    return store
