"""The error for an argument without a canonical form, with what helps there."""

from __future__ import annotations

from typing import Any

from celery import Task

from ..errors import UnkeyableError
from .roundtrip import can_carry, serializer_of

__all__ = ["refusal"]


def refusal(task: Task[Any, Any], name: str, reason: str, value: Any = None) -> UnkeyableError:
    """Return the error that says for which *reason* the argument *name* has no canonical form.

    :param value: the argument. What the task's serializer cannot carry needs another remedy.
    """
    serializer = serializer_of(task)
    if can_carry(value, serializer):
        remedy = (
            f"Give it a to_str in significant_kwargs, such as ({name!r}, my_function); or leave it out of "
            "significant_kwargs; or register its type with jobtastic_signals.register_type"
        )
    else:
        remedy = f"The serializer {serializer} cannot carry it, so pass plain data that identifies it"
    return UnkeyableError(
        f"task {task.name!r}: argument {name!r} has no canonical form: {reason}. {remedy}", argument=name
    )
