"""``disk://``: diskcache in a folder, for all processes of one host that can write there.

Claims and results live in two caches below the folder. Claims are never evicted (diskcache's default
policy drops live ones under size pressure); results are, oldest first, beyond ``size_limit``. A
transaction on the claims serialises every decision, and results are written before their claim goes.

Nothing is ever pickled or unpickled: diskcache by itself loads pickles from its folder, which runs
whatever somebody put there (CVE-2025-69872).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import diskcache
from diskcache.core import MODE_PICKLE

from ..errors import SettingError, StoreError
from .base import Claim, Result, Store
from .decisions import admitted, kept_until, may_settle, until

__all__ = ["DiskStore"]


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys of text, values of bytes, and no pickles in either direction."""

    def put(self, key: Any) -> Any:
        if type(key) is not str:
            raise StoreError(f"a key is text, not {type(key).__name__}")
        return super().put(key)

    def get(self, key: Any, raw: Any) -> Any:
        if not raw:
            raise StoreError("refused to unpickle a key: this package writes none")
        return super().get(key, raw)

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> Any:
        if type(value) is not bytes:
            raise StoreError(f"a value is bytes, not {type(value).__name__}")
        return super().store(value, False, key=key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        if mode == MODE_PICKLE:
            raise StoreError("refused to unpickle a value: this package writes none")
        return super().fetch(mode, filename, value, read)


class DiskStore(Store):
    """A folder, created with mode 0700 if it is not there.

    :param url: ``disk:///absolute/path``.
    :param size_limit: bytes that results may take, 1 GiB by default; the oldest go first.
    :param timeout: seconds to wait for another process that is writing.
    """

    schemes = ("disk",)

    def __init__(self, url: str, *, size_limit: int = 2**30, timeout: float = 5.0, **options: Any) -> None:
        super().__init__(url, **options)
        self.folder = _folder_of(url)
        self._size_limit = size_limit
        self._timeout = timeout
        self._claims: diskcache.Cache | None = None
        self._results: diskcache.Cache | None = None
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        # Not the path: in two containers the same path is two folders.
        if self._identity is None:
            claims, _ = self._caches()
            claims.add("identity", uuid.uuid4().hex.encode(), retry=False)
            self._identity = f"disk:{claims['identity'].decode()}"
        return self._identity

    def lookup(self, key: str) -> Result | Claim | None:
        # Without the transaction, which costs five times as much. Results are written before their claim
        # goes, so where the second look finds no result either, there was neither when there was no claim.
        now = self._clock()
        return self._answering(key, now) or self._live_claim(key, now) or self._answering(key, now)

    def admit(
        self, key: str, owner: str, lease: float, *, waited_for: str | None = None, stale: str | None = None
    ) -> Result | Claim:
        with self._exclusively():
            now = self._clock()
            result = self._result(key)
            if result is not None and result.answers(waited_for, now):
                return result
            before = self._claim(key)
            claim = admitted(before, owner, lease, stale, now)
            if claim != before:
                self._write_claim(key, claim)
            return claim

    def extend(self, key: str, owner: str, lease: float) -> bool:
        with self._exclusively():
            now = self._clock()
            claim = self._live_claim(key, now)
            if claim is None or claim.owner != owner:
                return False
            self._write_claim(key, replace(claim, expires=now + lease))
            return True

    def settle(
        self, key: str, owner: str, payload: bytes, ttl: float | None, *, handover: float = 0.0
    ) -> bool:
        with self._exclusively():
            now = self._clock()
            claim = self._claim(key)
            if not may_settle(claim, self._result(key), owner, now):
                return False
            kept = kept_until(claim, owner, ttl, handover, now)
            if kept is None or kept > now:
                self._write_result(key, Result(owner, payload, until(ttl, now), kept))
            if claim is not None and claim.owner == owner:
                self._drop_claim(key)
            return True

    def release(self, key: str, owner: str, *, unless_waited: bool = False) -> bool:
        with self._exclusively():
            claim = self._claim(key)
            if claim is None or claim.owner != owner or (unless_waited and claim.waited):
                return False
            self._drop_claim(key)
            return True

    def forget(self, key: str) -> bool:
        with self._exclusively():
            known = self._answering(key, self._clock()) is not None
            self._caches()[1].delete(key, retry=False)
            return known

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Result | Claim]]:
        claims, results = self._caches()
        for key in {*results.iterkeys(), *claims.iterkeys()}:
            entry = self.lookup(key) if key != "identity" and key.startswith(prefix) else None
            if entry is not None:
                yield key, entry

    def close(self) -> None:
        for cache in (self._claims, self._results):
            if cache is not None:
                cache.close()

    def _caches(self) -> tuple[diskcache.Cache, diskcache.Cache]:
        # diskcache itself reopens its files in a forked child and per thread.
        if self._claims is None or self._results is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shared = {"timeout": self._timeout, "disk": BytesDisk}
            self._results = diskcache.Cache(
                str(self.folder / "results"),
                size_limit=self._size_limit,
                eviction_policy="least-recently-stored",
                **shared,
            )
            self._claims = diskcache.Cache(str(self.folder / "claims"), eviction_policy="none", **shared)
        return self._claims, self._results

    def _exclusively(self) -> AbstractContextManager[None]:
        transaction: AbstractContextManager[None] = self._caches()[0].transact(retry=False)
        return transaction

    def _claim(self, key: str) -> Claim | None:
        stored = self._caches()[0].get(key, retry=False)
        return None if stored is None else Claim(*json.loads(stored))

    def _live_claim(self, key: str, now: float) -> Claim | None:
        claim = self._claim(key)
        return claim if claim is not None and now < claim.expires else None

    def _write_claim(self, key: str, claim: Claim) -> None:
        stored = json.dumps([claim.owner, claim.expires, claim.waited]).encode()
        # A lapsed claim stays for a while, since it is still its owner's, and tells who was before.
        self._caches()[0].set(key, stored, expire=_LAPSED_CLAIMS + claim.expires - self._clock(), retry=False)

    def _drop_claim(self, key: str) -> None:
        self._caches()[0].delete(key, retry=False)

    def _result(self, key: str) -> Result | None:
        stored = self._caches()[1].get(key, retry=False)
        if stored is None:
            return None
        head, _, payload = stored.partition(b"\n")
        owner, expires, kept = json.loads(head)
        return Result(owner, payload, expires, kept)

    def _answering(self, key: str, now: float) -> Result | None:
        result = self._result(key)
        return result if result is not None and result.answers(None, now) else None

    def _write_result(self, key: str, result: Result) -> None:
        head = json.dumps([result.owner, result.expires, result.kept]).encode()
        expire = None if result.kept is None else result.kept - self._clock()
        self._caches()[1].set(key, head + b"\n" + result.payload, expire=expire, retry=False)


#: Seconds for which a lapsed claim stays on the disk.
_LAPSED_CLAIMS = 3600.0


def _folder_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise SettingError(
            f"jobtastic_store={url!r} names no folder; write disk:///absolute/path, or disk:// alone for "
            "the default folder of this user"
        )
    return Path(unquote(parts.path))
