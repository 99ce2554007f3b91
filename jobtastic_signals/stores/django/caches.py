"""Django's caches, made so that they unpickle nothing but plain data.

Django pickles nearly all that it caches, and unpickles whatever it finds. What this package stores there is
text. So its own connections to a cache read a pickle without looking up any name in it: no class, no
function, no code. For Redis and Memcached that is an option of Django's backends; for a database it is not.
"""

from __future__ import annotations

import io
import pickle  # nosec B403  # for an unpickler that looks up no name
from types import FunctionType
from typing import Any

from django.core.cache import CacheHandler
from django.core.cache.backends import db
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache
from django.utils.module_loading import import_string

__all__ = ["UNREADABLE", "_StrictCaches", "may_unpickle"]


class _Unreadable:
    """What a cache has for a value that is no plain data."""

    def __repr__(self) -> str:
        return "a value that is not read"


UNREADABLE = _Unreadable()

#: The flag of a text in pymemcache, which may not be installed.
FLAG_TEXT = 16


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused to look up {module}.{name}")


def _loads(data: bytes) -> Any:
    """Return what *data* is the pickle of, if that is plain data."""
    try:
        return _PlainData(io.BytesIO(data)).load()
    except Exception:  # The errors of a broken pickle are of many types.
        return UNREADABLE


class _Pickle:
    """What Django's module for databases needs of :mod:`pickle`."""

    HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL
    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(_loads)


class StrictSerializer:
    """A serializer for Django's Redis backend."""

    def dumps(self, value: object) -> bytes:
        """Return the pickle of *value*, as Django writes it."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        """Return the value of *data* if that is plain data."""
        return _loads(data)


class StrictSerde:
    """Text and nothing else, for Django's backend of pymemcache."""

    def serialize(self, key: Any, value: str) -> tuple[bytes, int]:
        """Return *value* as pymemcache writes a text."""
        return value.encode(), FLAG_TEXT

    def deserialize(self, key: Any, value: bytes, flags: int) -> Any:
        """Return the text of *value*, whatever the flags say."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            return UNREADABLE


class _StrictDatabaseCache(DatabaseCache):  # type: ignore[misc]  # Django has no types
    """A cache in a database, in which a row that cannot be read costs no other row."""

    # Django has no hook for how a row is read. It is the same function, with another ``pickle``.
    _read = FunctionType(
        DatabaseCache.get_many.__code__, {**vars(db), "pickle": _Pickle}, "get_many", (None,)
    )

    def get_many(self, keys: Any, version: Any = None) -> dict[str, Any]:
        names = list(keys)
        try:
            found: dict[str, Any] = self._read(names, version)
        except (TypeError, ValueError, AttributeError):
            if len(names) == 1:
                return {names[0]: UNREADABLE}
            parts = [self.get_many([name], version) for name in names]
            found = {name: value for part in parts for name, value in part.items()}
        return found


class _StrictCaches(CacheHandler):  # type: ignore[misc]
    """The caches of Django's settings, for the use of this package alone."""

    def create_connection(self, alias: str) -> BaseCache:
        params = dict(self.settings[alias])
        backend, location = import_string(params.pop("BACKEND")), params.pop("LOCATION", "")
        options = dict(params.pop("OPTIONS", None) or {})
        if issubclass(backend, RedisCache):
            options.setdefault("serializer", StrictSerializer)
        elif issubclass(backend, PyMemcacheCache):
            options.setdefault("serde", StrictSerde())
        elif backend is DatabaseCache:
            backend = _StrictDatabaseCache
        return backend(location, {**params, "OPTIONS": options})


def may_unpickle(backend: type) -> bool:
    """Return whether a cache of this kind may unpickle what others have put there."""
    if backend is DatabaseCache:
        return False
    return not issubclass(backend, (RedisCache, PyMemcacheCache, LocMemCache))
