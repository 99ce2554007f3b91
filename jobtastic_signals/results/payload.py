"""Payloads: how a result becomes bytes, in the format of Celery's result serializer."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from kombu import serialization

__all__ = ["dumps", "loads"]


def dumps(app: Celery, value: Any) -> bytes:
    """Return *value* as Celery's result serializer writes it, after a line with content type and encoding.

    :raises Exception: what the serializer raises for a value that it cannot write.
    """
    serializer = app.conf.result_serializer
    content_type, encoding, data = serialization.dumps(app.backend.prepare_value(value), serializer)
    body = data if isinstance(data, bytes) else data.encode()
    return json.dumps([content_type, encoding]).encode() + b"\n" + body


def loads(app: Celery, payload: bytes) -> Any:
    """Return the value that :func:`dumps` wrote.

    :raises kombu.exceptions.ContentDisallowed: for a serializer whose results the app does not accept.
    """
    head, _, body = payload.partition(b"\n")
    content_type, encoding = json.loads(head)
    accept = app.conf.result_accept_content or app.conf.accept_content
    return serialization.loads(
        body, content_type, encoding, accept=serialization.prepare_accept_content(accept)
    )
