"""Keys of functions, and the serializers by which arguments travel."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from celery import Task

from jobtastic_signals.keys.recipe import KeyRecipe

#: Those of Celery that are installed: YAML and MessagePack come with extras.
SERIALIZERS = [name for name in ("json", "pickle", "yaml", "msgpack") if find_spec(name) is not None]


def keys_of(function: Any, *, name: str = "proj.task", serializer: str = "json", **options: Any) -> Any:
    """Makes the keys of a bound task with *function* for its body."""
    cls = type("Made", (Task,), {"run": function, "name": name})
    task = SimpleNamespace(name=name, serializer=serializer)
    recipe = KeyRecipe(cls, {"significant_kwargs": None, "cache_prefix": None, **options})
    return lambda *args, **kwargs: recipe.key(task, args, kwargs)
