"""The temporary folder of the demo, and what the demo and its worker share in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..support.counters import flush_all
from .interrupts import uninterrupted

__all__ = ["Run", "Stage", "note_run", "open_stage", "settings", "take_a_second", "wants_plugin"]

#: The environment variables that pass the stage to the worker.
FOLDER, PLUGIN = "JOBTASTIC_DEMO_FOLDER", "JOBTASTIC_DEMO_PLUGIN"

#: Seconds after which a run that the demo holds up goes on by itself.
LONGEST_HOLD = 30.0


@dataclass(frozen=True)
class Run:
    """One run of a task's body: what it was for, and its process."""

    what: str
    pid: int


@dataclass(frozen=True)
class Stage:
    """The folder, as both sides use it."""

    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def log(self) -> Path:
        """The output of the worker."""
        return self.folder / "worker.log"

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    def runs(self, what: str) -> list[Run]:
        """Return the runs for *what* up to now, as their bodies recorded them, oldest first."""
        if not self.journal.exists():
            return []
        # Each line is one short write, so no line is ever read in part.
        noted = [Run(**json.loads(line)) for line in self.journal.read_text().splitlines()]
        return [run for run in noted if run.what == what]

    @contextmanager
    def holding_up(self) -> Iterator[None]:
        """Keep all runs from ending until the block ends."""
        self.hold.touch()
        try:
            yield
        finally:
            self.hold.unlink()


@contextmanager
def open_stage(*, plugin: bool) -> Iterator[Stage]:
    """Give a stage for this process and its children, and remove it afterwards.

    The demo's tasks read the environment that is set here when they are imported.
    """
    # Celery prefers these to the app's configuration, and a demo must not reach a real broker.
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]
    with ExitStack() as afterwards:
        with uninterrupted():
            stage = Stage(Path(tempfile.mkdtemp(prefix="jobtastic-demo-")))
            afterwards.callback(uninterrupted()(shutil.rmtree), stage.folder)
        # What this process has counted goes into the store while that is there.
        afterwards.callback(flush_all)
        for name in ("messages", "results"):
            (stage.folder / name).mkdir()
        os.environ[FOLDER], os.environ[PLUGIN] = str(stage.folder), "on" if plugin else "off"
        yield stage


def settings() -> dict[str, Any]:
    """Return the Celery configuration of the demo. It is empty if no stage is open."""
    if FOLDER not in os.environ:
        return {}
    folder = os.environ[FOLDER]
    return {
        "broker_url": "localhost",
        "broker_transport": "jobtastic_signals.demo.broker:Transport",
        "broker_transport_options": {
            "data_folder_in": f"{folder}/messages",
            "data_folder_out": f"{folder}/messages",
            "control_folder": f"{folder}/control",
            "polling_interval": 0.01,
        },
        "result_backend": f"jobtastic_signals.demo.results:Backend+file://{folder}/results",
        # The worker is started with the program that the demo prints; it imports these as well.
        "imports": ["jobtastic_signals.demo.page_tasks", "jobtastic_signals.demo.memory_tasks"],
        "jobtastic_store": f"disk://{quote(folder)}/store",
        # Celery checks every second whether a batch is complete, and waits for ten seconds before it reports
        # a killed process. That is good for production, and long for somebody who watches.
        "result_chord_retry_interval": 0.1,
        "worker_lost_wait": 0.5,
        # One worker needs no remote control, whose files have the problem that broker.py describes.
        "worker_enable_remote_control": False,
    }


def wants_plugin() -> bool:
    """Return whether the demo runs with the plugin, so without ``--without-plugin``."""
    return os.environ.get(PLUGIN) != "off"


def note_run(what: str) -> None:
    """Record a run. Called by the body of a task."""
    line = json.dumps({"what": what, "pid": os.getpid()}) + "\n"
    journal = os.open(_stage().journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(journal, line.encode())
    finally:
        os.close(journal)


def take_a_second() -> None:
    """Sleep for a second, or longer while the demo holds runs up. Called by the body of a task."""
    time.sleep(1)
    patience = time.monotonic() + LONGEST_HOLD
    while _stage().hold.exists() and time.monotonic() < patience:
        time.sleep(0.01)


def _stage() -> Stage:
    return Stage(Path(os.environ[FOLDER]))
