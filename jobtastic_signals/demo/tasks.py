"""The program that the demo is about; the demo prints it from ``app = ...`` on."""

# mypy: disallow-untyped-decorators=False

from celery import Celery

from jobtastic_signals import Jobtastic

from .stage import note_run, settings, take_a_second, wants_plugin

app = Celery("demo")
app.conf.update(settings())
if wants_plugin():
    Jobtastic(app)  # <- the plugin is switched on by this line


@app.task(herd_avoidance_timeout=300, cache_duration=3600)  # <- and this
def report(month: str) -> str:
    """A slow task."""
    note_run(month)  # which is how the demo counts what really ran
    take_a_second()
    return f"the {month} report"


@app.task
def bind_together(reports: list[str]) -> str:
    """An ordinary task, which the plugin leaves alone."""
    return ", ".join(reports)
