"""What real prefork workers take for distinct calls of a task that does nothing, and their memory.

All workers run, and one has messages at a time: it is paused while they are published. Where the target is
close to 1, few messages are moved into the queue at once, in many more rounds.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.support.servers import redis_server, wait_until

from .bare import redis_claim, redis_get, sqlite_transaction
from .project import CANDIDATES, HOLDING, PLAIN, TWIN, WITHOUT, Project, redis_options, worker
from .report import Findings, Line, Table
from .rounds import medians, ratios, samples

MESSAGES, ROUNDS = 200, 9

#: The same where the target is close to 1. Two for each process of the worker.
FEW, MANY_ROUNDS = 4, 600

#: The first messages of a worker are not timed: it imports and connects.
WARM_UP = 100

#: celery-heimdall is missing: its locks lie among the results, which are counted here.
MEASURED = [name for name in CANDIDATES if name != "celery-heimdall"]

OURS = {"Redis store": 1.15, "disk store": 1.30}


class Throughput:
    """A worker of one candidate, and a client that gives it messages."""

    def __init__(self, project: Project) -> None:
        self.app = project.make_app()
        self.task = self.app.tasks["double"]
        self.results, self.messages = project.client(1), project.client(0)
        self.stored = self.results.pubsub()
        self.fresh = itertools.count()
        self.take(WARM_UP)

    def take(self, messages: int = MESSAGES) -> float:
        """Return the milliseconds of the worker for one message."""
        self._consume(False)
        stored = self.results.dbsize() + messages
        for _ in range(messages):
            self.task.delay(next(self.fresh))
        # A worker that was waiting for a message when it paused takes one, and gives it back.
        wait_until(lambda: self.messages.llen("celery") == messages, what="all messages")
        start = time.perf_counter()
        self._consume(True)
        wait_until(lambda: self.results.dbsize() >= stored, what="all results", every=0.002)
        return (time.perf_counter() - start) / messages * 1e3

    def take_few(self) -> float:
        """Return the milliseconds of the worker for one of a few messages that it gets at once."""
        calls = [self.task.apply_async((next(self.fresh),), queue="prepared") for _ in range(FEW)]
        # Celery publishes each result there when it stores it.
        self.stored.subscribe(*(self.app.backend.get_key_for_task(call.id) for call in calls))
        self._hear("subscribe")
        start = time.perf_counter()
        self.messages.rename("prepared", "celery")
        self._hear("message")
        took = time.perf_counter() - start
        self.stored.unsubscribe()
        self._hear("unsubscribe")
        return took / FEW * 1e3

    def _hear(self, kind: str) -> None:
        for _ in range(FEW):
            heard = self.stored.get_message(timeout=30)
            assert heard is not None
            assert heard["type"] == kind

    def _consume(self, on: bool) -> None:
        # The answer of a worker that consumes comes when it has begun.
        change = self.app.control.add_consumer if on else self.app.control.cancel_consumer
        change("celery", reply=not on, limit=1, timeout=5)


def measure() -> Findings:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = stack.enter_context(redis_server(Path(folder), *redis_options))
        projects = {name: Project(name, url, folder) for name in MEASURED}
        workers = {name: stack.enter_context(worker(project)) for name, project in projects.items()}
        clients = {name: Throughput(project) for name, project in projects.items()}
        few = {name: clients[name].take_few for name in (PLAIN, WITHOUT, TWIN)}
        of_plain = ratios(few, PLAIN, rounds=MANY_ROUNDS)
        turns = {name: client.take for name, client in clients.items() if name != TWIN}
        times = {name: statistics.median(each) for name, each in samples(turns, rounds=ROUNDS).items()}
        memory = {name: unique_megabytes(workers[name]) for name in turns}
        bare = bare_milliseconds(f"{url}/{3 * len(CANDIDATES)}", Path(folder))
    tables = {
        "workers": Table(
            f"{MESSAGES} messages in a prefork worker, each",
            "ms",
            {name: time for name, time in times.items() if name != HOLDING},
            PLAIN,
        ),
        "memory": Table("memory of a worker's child that nobody shares", "MB", memory),
    }
    return Findings([*lines(times, of_plain, bare), memory_line(memory)], tables)


def lines(times: dict[str, float], of_plain: dict[str, float], bare: dict[str, float]) -> Iterator[Line]:
    group = "a worker's throughput"
    plain, singleton = times[PLAIN], times["celery-singleton"]
    for store, target in OURS.items():
        ours, limit = times[f"ours, {store}"], plain + bare[store]
        limit_of = (
            f"plain, and {'two bare round trips' if store == 'Redis store' else 'two bare transactions'}"
        )
        yield Line(group, store, ours / plain, target, "× plain", limit / plain, limit_of)
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
    limit_of = "a second worker of plain Celery"
    yield Line(group, "without our options", of_plain[WITHOUT], 1.02, "× plain", of_plain[TWIN], limit_of)


def bare_milliseconds(url: str, folder: Path) -> dict[str, float]:
    """Return what the least of a run costs for each store: to claim, and to complete."""
    claim, get, write = redis_claim(url), redis_get(url), sqlite_transaction(folder)
    found = medians(
        {"Redis store": lambda: (claim(), get()), "disk store": lambda: (write(), write())}, calls=20
    )
    # Two processes of the worker share the messages.
    return {store: microseconds / 2e3 for store, microseconds in found.items()}


def unique_megabytes(pid: int) -> float:
    """Return the median memory of the children of *pid* that no other process shares."""
    children = psutil.Process(pid).children()
    return statistics.median(child.memory_full_info().uss for child in children) / 1e6


def memory_line(memory: dict[str, float]) -> Line:
    more = max(memory[f"ours, {store}"] for store in OURS) - memory[PLAIN]
    least = memory[HOLDING] - memory[PLAIN]
    return Line("memory per worker child", "more than plain", more, 2, "MB", least, HOLDING)
