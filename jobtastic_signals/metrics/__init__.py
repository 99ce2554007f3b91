"""Metrics: what :func:`jobtastic_signals.stats` returns, for Prometheus and OpenTelemetry.

Both read the sums of all processes from the store when they are asked, so one process is enough to export
them. Neither library is imported before its function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from ..errors import JobtasticError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client.registry import Collector, CollectorRegistry

__all__ = ["export_to_otel", "register_collector"]


def register_collector(app: Celery[Any], registry: CollectorRegistry | None = None) -> Collector:
    """Let Prometheus scrape the numbers of *app*'s tasks. Return the collector that was registered.

    It needs the extra ``prometheus``. Each scrape reads the store once.

    :param registry: where to register it; by default the registry of ``prometheus_client``.
    :raises JobtasticError: if the plugin is not enabled on *app*, or ``prometheus_client`` is not installed.

    >>> from jobtastic_signals import Jobtastic
    >>> from prometheus_client import CollectorRegistry
    >>> app = Celery("proj", broker="memory://", backend="cache+memory://")
    >>> app.conf.jobtastic_store = "memory://"
    >>> jobtastic = Jobtastic(app)
    >>> registry = CollectorRegistry()
    >>> collector = register_collector(app, registry)
    >>> @app.task(name="double", cache_duration=60)
    ... def double(n):
    ...     return 2 * n
    >>> [double.apply((21,)).get() for _ in range(3)]
    [42, 42, 42]
    >>> registry.get_sample_value("jobtastic_served_total", {"task": "double"})
    2.0
    >>> jobtastic.uninstall(app)
    """
    try:
        from .prometheus import register
    except ImportError as error:
        raise _missing("prometheus", "prometheus_client") from error
    return register(app, registry)


def export_to_otel(app: Celery[Any], provider: MeterProvider | None = None) -> None:
    """Let OpenTelemetry export the numbers of *app*'s tasks.

    It needs the extra ``otel``. Call it in one process, because each process that does exports the sums of
    all. Each export reads the store once.

    :param provider: by default the global one.
    :raises JobtasticError: if the plugin is not enabled on *app*, or the API of OpenTelemetry is not
        installed.
    """
    try:
        from .otel import observe
    except ImportError as error:
        raise _missing("otel", "opentelemetry-api") from error
    observe(app, provider)


def _missing(extra: str, package: str) -> JobtasticError:
    return JobtasticError(
        f"{package} is not installed; install it with: pip install 'jobtastic-signals[{extra}]'"
    )
