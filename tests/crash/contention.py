"""Many callers at once, and what disturbs them: kills, forgets, retries, failures, revokes, later calls.

``python -m tests.crash.contention`` is one process of callers, as the environment says.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celery import group, states
from celery.result import AsyncResult

from jobtastic_signals import StoreError, forget

from .leftovers import await_nothing_left, messages_in
from .project import SHARED, Project, Setup
from .servers import PATIENCE, Memcached, Redis, spawn, wait_until
from .workers import ROOT, Watch, Worker

__all__ = ["FAILURES", "contend"]

#: How calls may end beside a value: the harness kills and revokes.
FAILURES = ("WorkerLostError", "TaskRevokedError", "Terminated")

KEYS = [f"key-{number}" for number in range(5)]

#: What a caller does, and how often.
ACTIONS = {
    "plain": 50,
    "own id": 15,
    "later": 10,
    "group": 8,
    "forget": 8,
    "revoke": 5,
    "terminate": 4,
}


class Caller:
    """One caller. It makes a few calls, waits for their answers, and goes on until its time is up."""

    def __init__(self, project: Project, seed: str, until: float) -> None:
        self._project, self._random, self._until = project, random.Random(seed), until
        self._open: list[tuple[str, AsyncResult[Any]]] = []
        self._last = ""

    def run(self) -> None:
        """Go on until then."""
        while time.monotonic() < self._until:
            for _ in range(self._random.choice((1, 1, 3))):
                self._act()
            self._await_answers()
            time.sleep(self._random.uniform(0, 0.2))

    def _act(self) -> None:
        pick = self._random
        action = pick.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        task, key = pick.choice(SHARED), pick.choice(KEYS)
        if action == "forget":
            self._forget(task, key)
        elif action in ("revoke", "terminate"):
            if not self._last:
                return
            self._project.journal.write("revoked", id=self._last, terminate=action == "terminate")
            self._project.app.control.revoke(self._last, terminate=action == "terminate")
        elif action == "group":
            self._call_group(task, key)
        else:
            how = {"countdown": 1} if action == "later" else {}
            self._add(*self._project.call(task, key, action, kwargs=self._chosen(), **how))

    def _chosen(self) -> dict[str, Any]:
        how = self._random.choices(("returns", "retries", "fails"), (80, 12, 8))[0]
        return {"how": how, "seconds": round(self._random.choice((0.0, 0.0, 0.1, 0.5)), 2)}

    def _forget(self, task: str, key: str) -> None:
        since = time.clock_gettime(time.CLOCK_MONOTONIC)
        with contextlib.suppress(StoreError):  # Then nothing was forgotten.
            forget(self._project.app.tasks[task], key)
            self._project.journal.write("forgotten", task=task, key=key, since=since)

    def _call_group(self, task: str, key: str) -> None:
        journal, names = self._project.journal, [f"{random.getrandbits(32):08x}" for _ in range(2)]
        for name in names:
            journal.write("call", call=name, key=key, task=task, how="group", countdown=0)
        signature = self._project.app.tasks[task].s(key, **self._chosen())
        for name, result in zip(
            names, group([signature, signature.clone()]).apply_async().results, strict=True
        ):
            journal.write("called", call=name, id=result.id)
            self._add(name, result)

    def _add(self, name: str, result: AsyncResult[Any] | None) -> None:
        if result is not None:
            self._open.append((name, result))
            self._last = result.id

    def _await_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._open and time.monotonic() < deadline:
            self._open = [(name, result) for name, result in self._open if not self._has_answer(name, result)]
            time.sleep(0.1)
        self._open = []

    def _has_answer(self, name: str, result: AsyncResult[Any]) -> bool:
        meta = self._project.app.backend._get_task_meta_for(result.id)
        if meta["status"] not in states.READY_STATES:
            return False
        value = meta["result"]
        value = value if isinstance(value, str) else f"{type(value).__name__}: {value}"
        value = value.removeprefix("ValueError: ")
        self._project.journal.write("answer", call=name, state=meta["status"], value=value)
        return True


class Contention:
    """Servers, workers and processes of callers."""

    def __init__(self, folder: Path, store: str, stack: ExitStack, *, late: bool) -> None:
        self.folder, self._stack = folder, stack
        self.broker = Redis(folder / "broker")
        stack.callback(self.broker.kill)
        self.store = Redis(folder / "store") if store == "redis" else None
        if self.store is not None:
            stack.callback(self.store.kill)
        self.setup = Setup(
            folder=str(folder),
            broker=self.broker.url(),
            backend=self.broker.url(1),
            store=self._url(store),
            lease=6.0,
            visibility_timeout=600.0,
            late=late,
            queue="contention",
        )
        self.project = Project(self.setup)
        stack.callback(self.project.close)

    def _url(self, store: str) -> str:
        if self.store is not None:
            return self.store.url()
        if store == "disk":
            return f"disk://{self.folder}/disk"
        memcached = Memcached(self.folder / "memcached")
        self._stack.callback(memcached.kill)
        return memcached.url()

    def run(self, callers: int, seconds: float) -> None:
        """Let so many callers contend for so long, and kill children of the workers meanwhile."""
        workers = [Worker(self.setup, f"w{number}", 4) for number in range(2)]
        for worker in workers:
            self._stack.callback(worker.stop)
            worker.await_ready()
        watch = Watch(self.project)
        watch.start()
        self._stack.callback(watch.end)
        processes = [self._spawn_callers(callers // 4, seconds, number) for number in range(4)]
        while any(process.poll() is None for process in processes):
            time.sleep(random.uniform(0.5, 1.5))
            if running := watch.running:
                victim = random.choice(running)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    self.project.journal.write("killed", of=victim)
        for process in processes:
            assert process.returncode == 0, (self.folder / "callers.log").read_text()[-3000:]

    def _spawn_callers(self, threads: int, seconds: float, number: int) -> Any:
        environment = {"CRASH_SETUP": self.setup.dumps(), "PYTHONPATH": str(ROOT)}
        environment["CRASH_CALLERS_HERE"] = json.dumps([threads, seconds, f"{self.folder.name}-{number}"])
        command = [sys.executable, "-m", "tests.crash.contention"]
        process = spawn(command, self.folder / "callers.log", environment, ROOT)
        self._stack.callback(process.kill)
        return process


def contend(folder: Path, store: str, *, callers: int, seconds: float, late: bool) -> None:
    """Let callers contend. The journal is in *folder* afterwards.

    :raises AssertionError: if something is left in the store or the broker that should not be there.
    """
    with ExitStack() as stack:
        contention = Contention(folder, store, stack, late=late)
        contention.run(callers, seconds)
        queue = contention.setup.queue
        wait_until(
            lambda: messages_in(contention.broker, queue) == 0, "the broker having no messages any more"
        )
        await_nothing_left(contention.project, contention.store, folder / "disk" if store == "disk" else None)


def main() -> None:
    """Run the callers of one process."""
    project = Project(Setup(**json.loads(os.environ["CRASH_SETUP"])))
    threads, seconds, name = json.loads(os.environ["CRASH_CALLERS_HERE"])
    until = time.monotonic() + seconds
    callers = [Caller(project, f"{name}-{number}", until) for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(caller.run) for caller in callers]:
            future.result()


if __name__ == "__main__":
    main()
