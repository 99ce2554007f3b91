"""Commands as Redis reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["Script", "pack"]


def pack(*words: bytes) -> bytes:
    """Return a command in Redis' protocol."""
    return b"*%d\r\n%b" % (len(words), _packed(words))


def _packed(words: Iterable[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Script:
    """A script, which Redis knows by its digest once it has seen the text."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        digest = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._begin = _packed((b"EVALSHA", digest))

    def by_digest(self, keys: tuple[bytes, ...], *words: bytes) -> bytes:
        """Return the command that runs it on *keys*, if Redis knows it."""
        count = len(keys) + len(words) + 3
        return b"*%d\r\n%b%b" % (count, self._begin, _packed((b"%d" % len(keys), *keys, *words)))

    def by_text(self, keys: tuple[bytes, ...], *words: bytes) -> bytes:
        """Return the command that runs it on *keys*. Redis knows it afterwards."""
        return pack(b"EVAL", self._text, b"%d" % len(keys), *keys, *words)
