"""Starting and stopping a real Celery worker in its own processes."""

from __future__ import annotations

import os
import signal
import subprocess  # nosec B404  # runs the demo's own worker
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from .interrupts import uninterrupted
from .stage import Stage

__all__ = ["Worker", "WorkerError", "running_worker", "wait_for"]

#: Seconds that the worker may take to start, to end when asked, and to end when killed.
TO_START, TO_END, TO_DIE = 60.0, 8.0, 5.0

_COMMAND = (
    *(sys.executable, "-m", "celery", "-A", "jobtastic_signals.demo.tasks", "worker"),
    *("--pool=prefork", "--concurrency=2", "--loglevel=INFO"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


class WorkerError(Exception):
    """The worker did not start, or has ended."""


class Worker:
    """The worker's main process, and the group of all its processes.

    It has its own process group. So Ctrl-C reaches only the demo, which then stops the worker, and no process
    of the worker can be missed.
    """

    def __init__(self, stage: Stage) -> None:
        self._log = stage.log
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # nosec B603  # a fixed command
                _COMMAND,
                cwd=stage.folder,
                env={**os.environ, "PYTHONPATH": _import_path(), "TMPDIR": str(stage.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until it accepts tasks.

        :raises WorkerError: if it ended, or took longer than :data:`TO_START` seconds.
        """
        ready = wait_for(lambda: not self.is_alive or " ready." in self.last_words(), TO_START)
        if not self.is_alive:
            raise WorkerError(f"the worker ended with status {self._process.returncode} before it was ready")
        if not ready:
            raise WorkerError(f"the worker was not ready after {TO_START:.0f} seconds")

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(TO_END)
        self.kill()

    @uninterrupted()
    def kill(self) -> None:
        """Kill whatever is left of it.

        This has to be quick, since tox kills the demo half a second after Ctrl-C.
        """
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        wait_for(lambda: not _has_processes(self._process.pid), TO_DIE)

    def last_words(self, lines: int = 25) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def running_worker(stage: Stage) -> Iterator[Worker]:
    """Give a worker that is starting, and end all of its processes afterwards."""
    with ExitStack() as afterwards:
        with uninterrupted():
            worker = Worker(stage)
            afterwards.callback(worker.kill)
        yield worker


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until *condition* holds. Return whether it did within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _has_processes(group: int) -> bool:
    """Return whether a process group has processes that are not zombies."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _import_path() -> str:
    """Return the import path of this process for the worker, whose folder is another one."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
