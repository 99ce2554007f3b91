"""The journal: what runs, calls and faults leave behind, in one file to which all processes append.

Times are those of ``CLOCK_MONOTONIC``, which all processes of a machine share. A record is
written by one call of ``write``, so it is whole, and it survives the death of its process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Call", "Events", "Journal", "Run"]

Record = dict[str, Any]


class Journal:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **what: Any) -> float:
        """Append a record. Return its time."""
        at = time.clock_gettime(time.CLOCK_MONOTONIC)
        line = json.dumps({"kind": kind, "at": at, "pid": os.getpid(), **what}).encode() + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            assert os.write(descriptor, line) == len(line)
        finally:
            os.close(descriptor)
        return at

    def read(self) -> Events:
        """Return what has been journalled."""
        return Events(self.read_from(0)[1])

    def read_from(self, offset: int) -> tuple[int, list[Record]]:
        """Return the records from *offset* on, and the offset of the next one."""
        if not self.path.exists():
            return offset, []
        with self.path.open("rb") as file:
            file.seek(offset)
            whole = file.read().rpartition(b"\n")[0]
        lines = whole.split(b"\n") if whole else []
        return offset + len(whole) + bool(whole), [json.loads(line) for line in lines]


@dataclass(eq=False)
class Run:
    """One run of a body.

    :ivar start: when the body began.
    :ivar end: when it ended; ``None`` if it did not.
    :ivar stored: when the result backend had its outcome at the latest.
    :ivar done: when the package had dealt with it at the latest.
    :ivar seen: when its process was last seen alive, if the body did not end.
    :ivar killed: when its process was killed, at the latest.
    """

    task: str
    key: str
    id: str
    token: str
    pid: int
    start: float
    end: float | None = None
    stored: float | None = None
    done: float | None = None
    seen: float | None = None
    killed: float | None = None

    @property
    def over(self) -> float:
        """Seconds at which the body did not go on any more, or would not be known to."""
        known = (self.end, self.stored, self.seen)
        return next((each for each in known if each is not None), float("inf"))


@dataclass(eq=False)
class Call:
    """One call.

    :ivar made: a time before anything was done for it; for a call that is due later, when it is due.
    :ivar result: the id of the result that the caller got; ``None`` if the call raised, or the caller died.
    :ivar state: Celery's state of the answer; ``None`` without an answer.
    """

    name: str
    task: str
    key: str
    how: str
    made: float
    result: str | None = None
    refused: str | None = None
    state: str | None = None
    value: str = ""
    answered: float | None = None


@dataclass
class Events:
    """The records in the order of their times, as runs and calls."""

    records: list[Record]
    runs: list[Run] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    _by_token: dict[str, Run] = field(default_factory=dict)
    # The latest run of an id in a process, and of a process.
    _by_id: dict[tuple[str, int], Run] = field(default_factory=dict)
    _by_pid: dict[int, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records.sort(key=lambda record: record["at"])
        for record in self.records:
            read = getattr(self, f"_{record['kind']}", None)
            if read is not None:
                read(record)

    def of(self, kind: str, **what: Any) -> list[Record]:
        """Return the records of a kind that say so."""
        return [each for each in self.records if each["kind"] == kind and what.items() <= each.items()]

    @property
    def open_runs(self) -> list[Run]:
        """The runs that go on, as far as is known."""
        return [run for run in self.runs if run.end is None and run.seen is None]

    def render(self) -> Iterator[str]:
        """Yield one readable line for each record."""
        begin = self.records[0]["at"] if self.records else 0.0
        for record in self.records:
            rest = {name: each for name, each in record.items() if name not in ("kind", "at", "pid")}
            said = " ".join(f"{name}={each}" for name, each in rest.items())
            yield f"{record['at'] - begin:9.3f} {record['pid']:>7} {record['kind']:<10} {said}"

    def _start(self, record: Record) -> None:
        known = ("task", "key", "id", "token", "pid")
        run = Run(**{name: record[name] for name in known}, start=record["at"])
        self.runs.append(run)
        self._by_token[run.token] = self._by_id[run.id, run.pid] = self._by_pid[run.pid] = run

    def _end(self, record: Record) -> None:
        self._by_token[record["token"]].end = record["at"]

    def _stored(self, record: Record) -> None:
        run = self._run_of(record)
        if run is not None and run.stored is None:
            run.stored = record["at"]

    def _done(self, record: Record) -> None:
        run = self._run_of(record)
        if run is not None and run.done is None:
            run.done = record["at"]

    def _killed(self, record: Record) -> None:
        self._by_pid[record["of"]].killed = record["at"]

    def _gone(self, record: Record) -> None:
        run = self._by_pid[record["of"]]
        if run.end is None:
            run.seen = record["seen"]

    def _call(self, record: Record) -> None:
        made = record["at"] + record["countdown"]
        self.calls[record["call"]] = Call(record["call"], record["task"], record["key"], record["how"], made)

    def _called(self, record: Record) -> None:
        self.calls[record["call"]].result = record["id"]

    def _refused(self, record: Record) -> None:
        self.calls[record["call"]].refused = record["error"]

    def _answer(self, record: Record) -> None:
        call = self.calls[record["call"]]
        call.state, call.value, call.answered = record["state"], record["value"], record["at"]

    def _run_of(self, record: Record) -> Run | None:
        """Return the latest run of the id in the process that wrote *record*."""
        return self._by_id.get((record["id"], record["pid"]))
