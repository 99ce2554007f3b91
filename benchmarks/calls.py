"""What a call costs its caller and a run its worker, compared with plain Celery and with other libraries.

This starts a Redis, which is broker, result backend and one of the stores. The other store is ``disk://`` in
a temporary folder.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from jobtastic_signals import delay_or_fail
from tests.support.servers import redis_server

from .bare import redis_claim, redis_count, redis_get, sqlite_select, sqlite_transaction
from .project import CANDIDATES, HOLDING, PLAIN, TWIN, WITHOUT, Project, redis_options
from .report import Findings, Line, Table
from .rounds import calls_timed, medians, ratios
from .runs import run_of

CALLS = 10
ROUNDS = 120

#: Rounds of one call each, where the target is close to 1.
PAIRS = 2500

READ, DECODED = "a bare read of the result", "decoding, and an AsyncResult"
BARE = {
    ("cached call", "Redis store"): "a bare GET on a socket",
    ("cached call", "disk store"): "a bare SELECT of SQLite",
    ("joining a run", "Redis store"): "a bare INCR on a socket",
    ("joining a run", "disk store"): "a bare transaction of SQLite",
}
DUPLICATE = "celery-singleton, duplicate call"
STORES = ("Redis store", "disk store")

Calls = dict[str, Callable[[], Any]]


class Candidates:
    """What is timed: calls on the client, and runs as a worker makes them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.fresh = itertools.count()
        self.apps = {name: Project(name, url, str(folder)).make_app() for name in CANDIDATES}
        self.tasks = {name: app.tasks["double"] for name, app in self.apps.items()}
        self.url, self.folder = f"{url}/{3 * len(CANDIDATES)}", folder

    def calls(self) -> Calls:
        plain, fresh = self.tasks[PLAIN], self.fresh
        claim, write = redis_claim(self.url), sqlite_transaction(self.folder)
        return {
            name: self._first_call(task) for name, task in self.tasks.items() if name not in (TWIN, HOLDING)
        } | {
            "plain Celery, and a bare claim in Redis": lambda: (plain.delay(next(fresh)), claim()),
            "plain Celery, and a bare claim in SQLite": lambda: (plain.delay(next(fresh)), write()),
            "ours, without options, delay_or_fail": lambda: delay_or_fail(self.tasks[WITHOUT], next(fresh)),
            "ours, Redis store, delay_or_fail": lambda: self.tasks["ours, Redis store"].delay_or_fail(
                next(fresh)
            ),
        }

    def _first_call(self, task: Any) -> Callable[[], Any]:
        return lambda: task.delay(next(self.fresh))

    def without_options(self) -> dict[str, float]:
        """Return what a first call without our options takes, and one of a second plain app, of plain."""
        names = (PLAIN, WITHOUT, TWIN)
        turns = {name: calls_timed(self._first_call(self.tasks[name]), 1) for name in names}
        return ratios(turns, PLAIN, rounds=PAIRS)

    def answered(self) -> Calls:
        calls: Calls = {}
        for store in STORES:
            calls |= self._answered_by(store)
        for name in ("celery-singleton", "celery-once", "celery-heimdall"):
            self.tasks[name].delay(-1)
            calls[f"{name}, duplicate call"] = partial(self.tasks[name].delay, -1)
        bare = redis_get(self.url), sqlite_select(self.folder), redis_count(self.url)
        return calls | dict(zip(BARE.values(), (*bare, sqlite_transaction(self.folder)), strict=True))

    def _answered_by(self, store: str) -> Iterator[tuple[str, Callable[[], Any]]]:
        task = self.tasks[f"ours, {store}"]
        run_of(task, [(-1,)])()
        hit, joined = task.delay(-1), task.delay(-2)
        assert hit.state == "SUCCESS"
        assert task.delay(-2).id == joined.id
        if store == STORES[0]:
            backend = task.backend
            record = backend.get(backend.get_key_for_task(hit.id))
            yield READ, lambda: task.backend.get_task_meta(hit.id, cache=False)
            yield DECODED, lambda: (backend.decode_result(record), task.AsyncResult(hit.id))
        yield f"{store}, cached call", lambda: task.delay(-1)
        yield f"{store}, joining a run", lambda: task.delay(-2)

    def runs(self) -> Calls:
        """Return runs of calls that were never made, so each claims a new key."""
        runs: Calls = {name: run_of(self.tasks[name], zip(self.fresh)) for name in CANDIDATES[:4]}
        for store in STORES:
            runs[f"{store}, served"] = run_of(self.tasks[f"ours, {store}"], itertools.repeat((-1,)))
        return runs


def measure() -> Findings:
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder), *redis_options) as url:
        candidates = Candidates(url, Path(folder))
        calls = medians(candidates.calls(), calls=CALLS, rounds=ROUNDS)
        of_plain = candidates.without_options()
        answered = medians(candidates.answered(), calls=CALLS, rounds=ROUNDS)
        runs = medians(candidates.runs(), calls=CALLS, rounds=ROUNDS // 2)
    tables = {
        "calls": Table("a first call, for its caller", "µs", calls, PLAIN),
        "answered": Table("a call that is answered, for its caller", "µs", answered, READ),
        "runs": Table("a run for its worker, without the message", "µs", runs, PLAIN),
    }
    return Findings([*first_lines(calls, of_plain), *answered_lines(answered)], tables)


def first_lines(calls: dict[str, float], of_plain: dict[str, float]) -> Iterator[Line]:
    group = "a first call"
    limits = {"Redis store": (1.15, "Redis"), "disk store": (1.20, "SQLite")}
    for store, (target, bare) in limits.items():
        ours, limit = calls[f"ours, {store}"], calls[f"plain Celery, and a bare claim in {bare}"]
        limit_of = f"plain, and a bare claim in {bare}"
        yield Line(group, store, ours / calls[PLAIN], target, "× plain", limit / calls[PLAIN], limit_of)
        singleton = calls["celery-singleton"]
        yield Line(
            group,
            store,
            ours / singleton,
            1,
            "× celery-singleton",
            limit / singleton,
            limit_of,
            strictly=True,
        )
    limit_of = "a second app of plain Celery"
    yield Line(group, "without our options", of_plain[WITHOUT], 1.02, "× plain", of_plain[TWIN], limit_of)


def answered_lines(answered: dict[str, float]) -> Iterator[Line]:
    for what in ("cached call", "joining a run"):
        for store in STORES:
            ours, read = answered[f"{store}, {what}"], answered[READ]
            # The store must be asked, and the result backend. It counts the calls that join. A Redis is both,
            # and can be asked for both at once.
            bare = BARE[what, store]
            rest, joint = (DECODED, ", ") if store == STORES[0] else (READ, ", and ")
            least, limit_of = answered[bare] + answered[rest], f"{bare}{joint}{rest}"
            yield Line(what, store, ours / read, 1.25, "× a bare read", least / read, limit_of)
            singleton = answered[DUPLICATE]
            of_singleton = "× celery-singleton's duplicate"
            yield Line(what, store, ours / singleton, 0.7, of_singleton, least / singleton, limit_of)
