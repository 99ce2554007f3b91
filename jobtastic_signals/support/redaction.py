"""Leaving secrets out of settings before they appear in errors, warnings and events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["redacted_repr", "without_passwords"]

_SECRET = "pas+w|secret|token|credential"
_IN_QUERY = re.compile(rf"([?&][^=&]*(?:{_SECRET})[^=&]*=)[^&]*", re.IGNORECASE)
_IN_NAME = re.compile(_SECRET, re.IGNORECASE)
_BETWEEN_URLS = re.compile(r";(?=[a-z+]+://)", re.IGNORECASE)
# As long a match as possible, since a password that is not quoted may contain any character.
_USER = re.compile(r"://(?!/).*@", re.DOTALL)


def without_passwords(url: str) -> str:
    """Return *url* with ``**`` for the user and for secret options. It may be several, separated by ``;``.

    >>> without_passwords("redis://me:pass@host/0?ssl_password=word")
    'redis://**@host/0?ssl_password=**'
    """
    urls = _BETWEEN_URLS.split(_IN_QUERY.sub(r"\1**", url))
    return ";".join(_USER.sub("://**@", each) for each in urls)


def redacted_repr(value: Any) -> str:
    """Return ``repr(value)`` of a setting, such as a URL or a dict of options, without its secrets.

    >>> redacted_repr({"password": "pass", "db": 1})
    "{'password': '**', 'db': 1}"
    """
    if isinstance(value, str):
        return repr(without_passwords(value))
    if isinstance(value, Mapping):
        items = {
            name: "'**'" if _IN_NAME.search(str(name)) else redacted_repr(each)
            for name, each in value.items()
        }
        return "{" + ", ".join(f"{name!r}: {each}" for name, each in items.items()) + "}"
    return repr(value)
