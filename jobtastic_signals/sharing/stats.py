"""What sharing saved: numbers of each task, summed over all processes that use the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from celery import Celery

from ..errors import JobtasticError
from ..installation import COUNTS, NO_KEY, Installation, installation_on

__all__ = ["TaskStats", "required_installation", "stats"]


@dataclass(frozen=True)
class TaskStats:
    """The numbers of one task since they were last empty. The store drops them 90 days after the last one.

    Those that begin with ``observed`` are a forecast: they grow while ``jobtastic_observe`` is set, and the
    others stand still.

    :ivar calls: calls with a key, whether answered or published. Calls of programs without this package are
        not among them.
    :ivar hits: calls that were answered by a stored result.
    :ivar joins: calls that joined a run or a message.
    :ivar served: runs that a worker answered with a stored result.
    :ivar waits: messages that were sent again to wait for another run. One may be sent several times.
    :ivar takeovers: claims that were taken from another task id.
    :ivar runs: runs of the body, whatever their end; not those whose process was killed.
    :ivar store_failures: calls and runs that went unshared because the store did not answer.
    :ivar run_seconds: how long these runs took in sum.
    :ivar saved_seconds: the worker seconds that sharing saved: runs avoided, times the usual duration of a
        run.
    :ivar no_key: calls without a key, by the argument that has no canonical form; ``**`` for any keyword that
        is not in the task's signature.
    :ivar observed_calls: calls with a key.
    :ivar observed_hits: calls that a stored result would have answered.
    :ivar observed_joins: calls that would have joined.
    :ivar observed_served: runs that would have been served, some of them after a wait.
    :ivar observed_waits: runs that would have waited.
    :ivar observed_runs: runs that sharing would not have avoided.
    :ivar observed_run_seconds: how long these took in sum.
    :ivar observed_saved_seconds: how long the runs took in sum that sharing would have avoided.
    """

    calls: int = 0
    hits: int = 0
    joins: int = 0
    served: int = 0
    waits: int = 0
    takeovers: int = 0
    runs: int = 0
    store_failures: int = 0
    run_seconds: float = 0.0
    saved_seconds: float = 0.0
    no_key: Mapping[str, int] = field(default_factory=dict)
    observed_calls: int = 0
    observed_hits: int = 0
    observed_joins: int = 0
    observed_served: int = 0
    observed_waits: int = 0
    observed_runs: int = 0
    observed_run_seconds: float = 0.0
    observed_saved_seconds: float = 0.0


def stats(app: Celery[Any]) -> dict[str, TaskStats]:
    """Return the numbers of each task that has some, by its name.

    Each process adds its own every three seconds and when it ends, so what has just happened elsewhere may be
    missing. Without the store, nothing is known.

    :raises JobtasticError: if the plugin is not enabled on *app*.

    >>> from jobtastic_signals import Jobtastic
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> @app.task(name="double", cache_duration=60)
    ... def double(n):
    ...     return 2 * n
    >>> [double.apply((21,)).get() for _ in range(3)]
    [42, 42, 42]
    >>> stats(app)["double"].runs, stats(app)["double"].served
    (1, 2)
    >>> jobtastic.uninstall(app)
    """
    installation = required_installation(app)
    installation.counters.flush()
    found = installation.store.counts(COUNTS)
    return {name.removeprefix(COUNTS): _stats_of(amounts) for name, amounts in sorted(found)}


def required_installation(app: Celery[Any]) -> Installation:
    """Return the plugin on *app*.

    :raises JobtasticError: if it is not enabled there.
    """
    installation = installation_on(app)
    if installation is None:
        raise JobtasticError(f"the plugin is not enabled on {app!r}; call Jobtastic(app)")
    return installation


def _stats_of(amounts: Mapping[str, float]) -> TaskStats:
    # A later version may count more.
    known: dict[str, Any] = {
        each.name: amounts[each.name] if each.name.endswith("seconds") else round(amounts[each.name])
        for each in fields(TaskStats)
        if each.name in amounts
    }
    no_key = {
        name.removeprefix(NO_KEY): round(amount)
        for name, amount in sorted(amounts.items())
        if name.startswith(NO_KEY)
    }
    runs = amounts.get("runs", 0.0)
    avoided = sum(amounts.get(name, 0.0) for name in ("hits", "joins", "served"))
    saved = avoided * amounts.get("run_seconds", 0.0) / runs if runs else 0.0
    return TaskStats(**{**known, "saved_seconds": saved, "no_key": no_key})
