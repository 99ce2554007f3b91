"""What travels beside the arguments of a call and changes its result, such as a tenant or a language."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from celery import Task
from celery.app.task import Context
from kombu.utils.imports import symbol_by_name

from ..errors import UnkeyableError
from ..options import Option
from .canonical import encode

__all__ = [
    "ACCEPTS",
    "KEY_CONTEXT",
    "ContextOfCall",
    "KeyContext",
    "context_of",
    "form_of",
    "parse_key_context",
]


class KeyContext(NamedTuple):
    """What a ``key_context`` function gets: where the call is, and the headers of its message.

    :ivar headers: in the caller the headers that ``apply_async`` was given, in the worker those of the
        message.
    :ivar is_received: whether a worker received the message. Then only the headers count, since a context
        variable may still have the value of another task.

    >>> def tenant_of(context):
    ...     return context.headers.get("tenant") if context.is_received else current_tenant
    >>> current_tenant = "acme"
    >>> tenant_of(KeyContext()), tenant_of(KeyContext({"tenant": "globex"}, is_received=True))
    ('acme', 'globex')
    """

    headers: Mapping[str, Any] = MappingProxyType({})
    is_received: bool = False


#: A function that returns what adds to the key: any value with a canonical form.
ContextOfCall = Callable[[KeyContext], Any]


def parse_key_context(value: Any) -> ContextOfCall | None:
    """Return the function that *value* is or names.

    :raises TypeError: if it is neither a function nor the name of one.
    :raises ValueError: if the name cannot be imported.
    """
    if isinstance(value, str):
        if not _NAME.fullmatch(value):
            raise ValueError("not a name, such as proj.context:tenant_of")
        try:
            value = symbol_by_name(value)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"it cannot be imported: {error}") from error
    if value is not None and not callable(value):
        raise TypeError("not a function")
    found: ContextOfCall | None = value
    return found


# Nothing else is imported, since the error of an import quotes it.
_NAME = re.compile(r"\w+(?:\.\w+)*(?::\w+)?")

ACCEPTS = "a function that gets a KeyContext and returns what adds to the key, such as a tenant; or its name"

KEY_CONTEXT = Option("key_context", default=None, accepts=ACCEPTS, parse=parse_key_context)


def context_of(request: Context | None) -> KeyContext | None:
    """Return the context of the message of *request*; ``None`` if its headers contradict each other.

    A message has its headers once, and Celery shows them in two places. A forged message could have other
    values in each. The key must not be of another tenant than the one that the body sees.
    """
    if request is None:
        return KeyContext(is_received=True)
    nested = request.headers if isinstance(request.headers, Mapping) else {}
    if request.is_eager:
        return KeyContext(nested)
    given = {name: value for name, value in vars(request).items() if name not in _CELERYS}
    if any(name in given and given[name] != value for name, value in nested.items()):
        return None
    return KeyContext({**nested, **given}, is_received=True)


#: The attributes of a request that are Celery's own.
_CELERYS = frozenset(vars(Context))


def form_of(task: Task[Any, Any], function: ContextOfCall, context: KeyContext) -> tuple[Any, bytes]:
    """Return what *function* makes of *context*, and the bytes that it adds to the key.

    :raises UnkeyableError: if the function fails, or returns what has no canonical form.
    """
    try:
        value = function(context)
        return value, b"c" + encode(value)
    except Exception as error:
        where = "the headers of the message" if context.is_received else "the call"
        raise UnkeyableError(
            f"task {task.name!r}: its key_context cannot make a part of the key from {where}: {error!r}. It "
            "has to return None, a text, or another value with a canonical form",
            argument=KEY_CONTEXT.name,
        ) from error
