"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from ..sharing.stats import TaskStats, required_installation, stats
from .instruments import METRICS

__all__ = ["register"]


class _StatsCollector(Collector):
    """Reads the numbers of *app*'s tasks from the store at each scrape."""

    def __init__(self, app: Celery[Any]) -> None:
        self._app = app

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without their numbers, so that nothing is read while it is registered."""
        return _families({})

    def collect(self) -> Iterator[Family]:
        """Yield the metrics with their numbers; without the store, there are none."""
        return _families(stats(self._app))


def register(app: Celery[Any], registry: CollectorRegistry | None) -> Collector:
    """Return a collector that is registered."""
    required_installation(app)
    collector = _StatsCollector(app)
    (REGISTRY if registry is None else registry).register(collector)
    return collector


def _families(numbers: Mapping[str, TaskStats]) -> Iterator[Family]:
    for metric in METRICS:
        kind = CounterMetricFamily if metric.only_grows else GaugeMetricFamily
        labels = ["task", "argument"] if metric.field == "no_key" else ["task"]
        family = kind(f"jobtastic_{metric.field}", metric.help, labels=labels)
        for found, value in metric.samples(numbers):
            family.add_metric([found[label] for label in labels], value)
        yield family
