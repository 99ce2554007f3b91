"""The names in Redis of what a store has there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from redis.exceptions import ResponseError

from .commands import pack
from .servers import Server

__all__ = ["COUNTED", "IDENTITY", "KEY", "SCOPE", "named", "scanned"]

#: The kinds of names: of a key, of a scope that was forgotten, and of numbers that are counted. None is the
#: start of another.
KEY, SCOPE, COUNTED = b"jobtastic:", b"jobtastic-scope:", b"jobtastic-counts:"

#: The name of the identity of the database.
IDENTITY = b"jobtastic-identity"

#: How many names are looked through in one round trip.
_SCANNED = b"1000"

_GLOB = re.compile(rb"[*?\[\]\\^]")


def named(kind: bytes, text: str) -> bytes:
    return kind + text.encode("utf-8", "surrogatepass")  # As words.encoded() does.


def scanned(server: Server, kind: bytes, prefix: str) -> Iterator[bytes]:
    """Yield the names of that kind whose text starts with *prefix*."""
    pattern = _GLOB.sub(rb"\\\g<0>", named(kind, prefix)) + b"*"
    cursor, seen = b"0", set[bytes]()
    while True:
        (answer,) = server.ask(pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCANNED))
        if isinstance(answer, ResponseError):
            raise answer
        cursor, names = answer
        for name in names:
            if name not in seen:  # Redis can name one twice.
                seen.add(name)
                yield name
        if cursor == b"0":
            return
