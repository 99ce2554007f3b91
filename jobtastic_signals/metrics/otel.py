"""Metrics for OpenTelemetry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from celery import Celery
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from ..sharing.stats import TaskStats, required_installation, stats
from .instruments import METRICS, Metric

__all__ = ["observe"]

#: Seconds for which one reading of the store is good for all instruments.
ONE_READING = 1.0


class _Reading:
    """The numbers of *app*'s tasks, read once for all instruments of one export."""

    def __init__(self, app: Celery[Any]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._stats: Mapping[str, TaskStats] = {}
        self._until = 0.0

    def stats(self) -> Mapping[str, TaskStats]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._stats = stats(self._app)
                self._until = time.monotonic() + ONE_READING
            return self._stats


def observe(app: Celery[Any], provider: MeterProvider | None) -> None:
    """Make an instrument for each metric."""
    required_installation(app)
    meter = (get_meter_provider() if provider is None else provider).get_meter("jobtastic_signals")
    reading = _Reading(app)
    for metric in METRICS:
        create: Callable[..., Any] = (
            meter.create_observable_counter if metric.only_grows else meter.create_observable_gauge
        )
        create(
            f"jobtastic.{metric.field}",
            callbacks=[partial(_observations, reading, metric)],
            unit="s" if metric.is_time else "1",
            description=metric.help,
        )


def _observations(reading: _Reading, metric: Metric, options: CallbackOptions) -> Iterator[Observation]:
    for labels, value in metric.samples(reading.stats()):
        yield Observation(value, labels)
