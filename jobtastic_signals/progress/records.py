"""The records of a run in the result backend. None is written over the end of the run.

An end can come from outside. On a hard time limit, Celery's main process stores ``FAILURE``, and kills the
process of the run right after. If that process has just read the state to see whether the run has ended, it
would now write its record over the end.

* On Redis a record replaces only the state that was read: one script compares and writes. There the end
  always stays, whatever the broker is.
* Other backends, such as a database and the file system, have no such step that works beside Celery's own
  writes. The main process looks again later and restores the end: see :func:`restore_end`. In between a
  reader can see the record. It stays if the whole worker is killed in between, and for a task without our
  options, whose loss we do not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from celery import states
from celery.app.task import Context
from celery.backends.base import Backend, KeyValueStoreBackend

from ..results.backend import PROGRESS, Meta, context_of, ended_at, read_meta

__all__ = [
    "has_atomic_records",
    "is_of_earlier_run",
    "is_record",
    "replace_state",
    "restore_end",
    "write_record",
]

#: How often a record is tried again when another state came in between, such as the task's own.
ATTEMPTS = 5


def write_record(backend: Backend, request: Context, record: Mapping[str, Any]) -> None:
    """Show *record* to everyone who has the id of the run under *request*, unless that run has ended.

    :raises Exception: what the result backend raises. If it cannot be read, nothing is written.
    """
    replace_state(
        backend, request, PROGRESS, record, lambda known: known["status"] not in states.READY_STATES
    )


def replace_state(
    backend: Backend, request: Context, state: str, result: Any, may_replace: Callable[[Meta], bool]
) -> bool:
    """Store *state* and *result* for the run under *request*. Return whether *may_replace* allowed it.

    :param may_replace: is asked with what the backend knows; on Redis again if that has changed meanwhile.
    :raises Exception: what the result backend raises. If it cannot be read, nothing is stored.
    """
    result = dict(result) if isinstance(result, Mapping) else result
    stored = _state_of(backend, request.id)
    for _ in range(ATTEMPTS):
        if not may_replace(stored.read()):
            return False
        if stored.replace(state, result, request):
            return True
    return True


def is_of_earlier_run(meta: Meta, began: float) -> bool:
    """Return whether *meta* is an end from before *began*, a Unix time, which a record can replace.

    A task id runs again if a user chose it twice, or if the broker delivered its message twice. An end since
    then is that of this run, such as that of a time limit. A success stays, as in Celery itself.
    """
    ended = ended_at(meta)
    return meta["status"] != states.SUCCESS and ended is not None and ended < began


def has_atomic_records(backend: Backend) -> bool:
    """Return whether *backend* can compare the state and write a record in one step."""
    redis = _redis_backend()
    # A subclass with a set() of its own may store something else than Celery does.
    return redis is not None and isinstance(backend, redis) and type(backend).set is redis.set


@cache
def _redis_backend() -> type[Backend] | None:
    """Return the class of Celery's Redis backend, if its driver is installed."""
    try:
        from celery.backends.redis import RedisBackend
    except ImportError:
        return None
    return RedisBackend  # type: ignore[no-any-return]  # Celery has no types


def is_record(meta: Meta) -> bool:
    """Return whether *meta* is a record of ours, and not a state that the task itself has stored."""
    result = meta["result"]
    return meta["status"] == PROGRESS and isinstance(result, Mapping) and "progress_percent" in result


def restore_end(backend: Backend, end: Meta) -> bool:
    """Store *end* again if a record was written over it. Return whether it was.

    Call this when the process of the run is dead, and writes nothing more.

    :raises Exception: what the result backend raises.
    """
    if not is_record(read_meta(backend, end["task_id"])):
        return False
    backend.store_result(
        end["task_id"], end["result"], end["status"], traceback=end.get("traceback"), request=context_of(end)
    )
    return True


def _state_of(backend: Backend, task_id: str) -> _State:
    return _RedisState(backend, task_id) if has_atomic_records(backend) else _State(backend, task_id)


class _State:
    """The state of one task id in a result backend."""

    def __init__(self, backend: Backend, task_id: str) -> None:
        self._backend, self._task_id = backend, task_id

    def read(self) -> Meta:
        """Return the state."""
        return read_meta(self._backend, self._task_id)

    def replace(self, state: str, result: Any, request: Context) -> bool:
        """Store *state*. Return ``False`` if the state is known to have changed since it was read."""
        self._backend.store_result(self._task_id, result, state, request=request)
        return True


class _RedisState(_State):
    """The state of one task id in Celery's Redis backend, which is replaced only if it has not changed."""

    # Celery publishes each state as well, for callers that wait for the result.
    _SCRIPT = """
        if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
        if ARGV[3] == '0' then
            redis.call('SET', KEYS[1], ARGV[2])
        else
            redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
        end
        redis.call('PUBLISH', KEYS[1], ARGV[2])
        return 1
    """

    def __init__(self, backend: Backend, task_id: str) -> None:
        super().__init__(backend, task_id)
        self._key = backend.get_key_for_task(task_id)
        self._seen: Any = b""

    def read(self) -> Meta:
        self._seen = self._backend.get(self._key) or b""
        if not self._seen:
            return {"status": states.PENDING, "result": None}
        meta: Meta = self._backend.decode_result(self._seen)
        return meta

    def replace(self, state: str, result: Any, request: Context) -> bool:
        value = _Encoder(self._backend).encoded(self._task_id, result, state, request)
        lifetime = int(self._backend.expires or 0)
        return bool(self._backend.client.eval(self._SCRIPT, 1, self._key, self._seen, value, lifetime))


class _Encoder(KeyValueStoreBackend):  # type: ignore[misc]  # Celery has no types
    """A result backend that encodes a state like another one does, and stores nothing.

    Celery has no public function that encodes a state.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(app=backend.app, serializer=backend.serializer)
        self._backend = backend
        self._encoded: Any = None

    def encoded(self, task_id: str, result: Any, state: str, request: Context) -> Any:
        """Return a state as bytes or text."""
        self.store_result(task_id, result, state, request=request)
        return self._encoded

    def encode(self, data: Any) -> Any:
        return self._backend.encode(data)

    def get(self, key: Any) -> None:
        """Return nothing, so that Celery replaces it."""

    def set(self, key: Any, value: Any) -> None:
        self._encoded = value
