"""Payloads: how a result becomes bytes, in the format of Celery's result serializer.

With ``result_extended`` a result backend keeps more of a run than its value. Then the payload has that too,
for a result that is written back. The payload of a failure has its traceback.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery import Celery, states
from celery.exceptions import TaskPredicate
from kombu import serialization
from kombu.exceptions import ContentDisallowed

from ..support.shown import shown

__all__ = ["dumps", "extended_fields", "is_payload", "loads", "outcome"]

#: In the head of a payload whose body is the value and such fields.
_EXTENDED = "extended"


def dumps(app: Celery[Any], value: Any, request: Any = None, *, traceback: str | None = None) -> bytes:
    """Return *value* as Celery's result serializer writes it, after a line with content type and encoding.

    :param request: that of the run, whose fields are added with ``result_extended``.
    :param traceback: the text of a failure's traceback, which is added as well.
    :raises Exception: what the serializer raises for a value that it cannot write.
    """
    prepared: Any = app.backend.prepare_value(value)
    settings = _settings_of(app)
    fields = _fields_of(request) if request is not None and settings.is_extended else {}
    if traceback is not None:
        fields["traceback"] = traceback
    marks: list[str] = []
    if fields:
        prepared, marks = [prepared, fields], [_EXTENDED]
    content_type, encoding, data = serialization.dumps(prepared, settings.serializer)
    body = data if isinstance(data, bytes) else data.encode()
    return _head(content_type, encoding, *marks) + body


class _Settings(NamedTuple):
    """What an app says of its results.

    :ivar serializer: the name of the result serializer.
    :ivar is_extended: whether the backend keeps extended results.
    :ivar written: the content types that the serializer writes.
    :ivar accepted: those that the app accepts in results.
    """

    serializer: str
    is_extended: bool
    written: Collection[str]
    accepted: Collection[str]


# Celery takes longer to look up these settings than the serializer takes for a small value.
_settings: WeakKeyDictionary[Celery[Any], _Settings] = WeakKeyDictionary()


def _settings_of(app: Celery[Any]) -> _Settings:
    """Return what *app* says of its results, as of the first use."""
    known = _settings.get(app)
    if known is None:
        conf = app.conf
        known = _settings[app] = _Settings(
            conf.result_serializer,
            bool(conf.result_extended),
            serialization.prepare_accept_content([conf.result_serializer]),
            serialization.prepare_accept_content(conf.result_accept_content or conf.accept_content),
        )
    return known


@cache
def _head(*words: str) -> bytes:
    return json.dumps(words).encode() + b"\n"


@lru_cache(maxsize=64)  # Others may have written anything.
def _read_head(head: bytes) -> list[str]:
    words: list[str] = json.loads(head)
    return words


def is_payload(data: bytes) -> bool:
    """Return whether *data* is what :func:`dumps` wrote, and not the text of a key."""
    return data.startswith(b"[")


def loads(app: Celery[Any], payload: bytes) -> Any:
    """Return the value that :func:`dumps` wrote.

    Nothing is read but what the result serializer writes, whatever else the app accepts in its messages. So
    with JSON nobody who can write to the store can make this process unpickle anything.

    :raises kombu.exceptions.ContentDisallowed: for what another serializer wrote, or if the app does not
        accept what its result serializer writes.
    """
    return _load(app, payload)[0]


def outcome(app: Celery[Any], payload: bytes, state: str) -> Any:
    """Return the value of a success, or the exception of a failure, that :func:`dumps` wrote.

    :raises kombu.exceptions.ContentDisallowed: as for :func:`loads`.
    :raises Exception: for anything but the exception of a failure, where *state* says that there is one.
    """
    value = loads(app, payload)
    if state not in states.EXCEPTION_STATES:
        return value
    error = app.backend.exception_to_python(value)
    # Whoever can write to the store can name any class, and some end the process, or the run without a word.
    if not isinstance(error, Exception) or isinstance(error, TaskPredicate):
        raise TypeError(f"{shown(error)} is not the exception of a failure")
    return error


def extended_fields(app: Celery[Any], payload: bytes) -> Mapping[str, Any]:
    """Return the extended fields that :func:`dumps` wrote, by the names that Celery has for them.

    :raises kombu.exceptions.ContentDisallowed: as for :func:`loads`.
    """
    return _load(app, payload)[1]


def _load(app: Celery[Any], payload: bytes) -> tuple[Any, Mapping[str, Any]]:
    head, _, body = payload.partition(b"\n")
    content_type, encoding, *marks = _read_head(head)
    settings = _settings_of(app)
    if content_type not in settings.written:
        raise ContentDisallowed(
            f"it is {shown(content_type)}, and result_serializer={settings.serializer!r} writes "
            f"{', '.join(sorted(settings.written))}"
        )
    loaded = serialization.loads(body, content_type, encoding, accept=settings.accepted)
    return (loaded[0], loaded[1]) if _EXTENDED in marks else (loaded, {})


def _fields_of(request: Any) -> dict[str, Any]:
    return {
        "name": request.task,
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": (request.delivery_info or {}).get("routing_key"),
        "group_id": request.group,
        "parent_id": request.parent_id,
    }
