"""The project that real workers run in these tests, and that the tests call.

A worker gets its configuration from the environment (``celery -A tests.support.workers.worker``), a test by
calling :func:`create_app`. Each body writes a line to the journal, so that a test can count runs.
"""

from __future__ import annotations

import contextvars
import enum
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from celery import Celery, Task, group
from celery._state import _deregister_app
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.result import AsyncResult

from jobtastic_signals import Jobtastic, register_type, update_progress
from jobtastic_signals.calls import run_of, stamp_of
from jobtastic_signals.installation import installation_on
from tests.support.servers import wait_until

HERD = 300.0

#: What tasks that leak never let go of.
HOARD: list[Any] = []


class Shade(enum.Enum):
    """What pickle alone can carry."""

    DARK = {"red", "green", "blue"}


class Colour(str, enum.Enum):
    """What JSON makes text of."""

    RED = "red"


class Point(NamedTuple):
    """A tuple that pickle keeps, and JSON does not."""

    x: int
    tags: Any = frozenset(["a", "b", "c"])


@dataclass
class Order:
    """Fields that nest."""

    number: int
    places: Any


class Customer:
    """A class with no form but the one that is registered for it."""

    def __init__(self, number: int, seen: float = 0.0) -> None:
        self.number = number
        self.seen = seen


class Buyer(Customer):
    """One of those by inheritance."""


register_type(Customer, lambda customer: {customer.number, "of the registered function"})


def create_app(conf: dict[str, Any], journal: str, *, plugin: bool = True) -> SimpleNamespace:
    """The app and its tasks, each by its name.

    ``runs(name, *what)`` reads the journal; ``key(name, *args, **kwargs)`` is the key of such a call.
    """
    app = Celery("project", set_as_current=False)
    # What tests in this process share with all apps is not for this one, which lives as long as the process.
    _deregister_app(app)
    app.conf.update(conf)
    if plugin:
        Jobtastic(app)
    tasks = {name: app.tasks[lazy.name] for name, lazy in _define(app, Path(journal)).items()}

    def key(name: str, *args: Any, **kwargs: Any) -> str:
        return installation_on(app).policy_of(type(tasks[name])).keys.key(tasks[name], args, kwargs)

    return SimpleNamespace(app=app, runs=partial(read, Path(journal)), key=key, **tasks)


# On the app, since the garbage collector clears weak references before it calls finalizers.
_CLOSED = "_closed_by_tests"


def _forget_unless_closed(
    result: AsyncResult, closed: str = _CLOSED, forget: Any = AsyncResult.__del__
) -> None:
    if not getattr(result.app, closed, False):
        forget(result)


AsyncResult.__del__ = _forget_unless_closed


def close(app: Celery) -> None:
    """Close the connections of *app*, and let none of its results look for its server any more.

    Celery leaves both to the garbage collector. A result that is collected when the server has gone looks for
    that, for twenty seconds, and raises where nobody can catch it.
    """
    if (poller := _pollers.pop(app.conf.result_backend, None)) is not None:
        close(poller)
    setattr(app, _CLOSED, True)
    app.close()
    client = getattr(app.backend, "client", None)
    if hasattr(client, "connection_pool"):
        client.close()
        client.connection_pool.disconnect()


def read(journal: Path, *what: Any) -> list[dict[str, Any]]:
    """The runs whose task and first arguments are *what*, in the order of their start."""
    if not journal.exists():
        return []
    # Most lines are of other tests. One without an end is being written.
    named = [each for each in what[1:2] if isinstance(each, str)]
    start = json.dumps({"task": what[0], "what": named})[:-2] if what else ""
    lines = [
        json.loads(line)
        for line in journal.read_text().splitlines(keepends=True)
        if line.endswith("\n") and line.startswith(start)
    ]
    wanted = json.loads(json.dumps(what))
    return [line for line in lines if [line["task"], *line["what"]][: len(wanted)] == wanted]


def _define(app: Celery, journal: Path) -> dict[str, Task]:
    # Not shared with the other apps of this process, which have tasks of the same names.
    task = partial(app.task, bind=True, shared=False)

    def note(running: Task, *what: Any) -> int:
        """Write a line to the journal; how many such lines there are now."""
        name = running.name.rpartition(".")[2]
        request = running.request
        headers = request.headers if isinstance(request.headers, dict) else {}
        line = {
            "task": name,
            "what": what,
            "id": request.id,
            "pid": os.getpid(),
            "at": time.time(),
            "retries": request.retries,
            "queue": (request.delivery_info or {}).get("routing_key"),
            "priority": (request.delivery_info or {}).get("priority"),
            "expires": str(request.expires or ""),
            "argsrepr": getattr(request, "argsrepr", None),
            "waits": stamp_of(request, request.id).get("waits", 0),
            "headers": {key: value for key, value in headers.items() if key != "jobtastic"},
        }
        file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)
        return len(read(journal, name, *what))

    @task(herd_avoidance_timeout=HERD)
    def double(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return n * 2

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def cached(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def only_number(self: Task, token: Any, seconds: float = 0.0) -> Any:
        note(self, token)
        time.sleep(seconds)
        return 7

    @task(cache_duration=0, herd_avoidance_timeout=HERD)
    def kept(self: Task, n: Any) -> Any:
        note(self, n)
        return [n, self.request.id]

    @task(cache_duration=600, significant_kwargs=[("n", str)])
    def only_cached(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=1.0)
    def hasty(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=1.0, cache_duration=600)
    def hasty_cached(self: Task, n: Any, first: float, then: float) -> Any:
        time.sleep(first if note(self, n) == 1 else then)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=HERD, ignore_result=True)
    def silent(self: Task, n: Any, seconds: float = 0.0) -> Any:
        note(self, n)
        time.sleep(seconds)

    @task()
    def plus(self: Task, n: Any, more: Any) -> Any:
        note(self, more)
        return n + more

    @task()
    def total(self: Task, numbers: Any, mark: Any = None) -> Any:
        note(self, mark)
        return sum(numbers)

    @task()
    def mark(self: Task, what: Any, value: Any = None) -> Any:
        note(self, what, value)

    @task(herd_avoidance_timeout=HERD, max_retries=5)
    def stubborn(self: Task, what: Any, fails: int, countdown: float = 0.1) -> Any:
        if note(self, what) <= fails:
            raise self.retry(countdown=countdown)
        return [what, self.request.retries]

    @task(
        herd_avoidance_timeout=HERD,
        autoretry_for=(ConnectionError,),
        retry_kwargs={"max_retries": 5, "countdown": 0.1},
    )
    def flaky(self: Task, what: Any, fails: int) -> Any:
        if note(self, what) <= fails:
            raise ConnectionError("not yet")
        return [what, self.request.retries]

    @task(herd_avoidance_timeout=HERD)
    def ends(self: Task, token: str, how: str) -> Any:
        """End in the way of *how* the first time, and well from then on."""
        if note(self, token) > 1:
            return "well"
        return _end(how)

    @task(herd_avoidance_timeout=HERD, acks_late=True)
    def put_back(self: Task, token: str) -> Any:
        """Put the message back the first time; that takes a message that is not acknowledged yet."""
        if note(self, token) > 1:
            return "well"
        raise Reject("later", requeue=True)

    @task(herd_avoidance_timeout=HERD, soft_time_limit=1)
    def ends_by_soft_limit(self: Task, token: str) -> Any:
        if note(self, token) > 1:
            return "well"
        time.sleep(60)

    @task(herd_avoidance_timeout=HERD, time_limit=1)
    def ends_by_hard_limit(self: Task, token: str) -> Any:
        if note(self, token) > 1:
            return "well"
        time.sleep(60)

    @task(herd_avoidance_timeout=HERD)
    def again(self: Task, token: str, times: int) -> Any:
        """Schedule itself, with its own arguments, until it has run *times* times."""
        if note(self, token) < times:
            self.apply_async((token, times), countdown=0.1)

    @task(cache_duration=600)
    def keyed(self: Task, token: str, value: Any = (1, {2: (3,)}), **more: Any) -> Any:
        """The run's own key."""
        note(self, token)
        return run_of(self.request).key

    @task(cache_duration=600, significant_kwargs=["token", ("value", str)])
    def keyed_by_text(self: Task, token: str, value: Any = None) -> Any:
        note(self, token)
        return run_of(self.request).key

    @task(cache_duration=600, significant_kwargs=["token", ("value", lambda value: repr(value).lower())])
    def keyed_by_function(self: Task, token: str, value: Any = None) -> Any:
        note(self, token)
        return run_of(self.request).key

    @task(herd_avoidance_timeout=HERD)
    def told(self: Task, token: str, total: int) -> Any:
        """Tell each step, and go on from it when the test says so."""
        note(self, token)
        for n in range(1, total + 1):
            update_progress(n - 1, total, message=f"step {n}")
            await_step(journal, token, n)
        return total

    @task()
    def told_without_options(self: Task, token: str) -> Any:
        update_progress(1, 4, message="by a plain task")
        await_step(journal, token, 1)

    @task(herd_avoidance_timeout=HERD, time_limit=1)
    def talks_and_ends(self: Task, token: str, how: str) -> Any:
        """Tell more than can be written, from two threads, until the end comes."""
        note(self, token)
        if how not in ("killed", "hard limit"):
            # A thread that takes the signal of a violent end can leave billiard's pool locked.
            talking = contextvars.copy_context()
            threading.Thread(target=talking.run, args=(talk, 3.0), daemon=True).start()
        talk(0.3)
        return talk(60) if how == "hard limit" else _end(how)

    @task(herd_avoidance_timeout=HERD)
    def takes(self: Task, token: str, seconds: float) -> None:
        """Say nothing of the time that it takes."""
        note(self, token)
        time.sleep(seconds)

    @task(herd_avoidance_timeout=HERD)
    def many_updates(self: Task, token: str, updates: int) -> float:
        """The seconds that so many updates take."""
        start = time.perf_counter()
        for n in range(updates):
            update_progress(n + 1, updates)
        return time.perf_counter() - start

    @task(memleak_threshold=1)
    def leaks(self: Task, token: str, fails: bool = False) -> Any:
        note(self, token)
        HOARD.append(bytearray(b"x") * 2_000_000)
        return _end("exception") if fails else len(HOARD)

    @task(memleak_threshold=1, memleak_trace=True)
    def leaks_traced(self: Task, token: str) -> Any:
        HOARD.append(bytearray(b"x") * 2_000_000)  # The leak.
        return token

    @task(memleak_threshold=1)
    def stays(self: Task, token: str, fails: bool = False) -> Any:
        """A large warm-up, a cache that fills up, and 50 MB that are needed for a while. It does not leak."""
        runs = note(self, token)
        HOARD.extend(bytearray(b"x") * size for size in {1: (30_000_000,), 2: (5_000_000,) * 2}.get(runs, ()))
        needed = [bytearray(b"x") * 20_000_000, *(bytes(1000) for _ in range(30_000))]
        return _end("exception") if fails else "x" * (3_000_000 * bool(needed))

    # What tests of claims need: runs that go on until the test lets them.

    def span(running: Task, token: str) -> None:
        """Go on until the test lets the run go, and note the begin and the end."""
        note(running, token, "begins")
        await_step(journal, token, 1)
        note(running, token, "ends")

    @task(herd_avoidance_timeout=HERD)
    def held(self: Task, token: str) -> Any:
        span(self, token)
        return [token, self.request.id]

    @task(herd_avoidance_timeout=HERD, acks_late=True)
    def held_late(self: Task, token: str) -> Any:
        span(self, token)
        return [token, self.request.id]

    @task(herd_avoidance_timeout=HERD, cache_duration=600, acks_late=True)
    def held_late_cached(self: Task, token: str) -> Any:
        span(self, token)
        return [token, self.request.id]

    @task(herd_avoidance_timeout=HERD, cache_duration=600, cache_tags=["token:{token}"])
    def held_tagged(self: Task, token: str) -> Any:
        span(self, token)
        return [token, self.request.id]

    @task(
        herd_avoidance_timeout=HERD,
        cache_duration=600,
        cache_when=lambda value: value[1] != "refused",
        cache_max_bytes=1000,
        cache_tags=lambda token, how: [f"of:{token}"],
    )
    def held_picky(self: Task, token: str, how: str) -> Any:
        """Return what is ``"kept"``, ``"refused"`` or ``"large"``."""
        span(self, token)
        return [self.request.id, how, "x" * 2000 * (how == "large")]

    @task(herd_avoidance_timeout=HERD, cache_failures_for={LookupError: 600}, autoretry_for=(OSError,))
    def held_failing(self: Task, token: str) -> None:
        span(self, token)
        raise LookupError(token)

    @task(herd_avoidance_timeout=HERD, ignore_result=True)
    def held_silent(self: Task, token: str) -> None:
        span(self, token)

    @task()
    def held_plain(self: Task, token: str) -> None:
        """Occupy a process, without any of our options."""
        span(self, token)

    @task(herd_avoidance_timeout=HERD, rate_limit="30/m")
    def held_limited(self: Task, token: str) -> None:
        span(self, token)

    @task(herd_avoidance_timeout=HERD, cache_duration=1)
    def cached_briefly(self: Task, n: Any) -> Any:
        note(self, n)
        return [n, self.request.id]

    @task(herd_avoidance_timeout=HERD, cache_duration=1, cache_stale_for=3600)
    def renewed(self: Task, token: str, how: str) -> Any:
        """End at once the first time, and then when the test lets it, in the way of *how*."""
        runs = note(self, token)
        if runs > 1:
            await_step(journal, token, runs)
        if runs > 1 and how != "well":
            _end(how)
        return [token, runs]

    @task()
    def shown(self: Task, value: Any) -> str:
        return repr(value)

    @task(herd_avoidance_timeout=10)
    def ten_seconds(self: Task, n: Any) -> None:
        note(self, n)

    @task(herd_avoidance_timeout=HERD)
    def ends_later(self: Task, token: str, how: str) -> Any:
        """End in the way of *how* the first time, when the test lets it, and well from then on."""
        if note(self, token) > 1:
            return "well"
        await_step(journal, token, 1)
        return _end(how)

    @task(herd_avoidance_timeout=HERD)
    def typed(self: Task, token: str, value: Any) -> str:
        """Return the type of *value*, as it arrived."""
        note(self, token)
        return type(value).__name__

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def polls(self: Task, token: str) -> str:
        """Ask for a retry twice, and go on to return something all the same."""
        note(self, token)
        if self.request.retries < 2:
            self.retry(throw=False, countdown=0.5)
            return "not yet"
        return "done"

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def dispatches(self: Task, token: str, how: str) -> Any:
        """Let other tasks compute the result."""
        note(self, token)
        signatures = {
            "task": works.s(token),
            "own": works_shared.s(token),
            "chain": works.s(token) | plus.s("-more"),
            "group": group(works.s(token), plus.si("a", "b")),
        }
        return self.replace(signatures[how])

    @task()
    def works(self: Task, token: str) -> str:
        span(self, token)
        return f"{token}-done"

    @task(herd_avoidance_timeout=HERD, cache_duration=600)
    def works_shared(self: Task, token: str) -> str:
        span(self, token)
        return f"{token}-done"

    @task(herd_avoidance_timeout=HERD)
    def reports(self: Task, token: str, seconds: int) -> str:
        """Report progress five times a second for so many seconds."""
        note(self, token, "begins")
        for n in range(5 * seconds):
            update_progress(n, 5 * seconds)
            time.sleep(0.2)
        note(self, token, "ends")
        return self.request.id

    return {name: made for name, made in locals().items() if hasattr(made, "apply_async")}


#: For each result backend, the app of a web process that has nothing else.
_pollers: dict[str, Celery] = {}


def poll(project: SimpleNamespace, task_id: str) -> tuple[str, Any]:
    """State and result, for a web process that knows nothing but the id."""
    url = project.app.conf.result_backend
    if url not in _pollers:
        _pollers[url] = Celery("poller", backend=url, set_as_current=False)
    # In one read, or the state may be older than the result.
    meta = _pollers[url].backend.get_task_meta(task_id, cache=False)
    return meta["status"], meta["result"]


def assert_stays(project, task_id, state):
    """What is held back would be written within a tenth of a second."""
    sees = iter(range(15))
    wait_until(lambda: poll(project, task_id)[0] != state or next(sees, None) is None, what="a moment")
    assert poll(project, task_id)[0] == state


def let_go(journal: Path, token: str, step: int) -> None:
    """Let the run of *token* go on from its *step*."""
    Path(f"{journal}-{token}-{step}").touch()


def await_step(journal: Path, token: str, step: int) -> None:
    patience = time.monotonic() + 120
    while not Path(f"{journal}-{token}-{step}").exists() and time.monotonic() < patience:
        time.sleep(0.01)


def talk(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        update_progress(end - time.monotonic(), seconds)
        time.sleep(0.001)


def _end(how: str) -> Any:
    if how == "exception":
        raise ValueError("wrong")
    if how == "soft limit":
        raise SoftTimeLimitExceeded
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        sys.exit(3)
    if how == "ignore":
        raise Ignore
    if how == "reject":
        raise Reject("no", requeue=False)
    if how == "unserialisable":
        return object()
    if how == "sleep":
        time.sleep(60)
    raise AssertionError(how)
