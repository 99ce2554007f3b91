"""Workers of a row, and who watches the processes of their runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import psutil

from .project import Project, Setup
from .servers import end, spawn, wait_until

__all__ = ["CONCURRENCY", "ROOT", "Watch", "Worker", "has_gone"]

ROOT = Path(__file__).parents[2]

#: The worker's processes: one for each task that shares, and one more for what comes meanwhile.
CONCURRENCY = 3


class Worker:
    """A prefork worker in a process group of its own, as a host of its own would be."""

    def __init__(self, setup: Setup, name: str, concurrency: int = CONCURRENCY, *options: str) -> None:
        self.log = Path(setup.folder) / f"{name}.log"
        environment = {"CRASH_SETUP": setup.dumps(), "PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"}
        command = [sys.executable, "-m", "celery", "-A", "tests.crash.worker", "worker", "-l", "INFO"]
        command += ["-c", str(concurrency), "-n", f"{name}@crash", "-Q", setup.queue, *options]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self.process = spawn(command, self.log, environment, ROOT)
        self._stopped: set[int] = set()

    def await_ready(self) -> None:
        """Return when it takes messages."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"the worker ended: {self.log.read_text()[-3000:]}"
            return b" ready." in self.log.read_bytes()

        wait_until(is_ready, "the worker being ready")

    @property
    def pids(self) -> list[int]:
        """Its processes, the main one first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.process.pid)
            return [main.pid, *(child.pid for child in main.children(recursive=True))]
        return []

    def signal(self, number: int) -> None:
        """Send a signal to its main process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Send a signal to all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Kill all of it."""
        end(self.process)


class Watch(threading.Thread):
    """Looks whether the processes of runs are alive, and journals when one has gone."""

    def __init__(self, project: Project) -> None:
        super().__init__(daemon=True)
        self._journal, self._over = project.journal, threading.Event()
        self._offset = 0
        # The processes of runs that go on, and when each was last seen alive.
        self._seen: dict[int, float] = {}

    @property
    def running(self) -> list[int]:
        """The processes in which a body goes on."""
        return list(self._seen)

    def run(self) -> None:
        while not self._over.wait(0.03):
            self.look()

    def look(self) -> None:
        """Look once."""
        self._offset, records = self._journal.read_from(self._offset)
        for record in records:
            if record["kind"] == "start":
                self._seen[record["pid"]] = record["at"]
            elif record["kind"] == "end":
                self._seen.pop(record["pid"], None)
        for pid, seen in list(self._seen.items()):
            now = time.clock_gettime(time.CLOCK_MONOTONIC)
            if has_gone(pid):
                del self._seen[pid]
                self._journal.write("gone", of=pid, seen=seen)
            else:
                self._seen[pid] = now

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def has_gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
