"""The numbers of tasks as metrics, for Prometheus and OpenTelemetry."""

from __future__ import annotations

from dataclasses import fields

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from jobtastic_signals import JobtasticError, TaskStats
from jobtastic_signals.metrics import export_to_otel, register_collector
from jobtastic_signals.metrics.instruments import METRICS
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, add_tasks
from tests.support.unit_apps import installed_on, use_store

TASK = {"task": "proj.double"}


class Watched(MemoryStore):
    """Counts how often the numbers are read."""

    reads = 0

    def counts(self, prefix: str = ""):
        self.reads += 1
        return super().counts(prefix)


@pytest.fixture
def app(new_app):
    return new_app()


@pytest.fixture
def store(app):
    return use_store(app, Watched("memory://watched"))


def count(app, **amounts):
    installed_on(app).counters.add("proj.double", **amounts)


def test_there_is_a_metric_for_each_number():
    assert [metric.field for metric in METRICS] == [field.name for field in fields(TaskStats)]


def test_prometheus_scrapes_the_sums(app, store):
    registry = CollectorRegistry()
    register_collector(app, registry)
    assert store.reads == 0
    count(app, calls=3, hits=2, runs=1, run_seconds=1.5, **{"no_key:n": 4})
    page = generate_latest(registry).decode()
    assert store.reads == 1
    for line in (
        '# TYPE jobtastic_hits_total counter\njobtastic_hits_total{task="proj.double"} 2.0',
        'jobtastic_run_seconds_total{task="proj.double"} 1.5',
        '# TYPE jobtastic_saved_seconds gauge\njobtastic_saved_seconds{task="proj.double"} 3.0',
        'jobtastic_no_key_total{argument="n",task="proj.double"} 4.0',
    ):
        assert line in page, page


def test_each_process_that_is_scraped_has_the_same_sums(new_app, store, app):
    other, registry = new_app(), CollectorRegistry()
    use_store(other, store)
    register_collector(other, registry)
    count(app, hits=1)
    installed_on(app).counters.flush()
    count(other, hits=1)
    assert registry.get_sample_value("jobtastic_hits_total", TASK) == 2.0


def test_without_the_store_there_are_no_samples(app):
    class Broken(MemoryStore):
        def counts(self, prefix: str = ""):
            raise ConnectionError

    use_store(app, Broken("memory://broken"))
    registry = CollectorRegistry()
    register_collector(app, registry)
    add_tasks(app, **BOTH).delay(1)
    assert registry.get_sample_value("jobtastic_calls_total", TASK) is None


def test_opentelemetry_exports_the_sums_by_one_reading(app, store):
    reader = InMemoryMetricReader()
    export_to_otel(app, MeterProvider([reader]))
    count(app, calls=3, hits=2, runs=1, run_seconds=1.5, **{"no_key:n": 4})
    found = {
        metric.name: (metric.unit, point.value, dict(point.attributes or {}))
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    assert found["jobtastic.hits"] == ("1", 2, TASK)
    assert found["jobtastic.run_seconds"] == ("s", 1.5, TASK)
    assert found["jobtastic.saved_seconds"] == ("s", 3.0, TASK)
    assert found["jobtastic.no_key"] == ("1", 4, {**TASK, "argument": "n"})
    assert store.reads == 1


@pytest.mark.parametrize("export", [register_collector, export_to_otel])
def test_an_app_without_the_plugin_has_no_metrics(new_app, export):
    with pytest.raises(JobtasticError, match="the plugin is not enabled"):
        export(new_app(plugin=False))
