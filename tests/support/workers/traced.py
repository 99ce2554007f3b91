"""The project with django-structlog and OpenTelemetry, which write what they log and trace into a file.

``celery -A tests.support.workers.traced`` is a worker of it. :func:`call_all` is a client.
"""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from celery.signals import worker_process_init
from django.conf import settings
from django_structlog.celery.receivers import CeleryReceiver
from django_structlog.celery.steps import DjangoStructLogInitStep
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from .project import create_app


def append(file: str, line: dict[str, Any]) -> None:
    number = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(number, json.dumps(line, default=str).encode() + b"\n")
    finally:
        os.close(number)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


class Spans(SpanExporter):
    """Writes a line for each span."""

    def __init__(self, file: str) -> None:
        self._file = file

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            trace_id = format(span.get_span_context().trace_id, "032x")
            append(self._file, {"span": span.name, "trace_id": trace_id, **dict(span.attributes or {})})
        return SpanExportResult.SUCCESS


def switch_on(file: str) -> None:
    """Log and trace into *file*."""

    def write(logger: Any, name: str, event: MutableMapping[str, Any]) -> Any:
        append(file, {"log": event.pop("event"), **event})
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, write])
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Spans(file)))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


def call_all(made: dict[str, Any], file: str, name: str, calls: dict[str, Any], told: Any) -> None:
    """Make each of *calls*, arguments by task id, in a request and a trace of its own.

    Each request is named like the task id. The id of each trace is put into the queue *told*.
    """
    settings.configure()
    switch_on(file)
    receiver = CeleryReceiver()
    receiver.connect_signals()
    task, traces = getattr(create_app(**made), name), {}
    for task_id, args in calls.items():
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=task_id)
        with trace.get_tracer(__name__).start_as_current_span("request") as span:
            task.apply_async(args, task_id=task_id)
        traces[task_id] = format(span.get_span_context().trace_id, "032x")
    told.put(traces)


if "TEST_PROJECT" in os.environ:
    settings.configure()
    app = create_app(**json.loads(os.environ["TEST_PROJECT"])).app
    app.steps["worker"].add(DjangoStructLogInitStep)

    @worker_process_init.connect(weak=False)
    def begin(**_: Any) -> None:
        switch_on(os.environ["TRACES"])
