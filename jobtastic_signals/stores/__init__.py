"""Where claims and results live: the contract in :mod:`.base`, and one module for each store."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from kombu.utils.imports import symbol_by_name

from ..errors import SettingError, StoreError
from ..support.redaction import redacted_repr, scrubbed
from .base import Store
from .entry import REMEMBERED_FOR, Claim, Entry, Result

__all__ = [
    "REMEMBERED_FOR",
    "Claim",
    "Entry",
    "Result",
    "Store",
    "open_shared_store",
    "open_store",
]

_REDIS = (".redis.store:RedisStore", "redis")

#: The class for each scheme, and the extra that installs its driver.
_STORES: dict[str, tuple[str, str | None]] = {
    "disk": (".disk:DiskStore", None),
    "django": (".django.store:DjangoStore", "django"),
    "memcached": (".memcached.store:MemcachedStore", "memcached"),
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

# With the scheme, since a URL that lost its own can begin with a user and a password.
_OTHERS = re.compile(r"(?P<path>[\w.]+:\w+)\+(?P<url>[A-Za-z][\w+.-]*://.*)", re.DOTALL)


def open_store(url: str, **options: Any) -> Store:
    """Return the store that *url* names.

    *options* are keyword arguments of its class, and the query of the URL adds to them.

    A store that is none of ours is named by its class before the URL, as Celery has it for result backends:
    ``package.module:Class+scheme://``.

    :raises SettingError: for an unknown scheme, a class that is not there, or options that are not its own.
    :raises StoreError: if its driver is not installed.

    >>> open_store("memory://")
    <MemoryStore memory://>
    >>> open_store("jobtastic_signals.stores.memory:MemoryStore+memory://")
    <MemoryStore memory://>
    """
    check_url(url)
    named = _OTHERS.fullmatch(url)
    if named is None:
        store = _store_of(_scheme_of(url))
    else:
        store, url = _class_at(named["path"], url), named["url"]
    try:
        return store.from_url(url, **options)
    except SettingError:
        raise  # It says more.
    except (TypeError, ValueError) as error:
        reason = scrubbed(str(error), url, options)
        # Without the cause, whose text can quote a password.
        raise SettingError(
            f"jobtastic_store={redacted_repr(url)} with options {redacted_repr(options)}: {reason}"
        ) from None


def open_shared_store(url: str, **options: Any) -> Store:
    """Do the same as :func:`open_store`, for a store that more than one process is to use.

    :raises SettingError: also for a store that belongs to one process.
    :raises StoreError: if its driver is not installed.
    """
    store = open_store(url, **options)
    if store.unshared:
        store.close()
        raise SettingError(f"jobtastic_store={redacted_repr(url)}: {store.unshared}")
    return store


def check_url(url: str) -> None:
    """Accept *url* if its scheme is a store's, or if it begins with the class of a store.

    :raises SettingError: otherwise.
    """
    if isinstance(url, str) and (_OTHERS.fullmatch(url) or _scheme_of(url) in _STORES):
        return
    known = ", ".join(f"{scheme}://" for scheme in _STORES)
    raise SettingError(
        f"jobtastic_store={redacted_repr(url)} names no store; the stores are {known}, and any other by its "
        "class, as package.module:Class+scheme://"
    )


def _class_at(path: str, url: str) -> type[Store]:
    setting = f"jobtastic_store={redacted_repr(url)}"
    try:
        store = symbol_by_name(path)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        reason = scrubbed(str(error), url, {})
        raise SettingError(f"{setting}: its class cannot be imported: {reason}") from None
    if not (isinstance(store, type) and issubclass(store, Store)):
        raise SettingError(f"{setting}: its class is no subclass of jobtastic_signals.Store")
    return store


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
        package = (error.name or "a package").partition(".")[0]
        raise StoreError(f"{scheme}:// needs {package}, which is not installed: {install}") from error
    return store
