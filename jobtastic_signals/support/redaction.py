"""What of a setting may be told in errors, warnings and events: all of it but what is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["told", "without_passwords"]

_SECRET = "pas+w|secret|token|credential"
_IN_QUERY = re.compile(rf"([?&][^=&]*(?:{_SECRET})[^=&]*=)[^&]*", re.IGNORECASE)
_IN_NAME = re.compile(_SECRET, re.IGNORECASE)
_BETWEEN_URLS = re.compile(r";(?=[a-z+]+://)", re.IGNORECASE)
# As much as can be, since a password that should have been quoted may hold any character.
_USER = re.compile(r"://(?!/).*@", re.DOTALL)


def without_passwords(url: str) -> str:
    """*url*, or each of several with ``;`` between them, with ``**`` for the user and for secret options.

    >>> without_passwords("redis://me:pass@host/0?ssl_password=word")
    'redis://**@host/0?ssl_password=**'
    """
    urls = _BETWEEN_URLS.split(_IN_QUERY.sub(r"\1**", url))
    return ";".join(_USER.sub("://**@", each) for each in urls)


def told(value: Any) -> str:
    """``repr(value)`` of a setting, as a URL or a dict of options, without what is secret in it.

    >>> told({"password": "pass", "db": 1})
    "{'password': '**', 'db': 1}"
    """
    if isinstance(value, str):
        return repr(without_passwords(value))
    if isinstance(value, Mapping):
        items = {name: "'**'" if _IN_NAME.search(str(name)) else told(each) for name, each in value.items()}
        return "{" + ", ".join(f"{name!r}: {each}" for name, each in items.items()) + "}"
    return repr(value)
