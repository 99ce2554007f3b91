"""The slow task of the demo's page, in the demo's program."""

# mypy: disallow-untyped-decorators=False

import time
from calendar import month_name

from jobtastic_signals import track

from .stage import note_run
from .tasks import app

__all__ = ["app", "yearly_report"]

MONTHS = month_name[1:]


@app.task(herd_avoidance_timeout=60, cache_duration=60)
def yearly_report(year: int) -> str:
    note_run(str(year))  # the page counts these
    for month in track(MONTHS):
        for _ in track(range(10), message=f"Adding up {month}"):
            time.sleep(0.1)
    return f"The {year} report: 12 months, all is well."
