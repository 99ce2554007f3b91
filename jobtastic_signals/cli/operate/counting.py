"""What was counted: how calls were answered, what that saved, and what it would save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...sharing.stats import stats
from ..watch.base import clean
from .site import Site
from .tables import Column, Screen, count_text, table, time_text

__all__ = ["counts_of", "lines_of"]

_OBSERVED = "observed_"

#: The titles of columns, and the numbers that they show.
_COUNTS = (
    ("CALLS", "calls"),
    ("HITS", "hits"),
    ("JOINS", "joins"),
    ("RUNS", "runs"),
    ("SERVED", "served"),
    ("WAITS", "waits"),
    ("TAKEN", "takeovers"),
    ("FAILED", "store_failures"),
)

#: The numbers of calls and runs that need no run of their own.
_ANSWERED = ("hits", "joins", "served")

Counts = Mapping[str, Mapping[str, Any]]


def counts_of(site: Site, task: str | None = None) -> dict[str, dict[str, Any]]:
    """Return what was counted, by the names of tasks.

    :raises CommandError: if the store does not answer.
    """
    with site.asking():
        found = stats(site.app)
    return {name: _rounded(asdict(each)) for name, each in found.items() if task in (None, name)}


def lines_of(counts: Counts, screen: Screen) -> Iterator[str]:
    """Yield the lines that show what was shared, what would have been, and which calls had no key."""
    shared = [(name, each) for name, each in counts.items() if each.get("calls") or each.get("runs")]
    if shared:
        yield from table(_columns(""), shared, screen)
        yield ""
        yield f"Sharing saved {_conclusion(shared, '')}."
    observed = [(name, each) for name, each in counts.items() if each.get(f"{_OBSERVED}calls")]
    if observed:
        yield from ["", "OBSERVED"] if shared else ["OBSERVED"]
        yield from table(_columns(_OBSERVED), observed, screen)
        yield ""
        yield f"Sharing would have saved {_conclusion(observed, _OBSERVED)}."
    for name, each in counts.items():
        for argument, number in each.get("no_key", {}).items():
            calls = f"{number:,} call{'s' * (number != 1)}"
            yield clean(f"{name}: {calls} had no key, because of the argument {argument}.")


def _rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: round(number, 3) if isinstance(number, float) else number for name, number in numbers.items()
    }


def _columns(prefix: str) -> list[Column]:
    def number(name: str, text: Callable[[int], str]) -> Callable[[Any], str]:
        return lambda row: text(row[1][prefix + name]) if row[1].get(prefix + name) else ""

    return [
        Column("TASK", lambda row: row[0], keeps="end"),
        *(
            Column(title, number(name, "{:,}".format), number(name, count_text), is_number=True)
            for title, name in _COUNTS
        ),
        Column("SAVED", lambda row: time_text(row[1].get(f"{prefix}saved_seconds") or None), is_number=True),
    ]


def _conclusion(counts: Sequence[tuple[str, Mapping[str, Any]]], prefix: str) -> str:
    def total(*names: str) -> float:
        return sum(float(each.get(prefix + name, 0)) for _, each in counts for name in names)

    return (
        f"{time_text(total('saved_seconds'))} of workers' time, with {int(total(*_ANSWERED)):,} of "
        f"{int(total('calls')):,} calls answered without a run of their own"
    )
