"""What one row has: servers, a project, workers, and who collects the answers."""

from __future__ import annotations

import contextlib
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celery import Celery, states

from jobtastic_signals.stores import Claim

from .project import SHARED, Project, Setup
from .rows import Row
from .servers import RabbitMQ, Redis, wait_until
from .workers import CONCURRENCY, Watch, Worker

__all__ = ["Site"]


class Answers(threading.Thread):
    """Looks into the result backend for the answers of all calls, and journals each.

    It also gives back messages that were not acknowledged in time. So does each worker on Redis, every 10 s.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(daemon=True)
        # Connections of its own: those of the caller may hang.
        self._app = Celery(
            "answers", backend=project.setup.backend, broker=project.setup.broker, set_as_current=False
        )
        self._app.conf.broker_transport_options = project.app.conf.broker_transport_options
        self._project, self._over = project, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            with contextlib.suppress(Exception):
                self.look()
            if self._project.setup.broker.startswith("redis"):
                with contextlib.suppress(Exception):
                    self._give_back()

    def look(self) -> None:
        """Look once."""
        for call in self._project.journal.read().calls.values():
            if call.result is None or call.state is not None:
                continue
            meta = self._app.backend._get_task_meta_for(call.result)
            if meta["status"] in states.READY_STATES:
                value = meta["result"]
                value = value if isinstance(value, str) else f"{type(value).__name__}: {value}"
                value = value.removeprefix("ValueError: ")
                self._project.journal.write("answer", call=call.name, state=meta["status"], value=value)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()
        self._app.close()

    def _give_back(self) -> None:
        with self._app.connection_for_read() as connection:
            connection.default_channel.qos.restore_visible(num=100, interval=1)


class Site:
    """The servers, the project and the workers of one row."""

    def __init__(self, folder: Path, row: Row, stack: ExitStack, rabbitmq: RabbitMQ | None = None) -> None:
        self.folder, self.row, self._stack = folder, row, stack
        self.backend = self._redis("backend")
        self.broker = rabbitmq or self._redis("broker")
        self.store = self._redis("store") if row.store == "redis" else None
        self.setup = Setup(
            folder=str(folder),
            broker=self.broker.url(),
            backend=self.backend.url(),
            store=self.store.url() if self.store is not None else f"disk://{folder}/store",
            store_options={} if self.store is not None else {"timeout": 0.3},
            late=row.late,
            time_limit=4.0 if row.fault == "hard_limit" else None,
            queue=f"q-{folder.name}-{os.getpid()}",
        )
        self.project = Project(self.setup)
        stack.callback(self.project.close)
        self.journal, self.points = self.project.journal, self.project.points
        self.workers: list[Worker] = []
        self._replaced: list[Worker] = []
        stack.callback(self.points.open)
        self._watch = Watch(self.project)
        self._answers = Answers(self.project)
        for thread in (self._watch, self._answers):
            thread.start()
            stack.callback(thread.end)

    @property
    def first(self) -> Worker:
        """The worker that the fault hits."""
        return self.workers[0]

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """The task and the key of what the fault hits."""
        return [(task, f"of-{task}") for task in SHARED]

    def start_worker(self, *options: str) -> Worker:
        """Start a worker, and return when it takes messages."""
        worker = Worker(self.setup, f"w{len(self.workers)}-{self.folder.name}", CONCURRENCY, *options)
        self.workers.append(worker)
        self._stack.callback(worker.stop)
        worker.await_ready()
        return worker

    def supervise(self) -> None:
        """Replace workers that have ended, as whoever runs them would.

        What they ran is lost if it was acknowledged.
        """
        for worker in self.workers:
            if worker.process.poll() is None or worker in self._replaced:
                continue
            self._replaced.append(worker)
            events = self.journal.read()
            running = [run.id for run in events.runs if run.stored is None and run.seen is not None]
            ids = [] if self.row.late else running
            self.journal.write("destroyed", why="the worker ended, its messages were acknowledged", ids=ids)
            self.start_worker()

    def claim_of(self, task: str, key: str) -> Claim | None:
        """Return the live claim of a call, as far as it can be known."""
        found = self.project.store.lookup(self.project.key_of(task, key))
        if not isinstance(found, Claim):
            return None
        assert found.expires - found.at <= self.setup.lease + 0.01, f"a claim lasts too long: {found}"
        return found

    def await_point(self, point: str, key: str) -> dict[str, Any]:
        """Return the record of who has stopped at a point."""
        return wait_until(
            lambda: self.journal.read().of("at", point=point, key=key), f"{key} stopping at {point}"
        )[0]

    def client_call(self, task: str, key: str, how: str = "plain", **options: Any) -> None:
        """Make a call, in a thread of its own: it may hang while a server does."""
        thread = threading.Thread(
            target=self.project.call, args=(task, key, how), kwargs=options, daemon=True
        )
        thread.start()
        self._stack.callback(thread.join, 30.0)
        thread.join(2.0)

    def _redis(self, name: str) -> Redis:
        server = Redis(self.folder / name)
        self._stack.callback(server.kill)
        return server
