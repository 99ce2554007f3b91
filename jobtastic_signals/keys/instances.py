"""What identifies an instance of a class: its registered content, its name, or its fields."""

from __future__ import annotations

import dataclasses
import enum
import functools
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["REGISTERED", "content_of", "name_of", "short_repr"]

#: What ``register_type`` was given, by the class.
REGISTERED: dict[type, Callable[[Any], Any]] = {}


def content_of(value: Any, exact: Mapping[type, Any]) -> tuple[bytes, Any]:
    """Return the tag and the content that identify an instance among those of its class.

    :param exact: the types that have a form of their own.
    :raises TypeError: for a class without a canonical form.
    """
    cls = type(value)
    for base in cls.__mro__:
        if base in REGISTERED:
            return b"R", _registered_content(value, base)
    if issubclass(cls, enum.Enum):
        # Versions of Python differ in how they name combined flags.
        return b"E", value.value if issubclass(cls, enum.Flag) else value.name
    fields = getattr(cls, "_fields", None)
    if issubclass(cls, tuple) and isinstance(fields, tuple) and len(fields) == len(value):
        return b"C", {**dict(zip(fields, value, strict=True)), **_beside(value, fields)}
    if not exact.keys().isdisjoint(cls.__mro__):
        raise TypeError(f"is of type {cls.__module__}.{cls.__qualname__}, which can hold more than its base")
    if "__dataclass_fields__" in vars(cls):
        names = [field.name for field in dataclasses.fields(value)]
        return b"C", {**_attributes(value, names), **_beside(value, names)}
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel) and hasattr(cls, "model_fields"):
        beside = {name: getattr(value, name, None) for name in ("__pydantic_extra__", "__pydantic_private__")}
        more = {name: content for name, content in beside.items() if content}
        return b"C", {**_attributes(value, cls.model_fields), **more}
    raise TypeError(f"is of type {cls.__module__}.{cls.__qualname__}{_advice(cls)}")


def _advice(cls: type) -> str:
    """Return what to do about an instance of *cls*, if it is a model of a database."""
    primary_key = "pk" if hasattr(cls, "pk") else "id" if hasattr(cls, "__mapper__") else None
    if primary_key is None:
        return ""
    return f"; pass its primary key ({primary_key}) instead, and load it in the task"


def _registered_content(value: Any, base: type) -> Any:
    try:
        return REGISTERED[base](value)
    except Exception as error:
        raise TypeError(
            f"is of type {base.__qualname__}, whose registered function failed: {_shown(error)}"
        ) from error


def _shown(error: Exception) -> str:
    try:
        return repr(error)
    except Exception:  # Its own code may raise anything.
        return type(error).__name__


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    try:
        return {name: getattr(value, name) for name in names}
    except AttributeError as error:
        raise TypeError(f"is incomplete ({error})") from None


def _beside(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return attributes of an instance besides its fields, except for cached properties."""
    more = {
        name: content
        for name, content in getattr(value, "__dict__", {}).items()
        if name not in names and not isinstance(getattr(type(value), name, None), functools.cached_property)
    }
    return {"__dict__": more} if more else {}


def name_of(cls: type) -> str:
    """Return the name of a class in a canonical form.

    :raises TypeError: if other classes can have the same name.
    """
    if "<locals>" in cls.__qualname__:
        raise TypeError(
            f"is of the class {cls.__qualname__}, which is defined in a function, so others can have its name"
        )
    return f"{cls.__module__}:{cls.__qualname__}"


def short_repr(key: Any) -> str:
    """Return a short text for a key of a dict, whatever its own ``repr`` does."""
    try:
        return reprlib.repr(key)
    except Exception:  # Such as an int with more digits than Python writes.
        return f"<{type(key).__name__}>"
