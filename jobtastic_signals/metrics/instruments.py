"""The metrics, whoever exports them: their names, and their numbers in :class:`.TaskStats`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..sharing.stats import TaskStats

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    :ivar field: the number's name in :class:`.TaskStats`.
    :ivar help: what it counts.
    :ivar only_grows: whether it is a counter. The saved seconds are an estimate, which can fall.
    """

    field: str
    help: str
    only_grows: bool = True

    @property
    def is_time(self) -> bool:
        """Whether it is a number of seconds."""
        return self.field.endswith("seconds")

    def samples(self, stats: Mapping[str, TaskStats]) -> Iterator[tuple[dict[str, str], float]]:
        """Yield the labels and the value of each sample."""
        for task, each in stats.items():
            value = getattr(each, self.field)
            if isinstance(value, Mapping):
                for argument, number in value.items():
                    yield {"task": task, "argument": argument}, float(number)
            else:
                yield {"task": task}, float(value)


METRICS: tuple[Metric, ...] = (
    Metric("calls", "Calls with a key"),
    Metric("hits", "Calls that were answered by a stored result"),
    Metric("joins", "Calls that joined a run or a message"),
    Metric("served", "Runs that were answered with a stored result"),
    Metric("waits", "Messages that were sent again to wait"),
    Metric("takeovers", "Claims that were taken from another task id"),
    Metric("runs", "Runs of the body"),
    Metric("store_failures", "Calls and runs that the store did not answer"),
    Metric("run_seconds", "Seconds that runs took"),
    Metric("saved_seconds", "Seconds that the runs would have taken that sharing avoided", only_grows=False),
    Metric("no_key", "Calls without a key, by the argument that has no canonical form"),
    Metric("observed_calls", "Calls with a key, while they were only observed"),
    Metric("observed_hits", "Calls that a stored result would have answered"),
    Metric("observed_joins", "Calls that would have joined"),
    Metric("observed_served", "Runs that would have been served"),
    Metric("observed_waits", "Runs that would have waited"),
    Metric("observed_runs", "Runs that sharing would not have avoided"),
    Metric("observed_run_seconds", "Seconds that these runs took"),
    Metric("observed_saved_seconds", "Seconds that the runs took that sharing would have avoided"),
)
