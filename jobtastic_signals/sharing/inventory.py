"""What the store holds of an app's calls: what runs, waits and is cached, one row for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from celery import states

from ..installation import Installation
from ..keys.recipe import SCHEME
from ..keys.stamps import is_key
from ..keys.tags import scope_of_prefix
from ..stores.entry import Claim, Entry, Result

__all__ = [
    "IN_FLIGHT",
    "STATES",
    "Row",
    "prefix_in",
    "prefixes",
    "release_claim",
    "rows",
    "rows_of",
    "worker_of",
]

#: The states of a claim, and all states, in the order of rows.
IN_FLIGHT = ("running", "waiting", "queued")
STATES = (*IN_FLIGHT, "stale", "cached", "failed")

_COUNTS = "counts:"


@dataclass(frozen=True)
class Row:
    """One claim or one result in the store. Durations are seconds.

    :ivar task: the name of the task; the prefix of the key if no task of this app, or several, have it.
    :ivar state: for a claim ``"running"``, ``"queued"``, or ``"waiting"`` for the queued one behind a running
        one. For a result ``"cached"``, ``"stale"``, or ``"failed"`` if it is an exception.
    :ivar owner: the task id that has the claim, or that computed the result.
    :ivar age: for how long it has run, been queued, or been stored.
    :ivar worker: the name of the worker that runs it; empty if unknown.
    :ivar lease_left: how long the claim lasts unless it is renewed.
    :ivar waiting: how many calls have joined it, or wait behind it.
    :ivar is_awaited: whether messages that are sent again rely on it as well; their number is not known.
    :ivar next: the owner of the queued claim behind this running one.
    :ivar is_forgotten: whether the result of this run was forgotten in advance, so it answers no new calls.
    :ivar hits: how many calls of the task were answered by a stored result; see ``jobtastic stats``.
    :ivar size: bytes of the result.
    :ivar expires_in: how long the result is still handed out; ``None`` for ever.
    """

    task: str
    key: str
    state: str
    owner: str
    age: float
    worker: str = ""
    lease_left: float | None = None
    waiting: int = 0
    is_awaited: bool = False
    next: str | None = None
    is_forgotten: bool = False
    hits: int = 0
    size: int | None = None
    expires_in: float | None = None

    @property
    def is_in_flight(self) -> bool:
        """Whether it is a claim, so a run of it goes on or is to come."""
        return self.state in IN_FLIGHT


def rows(installation: Installation, *, task: str | None = None, only_in_flight: bool = False) -> list[Row]:
    """Return a row for each claim and each result of calls: first what runs, the longest of these first.

    Results that were forgotten by a tag are among them until somebody asks for them, since only the arguments
    of a call give its tags. Without the store there are none.

    :param task: the name of a task, or the prefix of keys; only those.
    :param only_in_flight: whether to leave results out.
    """
    prefix = None if task is None else _prefix_of(installation, task)
    store, names, hits = installation.store, prefixes(installation), _hits(installation)
    # What lists keys does not know what was forgotten together.
    forgotten = cache(lambda prefix: store.forgotten(scope_of_prefix(prefix)))
    found: list[Row] = []
    for key, entry in store.entries(f"{SCHEME}:{'' if prefix is None else f'{prefix}:'}"):
        if is_key(key) and prefix in (None, prefix_in(key)):
            if only_in_flight:
                entry = Entry(entry.claim, None, entry.next)
            found += _rows_of(key, entry.without_forgotten(forgotten(prefix_in(key))), names, hits)
    return sorted(found, key=_order)


def rows_of(installation: Installation, key: str, scopes: Sequence[str] = ()) -> list[Row]:
    """Return the rows of one key.

    :param scopes: the scopes of the key, beside that of its prefix.
    """
    entry = installation.store.entry(key, scopes=(scope_of_prefix(prefix_in(key)), *scopes))
    return sorted(_rows_of(key, entry, prefixes(installation), _hits(installation)), key=_order)


def release_claim(installation: Installation, key: str, owner: str, *, also_running: bool) -> bool:
    """Free the claim of *owner*, or the one behind it. Return whether it was still there.

    :param also_running: whether to free it while it runs. Otherwise a queued one that runs by now stays.
    """
    # An empty text stands for any delivery.
    return installation.store.release(key, owner, "" if also_running else None)


def prefixes(installation: Installation) -> Mapping[str, list[str]]:
    """Return the names of the app's tasks that share, by the prefixes of their keys."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, task in installation.app.tasks.items():
        policy = installation.policy_of(type(task)) if installation.knows(type(task)) else None
        if policy is not None and policy.shares:
            found[policy.keys.prefix_of(task)].append(name)
    return found


def prefix_in(key: str) -> str:
    """Return the prefix in a key.

    >>> prefix_in(f"v1:proj:report:{'0' * 40}")
    'proj:report'
    """
    return key.partition(":")[2].rpartition(":")[0]


def worker_of(delivery: str | None) -> str:
    """Return the name of the worker in the token of a delivery; empty for an eager run.

    >>> worker_of("celery@web1~5f0c7b1d/5a1b"), worker_of("/5a1b")
    ('celery@web1', '')
    """
    return (delivery or "").partition("/")[0].rpartition("~")[0]


def _prefix_of(installation: Installation, task: str) -> str:
    known = prefixes(installation)
    return next((prefix for prefix, names in known.items() if task in names), task)


def _hits(installation: Installation) -> Mapping[str, int]:
    """Return how many calls were answered by stored results, by the names of tasks."""
    counted = installation.store.counts(_COUNTS)
    return {key.removeprefix(_COUNTS): int(amounts.get("hits", 0)) for key, amounts in counted}


def _rows_of(
    key: str, entry: Entry, names: Mapping[str, list[str]], hits: Mapping[str, int]
) -> Iterator[Row]:
    prefix = prefix_in(key)
    tasks = names.get(prefix, [])
    about: dict[str, Any] = {
        "task": tasks[0] if len(tasks) == 1 else prefix,
        "key": key,
        "hits": sum(hits.get(name, 0) for name in tasks),
    }
    if entry.claim is not None:
        now, following = entry.claim.at, entry.next
        state = "running" if entry.claim.is_running else "queued"
        yield Row(state=state, **_of_claim(entry.claim, following, now), **about)
        if following is not None:
            yield Row(state="waiting", **_of_claim(following, None, now), **about)
    if entry.result is not None:
        yield Row(**_of_result(entry.result), **about)


def _of_claim(claim: Claim, following: Claim | None, now: float) -> dict[str, Any]:
    return {
        "owner": claim.owner,
        "age": max(now - claim.since, 0.0),
        "worker": worker_of(claim.delivery),
        "lease_left": max(claim.expires - now, 0.0),
        "waiting": claim.joined + (0 if following is None else 1 + following.joined),
        "is_awaited": claim.awaited,
        "next": None if following is None else following.owner,
        "is_forgotten": claim.forgotten is not None,
    }


def _of_result(result: Result) -> dict[str, Any]:
    state, now = "cached" if result.state == states.SUCCESS else "failed", result.at
    ends = result.expires
    if not result.answers_new_callers(now):
        state, ends = "stale", result.stale_until
    return {
        "state": state,
        "owner": result.owner,
        "age": max(now - result.ended, 0.0),
        "size": len(result.payload),
        "expires_in": None if ends is None else max(ends - now, 0.0),
    }


def _order(row: Row) -> tuple[int, float, str]:
    return STATES.index(row.state), -row.age, row.key
