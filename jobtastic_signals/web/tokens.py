"""Task tokens: a signed task id, used in a URL instead of the plain id.

A token is ``<task id>~<time>~<signature>``. No task id contains a ``~``, so a forged token is never taken for
a plain task id.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Protocol

__all__ = ["SALT", "SEPARATOR", "BadTokenError", "ExpiredTokenError", "SecretSigner", "Signer", "checked_id"]

#: Separates these tokens from everything else that is signed with the same secret.
SALT = "jobtastic_signals.web.task_token"
SEPARATOR = "~"
TASK_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,255}")
TOKEN = re.compile(r"[A-Za-z0-9_.:@-]{1,255}~[A-Za-z0-9_~-]{1,100}")


class BadTokenError(Exception):
    """A token without a valid signature."""


class ExpiredTokenError(BadTokenError):
    """A token with a valid signature that is too old."""


class Signer(Protocol):
    """Signs task ids for one framework."""

    def sign(self, task_id: str) -> str:
        """Return *task_id*, the time and a signature, joined by ``SEPARATOR``."""

    def unsign(self, token: str, max_age: float) -> str:
        """Return the task id in *token*.

        :param max_age: in seconds.
        :raises ExpiredTokenError: for a token that is older.
        :raises BadTokenError: for anything else that ``sign`` did not return.
        """


class SecretSigner:
    """Signs with a secret, or with the last of several. Tokens of the others stay valid."""

    def __init__(self, secret: str | bytes | Sequence[str] | Sequence[bytes]) -> None:
        import itsdangerous

        self._errors = itsdangerous.SignatureExpired, itsdangerous.BadSignature
        self._signer = itsdangerous.TimestampSigner(
            secret, SALT, SEPARATOR, key_derivation="hmac", digest_method=hashlib.sha256
        )

    def sign(self, task_id: str) -> str:
        return self._signer.sign(checked_id(task_id)).decode()

    def unsign(self, token: str, max_age: float) -> str:
        expired, bad = self._errors
        try:
            return self._signer.unsign(token, math.ceil(max_age)).decode()
        except expired as error:
            raise ExpiredTokenError from error
        except bad as error:
            raise BadTokenError from error


def checked_id(task_id: str) -> str:
    """Return *task_id* if the endpoints accept it.

    :raises ValueError: otherwise.

    >>> checked_id("c7b92a4c-5e1d-4c76-9d8b-0d6b8a3f2f10")
    'c7b92a4c-5e1d-4c76-9d8b-0d6b8a3f2f10'
    """
    if not isinstance(task_id, str) or not TASK_ID.fullmatch(task_id):
        raise ValueError(
            f"{task_id!r} is not a task id; a task id has 1 to 255 characters of A-Z a-z 0-9 _ . : @ -"
        )
    return task_id
