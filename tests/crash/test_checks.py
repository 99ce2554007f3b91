"""The checks find what they are for: each sees journals with one thing wrong, and without."""

from __future__ import annotations

from typing import Any

import pytest

from .checks import violations
from .journal import Events

Record = dict[str, Any]


def run(
    token: str, start: float, end: float | None, *, pid: int = 1, done: float | None = None
) -> list[Record]:
    task, key, name = token.split("|")
    known: Record = {"pid": pid, "id": f"id-{name}", "key": key}
    records = [{"kind": "start", "at": start, "task": task, "token": token, **known}]
    if end is not None:
        records.append({"kind": "end", "at": end, "token": token, "ended": "returned", **known})
        records.append({"kind": "stored", "at": end, "state": "SUCCESS", **known})
        records.append({"kind": "done", "at": end if done is None else done, **known})
    return records


def call(
    made: float, value: str | None, *, how: str = "plain", countdown: float = 0, key: str = "k"
) -> list[Record]:
    name = f"call-{made}-{how}"
    records: list[Record] = [
        {"kind": "call", "at": made, "pid": 9, "call": name, "key": key, "task": "work", "how": how}
        | {"countdown": countdown},
        {"kind": "called", "at": made, "pid": 9, "call": name, "id": "id-a"},
    ]
    if value is not None:
        state = "SUCCESS" if "|" in value else "FAILURE"
        records.append(
            {"kind": "answer", "at": made + 50, "pid": 9, "call": name, "state": state, "value": value}
        )
    return records


A, B = "work|k|a", "work|k|b"


def damage(kind: str, at: float, **what: Any) -> list[Record]:
    return [{"kind": kind, "at": at, "pid": 9, **what}]


WRONG: dict[str, tuple[list[Record], str]] = {
    "two runs overlap": ([*run(A, 1, 4), *run(B, 3, 5, pid=2)], "overlap"),
    "a run begins while one whose process was alive goes on": (
        [*run(A, 1, None), *damage("gone", 9, of=1, seen=4.0), *run(B, 3, 5, pid=2)],
        "overlap",
    ),
    "a run begins beside a stopped one, before its lease lapses": (
        [*run(A, 1, 9), *damage("stopped", 2, pids=[1], lapses={"work|k": 4.0}), *run(B, 3, 5, pid=2)],
        "overlap",
    ),
    "a run begins beside one that has regained its claim": (
        [*run(A, 1, 9), *damage("emptied", 2, until=5), *run(B, 6, 8, pid=2)],
        "overlap",
    ),
    "two runs overlap that began after the store was emptied": (
        [*damage("emptied", 0.5, until=3.5), *run(A, 1, 4), *run(B, 3, 5, pid=2)],
        "overlap",
    ),
    "two runs overlap after the store has come back": (
        [*damage("unavailable", 0.5, since=0.1, until=0.5), *run(A, 1, 4), *run(B, 3, 5, pid=2)],
        "overlap",
    ),
    "an answer is older than its call": ([*run(A, 1, 2), *call(3, A)], "older run"),
    "an answer is older than the time when its call was due": (
        [*run(A, 1, 2), *call(1.5, A, how="later", countdown=1)],
        "older run",
    ),
    "an answer is older than its call, and its process was killed before that": (
        [*run(A, 1, 2)[:2], *damage("killed", 2.5, of=1), *call(3, A)],
        "older run",
    ),
    "an answer belongs to another key": (
        [*run(A, 1, 2), *call(1.5, A, key="other")],
        "by a run of work('k')",
    ),
    "an answer comes from nowhere": ([*run(A, 1, 2), *call(1.5, B)], "which no run has made"),
    "a call has no end": ([*run(A, 1, 2), *call(1.5, None)], "has no answer"),
    "a call fails for no reason": ([*run(A, 1, 2), *call(1.5, "KeyError: x")], "ended in FAILURE"),
    "a result was forgotten before the call": (
        [*run("cached|k|a", 1, 2), *damage("forgotten", 2.5, since=2.4, task="cached", key="k")]
        + [
            {**record, **({"task": "cached"} if "task" in record else {})} for record in call(3, "cached|k|a")
        ],
        "was forgotten",
    ),
}

RIGHT: dict[str, list[Record]] = {
    "runs follow each other": [*run(A, 1, 3), *run(B, 3, 5, pid=2)],
    "a run begins after one whose process has gone": [
        *[*run(A, 1, None), *damage("gone", 9, of=1, seen=2.9), *run(B, 3, 5, pid=2)],
    ],
    "a run begins beside a stopped one, after its lease": [
        *[*run(A, 1, 9), *damage("stopped", 2, pids=[1], lapses={"work|k": 3.0}), *run(B, 3, 5, pid=2)],
    ],
    "a run begins beside one whose claim was emptied": [
        *[*run(A, 1, 9), *damage("emptied", 2, until=5), *run(B, 3, 5, pid=2)],
    ],
    "a run begins while the store is away": [
        *[*run(A, 1, 9), *damage("unavailable", 4, since=2.0, until=4.0), *run(B, 3, 5, pid=2)],
    ],
    "a call is made during the run": [*run(A, 1, 2), *call(1.5, A)],
    "a call is made before the run": [*run(A, 1, 2), *call(0.5, A)],
    "a run's process was killed before it could say that its outcome is stored": [
        *run(A, 1, 2)[:2],
        *[*damage("killed", 2.5, of=1), *call(2.3, A)],
    ],
    "a run was ended before it could say so, and another begins": [
        *[
            *run(A, 1, None),
            {"kind": "stored", "at": 2, "pid": 1, "id": "id-a", "key": "k", "state": None},
            *damage("gone", 9, of=1, seen=5),
        ],
        *run(B, 3, 5, pid=2),
    ],
    "a retry was revoked": [
        *[*call(1.5, None), *damage("revoked", 1.6, id="id-a")],
        *damage("stored", 1.7, id="id-a", key="k", state="RETRY"),
    ],
    "a call has joined what was destroyed": [*call(1.5, None), *damage("destroyed", 2, ids=["id-a"])],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_journal_is_wrong_where(what: str) -> None:
    records, found = WRONG[what]
    assert [each for each in violations(Events(records)) if found in each]


@pytest.mark.parametrize("what", RIGHT)
def test_a_journal_is_right_where(what: str) -> None:
    assert violations(Events(RIGHT[what])) == []
