"""Task tokens: a signed task id, used in a URL instead of the plain id.

A token is ``<task id>~<time>~<signature>``. No task id contains a ``~``, so a forged token is never taken for
a plain task id. The element in the browser ignores what follows the first ``~`` when it compares two tokens.

A token of a result, and not of an id alone, also says which caller has it:
``<task id>~<kind>~<seat>~<key>~<time>~<signature>``. So a page can leave a run that it shares.

The time is rounded down to a twelfth of the maximum age, so a page that is rendered again usually has the
same token for the same task. A token is never valid for longer than the maximum age, and at least for eleven
twelfths of it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from celery.result import AsyncResult

from ..sharing.leaving import sharing_of
from ..sharing.origin import Origin

__all__ = [
    "SALT",
    "SEPARATOR",
    "BadTokenError",
    "ExpiredTokenError",
    "MaxAges",
    "SecretSigner",
    "Signer",
    "Task",
    "checked_id",
    "id_in",
    "origin_in",
    "rounded",
    "said_of",
]

#: Separates these tokens from everything else that is signed with the same secret.
SALT = "jobtastic_signals.web.task_token"
SEPARATOR = "~"
#: The time of a token is rounded down to this part of the maximum age.
_PARTS = 12
TASK_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,255}")
TOKEN = re.compile(r"[A-Za-z0-9_.:@-]{1,255}~[A-Za-z0-9_.:@~-]{1,2000}")
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]+")

#: What a token is for: a task id, the result of a call, or what ``sharing_of`` returned for that.
Task: TypeAlias = "str | AsyncResult[Any] | Origin"

#: How a token says where a result comes from; the other kinds cannot be left.
_OWN, _OWN_UNCLAIMED, _JOINED = "own", "unclaimed", "joined"


class BadTokenError(Exception):
    """A token without a valid signature."""


class ExpiredTokenError(BadTokenError):
    """A token with a valid signature that is too old."""


class Signer(Protocol):
    """Signs task ids, or results, for one framework."""

    def sign(self, task: Task) -> str:
        """Return what a token says of *task*, the time and a signature, joined by ``SEPARATOR``."""

    def unsign(self, token: str, max_age: float) -> str:
        """Return what *token* says, for :func:`id_in` and :func:`origin_in`.

        :param max_age: in seconds.
        :raises ExpiredTokenError: for a token that is older.
        :raises BadTokenError: for anything else that ``sign`` did not return.
        """


class SecretSigner:
    """Signs with a secret, or with the last of several. Tokens of the others stay valid.

    :param max_age: see :func:`rounded`; it only matters for signing.
    """

    def __init__(
        self, secret: str | bytes | Sequence[str] | Sequence[bytes], *, max_age: float | None = None
    ) -> None:
        import itsdangerous

        class Rounding(itsdangerous.TimestampSigner):
            def get_timestamp(self) -> int:
                return rounded(super().get_timestamp(), max_age)

        options: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._errors = itsdangerous.SignatureExpired, itsdangerous.BadSignature
        self._signer = itsdangerous.TimestampSigner(secret, SALT, SEPARATOR, **options)
        self._rounding = Rounding(secret, SALT, SEPARATOR, **options)

    def sign(self, task: Task) -> str:
        return self._rounding.sign(said_of(task)).decode()

    def unsign(self, token: str, max_age: float) -> str:
        expired, bad = self._errors
        # Python's base64 skips any other character, so several texts would pass for one signature.
        if not _SIGNATURE.fullmatch(token.rpartition(SEPARATOR)[2]):
            raise BadTokenError("the signature is not base64")
        try:
            return self._signer.unsign(token, math.ceil(max_age)).decode()
        except expired as error:
            raise ExpiredTokenError from error
        except bad as error:
            raise BadTokenError from error


class MaxAges:
    """The shortest maximum age of the endpoints in this process, for each key that signs their tokens."""

    def __init__(self) -> None:
        self._shortest: dict[str | bytes, float] = {}

    def add(self, key: str | bytes, max_age: float) -> None:
        """Remember the *max_age* of endpoints that accept tokens signed with *key*."""
        self._shortest[key] = min(max_age, self._shortest.get(key, max_age))

    def of(self, key: str | bytes) -> float | None:
        """Return the shortest one, or ``None`` in a process without such endpoints."""
        return self._shortest.get(key)


def rounded(now: int, max_age: float | None) -> int:
    """Return the time for a token that is signed *now*, in seconds.

    :param max_age: the shortest maximum age of the endpoints that the token is for, in seconds. If it is not
        known, the time is exact.

    >>> rounded(100_000, 86_400), rounded(100_000, 60), rounded(100_000, 1), rounded(100_000, None)
    (93600, 100000, 100000, 100000)
    """
    return now if max_age is None else now - now % max(int(max_age / _PARTS), 1)


def said_of(task: Task) -> str:
    """Return what a token says of a task id, a result, or where that comes from.

    :raises ValueError: if the id is not one that the endpoints accept.
    """
    if not isinstance(task, (AsyncResult, Origin)):
        return checked_id(task)
    origin = task if isinstance(task, Origin) else sharing_of(task)
    if origin.kind not in ("own", "joined"):
        return checked_id(origin.owner)
    is_own = origin.kind == "own"
    kind = _JOINED if not is_own else _OWN if origin.claimed else _OWN_UNCLAIMED
    key = base64.urlsafe_b64encode((origin.key or "").encode()).decode().rstrip("=")
    return SEPARATOR.join([checked_id(origin.owner), kind, "" if is_own else checked_id(origin.seat), key])


def id_in(said: str) -> str:
    """Return the task id in what a token says."""
    return said.partition(SEPARATOR)[0]


def origin_in(said: str) -> Origin | None:
    """Return where the result comes from, by what a token says; ``None`` for a token of an id alone.

    >>> origin_in("a"), origin_in("a~joined~b~a2V5")
    (None, Origin(kind='joined', owner='a', seat='b', key='key', age=None, is_stale=False, claimed=True))
    """
    task_id, *more = said.split(SEPARATOR)
    if len(more) != 3:
        return None
    kind, seat, encoded = more
    key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode() or None
    if kind == _JOINED:
        return Origin("joined", task_id, seat, key)
    return Origin("own", task_id, task_id, key, claimed=kind == _OWN)


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
