"""Values without a canonical form, and tasks that are called with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import pytest
from celery import Celery, Task

from jobtastic_signals.keys.canonical import MAX_DEPTH
from tests.support.unit_apps import real

SERIALIZERS = [name for name in ("json", "pickle", "yaml", "msgpack") if find_spec(name) is not None]
BOTH = {"herd_avoidance_timeout": 60, "cache_duration": 60}


class Plain:
    """Has neither a canonical form nor a representation of its own; pickle carries it."""

    def method(self) -> None: ...


class Heir(Plain): ...


@dataclass
class Note:
    """Plain data, of a class."""

    text: str

    @cached_property
    def shout(self) -> str:
        return self.text.upper()


def cyclic() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


#: Each makes another one.
UNKEYABLE = {
    "object": Plain,
    "generator": lambda: (n for n in [1]),
    "lock": threading.Lock,
    "cyclic list": cyclic,
    "2,000 levels": lambda: deep(2000),
}

#: Without a canonical form, and yet carried by a serializer.
CARRIED = [
    pytest.param(serializer, make, id=f"{serializer}-{kind}")
    for serializer, kind, make in [
        ("pickle", "object", Plain),
        ("pickle", "complex", lambda: 1j),
        ("pickle", "cyclic list", cyclic),
        ("json", "250 levels", lambda: deep(MAX_DEPTH + 50)),
        ("yaml", "cyclic list", cyclic),
        ("msgpack", "250 levels", lambda: deep(MAX_DEPTH + 50)),
    ]
    if serializer in SERIALIZERS
]

on_all_serializers = pytest.mark.parametrize("serializer", SERIALIZERS)
of_all_kinds = pytest.mark.parametrize("make", UNKEYABLE.values(), ids=UNKEYABLE)


def speaking(serializer: str, **conf: Any) -> dict[str, Any]:
    return {"task_serializer": serializer, "accept_content": ["json", serializer], **conf}


def take(x=None, *rest, flag=None, **more): ...


def add_task(app: Celery, body: Callable[..., Any] = take, name: str = "proj.take", **options: Any) -> Task:
    """A task that shares; of any arguments, unless *body* takes others."""
    # Celery makes source text of it, which "<lambda>" is not.
    body.__name__ = "take"
    return real(app.task(body, name=name, shared=False, **{**BOTH, **options}))
