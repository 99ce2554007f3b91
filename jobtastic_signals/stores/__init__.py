"""Where claims and results live: the contract in :mod:`.base`, and one module for each store."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import SettingError
from ..redaction import told
from .base import Claim, Result, Store

__all__ = ["Claim", "Result", "Store", "open_store"]

_STORES = {
    "disk": ".disk:DiskStore",
    "memory": ".memory:MemoryStore",
}


def open_store(url: str, **options: Any) -> Store:
    """The store that *url* names; *options* are those of its class, and the URL's query adds to them.

    :raises SettingError: for an unknown scheme, and for options that the store does not take.

    >>> open_store("memory://")
    <MemoryStore memory://>
    """
    check_url(url)
    parts = urlsplit(url)
    module, _, name = _STORES[parts.scheme].partition(":")
    store: type[Store] = getattr(import_module(module, __name__), name)
    query = {name: _number(value) for name, value in parse_qsl(parts.query)}
    try:
        return store.from_url(url.partition("?")[0], **{**options, **query})
    except TypeError as error:
        raise SettingError(f"jobtastic_store={told(url)} with options {told(options)}: {error}") from error


def check_url(url: str) -> None:
    """Accept *url* if its scheme is a store's.

    :raises SettingError: otherwise.
    """
    if not isinstance(url, str) or urlsplit(url).scheme not in _STORES:
        known = ", ".join(f"{scheme}://" for scheme in _STORES)
        raise SettingError(f"jobtastic_store={told(url)} names no store; the stores are {known}")


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
