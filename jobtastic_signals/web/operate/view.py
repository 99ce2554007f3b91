"""What the page shows of a snapshot, as JSON: the facts, and the texts for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...sharing.inventory import STATES, Row
from ...sharing.stats import TaskStats
from ...support.amounts import bytes_text, time_text
from ...support.shown import one_line
from .snapshot import Snapshot

__all__ = ["MOST", "Wanted", "view_of"]

#: The rows that each table shows at most, and the tasks to choose from, beside the chosen one.
MOST = 100

#: The characters of a text that are shown at most; the end of a task's name says most.
_LONGEST = 120
_SHORT = 8

#: The numbers of calls and runs that needed no run of their own.
_ANSWERED = ("hits", "joins", "served")
_NUMBERS = ("calls", *_ANSWERED, "waits", "takeovers", "runs", "store_failures")

#: What the numbers of a forecast begin with.
_OBSERVED = "observed_"


@dataclass(frozen=True)
class Wanted:
    """Which rows to show.

    :ivar task: the name of a task as rows have it; empty for all.
    :ivar state: one of :data:`.inventory.STATES`; empty for all.
    """

    task: str = ""
    state: str = ""

    def has(self, row: Row) -> bool:
        """Return whether *row* is one of them."""
        return self.task in ("", row.task) and self.state in ("", row.state)


def view_of(snapshot: Snapshot, wanted: Wanted, *, may_change: bool) -> dict[str, Any]:
    """Return what the page shows, for JSON and for HTML."""
    of_task = [row for row in snapshot.rows if wanted.task in ("", row.task)]
    found = [row for row in of_task if wanted.has(row)]
    numbers = Counter(row.state for row in of_task)
    others = sorted({row.task for row in snapshot.rows} - {wanted.task})[:MOST]
    tasks = sorted({*others, wanted.task} - {""})
    return {
        "may_change": may_change,
        "task": wanted.task,
        "state": wanted.state,
        "tasks": [_choice(name) for name in tasks],
        "states": {state: numbers[state] for state in STATES},
        "in_flight": _table(snapshot, [row for row in found if row.is_in_flight]),
        "results": _table(snapshot, [row for row in found if not row.is_in_flight]),
        "stats": _stats(snapshot.stats, wanted.task),
        "forecast": _stats(snapshot.stats, wanted.task, _OBSERVED),
        "notices": list(_notices(snapshot)),
    }


def _choice(name: str) -> dict[str, str]:
    return {"name": name, "shown": one_line(name, _LONGEST)}


def _table(snapshot: Snapshot, rows: Sequence[Row]) -> dict[str, Any]:
    shown = [_row(row, snapshot.progress_of(row)) for row in rows[:MOST]]
    return {"rows": shown, "left_out": len(rows) - len(shown)}


def _row(row: Row, progress: Mapping[str, Any] | None) -> dict[str, Any]:
    facts = {
        name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(row).items()
    }
    return {**facts, "progress": progress, "shown": _texts(row, progress)}


def _texts(row: Row, progress: Mapping[str, Any] | None) -> dict[str, str]:
    waiting = f"{row.waiting or ''}{'+' if row.is_awaited else ''}"
    texts = {
        "task": one_line(row.task, _LONGEST),
        "key": row.key.rpartition(":")[2][:_SHORT],
        "state": f"{row.state}, forgotten" if row.is_forgotten else row.state,
        "owner": one_line(row.owner, _LONGEST)[:_SHORT],
        "worker": one_line(row.worker, _LONGEST),
        "age": time_text(row.age),
        "lease_left": time_text(row.lease_left),
        "expires_in": "" if row.is_in_flight else time_text(row.expires_in, "never"),
        "waiting": waiting,
        "hits": f"{row.hits:,}" if row.hits else "",
        "size": bytes_text(row.size),
        "progress": _progress_text(progress or {}),
        "message": one_line((progress or {}).get("message") or "", _LONGEST),
    }
    return {name: text for name, text in texts.items() if text}


def _progress_text(progress: Mapping[str, Any]) -> str:
    percent, left = progress.get("percent"), progress.get("time_remaining")
    texts = (
        "" if percent is None else f"{int(percent)} %",
        "" if left is None else f"{time_text(left)} left",
    )
    return ", ".join(filter(None, texts))


def _stats(stats: Mapping[str, TaskStats], task: str, prefix: str = "") -> dict[str, Any]:
    """Return what was counted, the task with the most calls first, and a sentence on all of it.

    :param prefix: that of the numbers: empty, or that of a forecast.
    """
    counted = [_stat(name, each, prefix) for name, each in stats.items() if task in ("", name)]
    found = [each for each in counted if each["calls"] or each["runs"] or each["no_key"]]
    found.sort(key=lambda each: (-each["calls"], each["task"]))
    return {"rows": found[:MOST], "left_out": len(found[MOST:]), "summary": _summary(found, prefix)}


def _stat(name: str, stats: TaskStats, prefix: str) -> dict[str, Any]:
    numbers = {field: getattr(stats, prefix + field, 0) for field in _NUMBERS}
    saved = round(getattr(stats, f"{prefix}saved_seconds"), 3)
    no_key = {} if prefix else dict(stats.no_key)
    texts = {field: f"{number:,}" for field, number in numbers.items() if number}
    texts.update(task=one_line(name, _LONGEST), saved_seconds=time_text(saved) if saved else "")
    arguments = ", ".join(f"{argument}: {number:,}" for argument, number in no_key.items())
    texts.update(no_key=one_line(arguments, _LONGEST))
    return {"task": name, **numbers, "saved_seconds": saved, "no_key": no_key, "shown": texts}


def _summary(stats: Sequence[Mapping[str, Any]], prefix: str) -> str:
    if not stats:
        return ""
    saved = time_text(_sum(stats, ["saved_seconds"]))
    answered, calls = _sum(stats, _ANSWERED), _sum(stats, ["calls"])
    unshared = sum(sum(each["no_key"].values()) for each in stats)
    if not answered and unshared:
        return f"{unshared:,} {'call' if unshared == 1 else 'calls'} went unshared, for want of a key."
    saves, needs = ("would have saved", "would have needed") if prefix else ("saved", "needed")
    how = f"{answered:,} of {calls:,} calls {needs} no run of their own"
    return f"Sharing {saves} {saved} of workers' time: {how}."


def _sum(stats: Iterable[Mapping[str, Any]], names: Iterable[str]) -> Any:
    names = list(names)
    return sum(each[name] for each in stats for name in names)


def _notices(snapshot: Snapshot) -> Iterable[str]:
    if snapshot.is_store_down:
        yield "The store does not answer, so tasks run unshared, and nothing can be shown."
    if snapshot.is_backend_down:
        yield "The result backend does not answer, so no progress is shown."
