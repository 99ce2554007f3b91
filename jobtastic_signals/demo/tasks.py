"""The demo's program. The demo prints it from ``app = ...`` on."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

from celery import Celery

from jobtastic_signals import Jobtastic

from .stage import note_run, settings, take_a_second, wants_plugin

app: Celery[Any]
app = Celery("demo")
app.conf.update(settings())
if wants_plugin():
    Jobtastic(app)  # <- this line enables the plugin


@app.task(herd_avoidance_timeout=300, cache_duration=3600)  # <- options
def report(month: str) -> str:
    """Make a report slowly."""
    note_run(month)  # the demo counts these
    take_a_second()
    return f"the {month} report"


@app.task
def bind_together(reports: list[str]) -> str:
    """Bind reports together. The plugin leaves this task alone."""
    return ", ".join(reports)
