"""Apps that are checked, and what is found."""

from celery import Task

from jobtastic_signals.cli.check.base import Level, View
from jobtastic_signals.cli.check.check import check_app, load_tasks


class Record(View):
    """Keeps what it is to show."""

    def __init__(self):
        self.tasks, self.findings, self.to_fix = {}, [], None

    def show_tasks(self, tasks):
        self.tasks = dict(tasks)

    def show(self, finding):
        self.findings.append(finding)

    def conclude(self, to_fix):
        self.to_fix = to_fix

    def about(self, subject, level=None):
        """Return the findings about *subject*, each as its text and remedy."""
        told = [each for each in self.findings if each.subject == subject and level in (None, each.level)]
        return [f"{each.text} {each.remedy}".strip() for each in told]


def checked(app, **options):
    """Return what a check of *app* finds if no worker can answer."""
    record = Record()
    wrong = load_tasks(app)
    to_fix = check_app(app, record, timeout=0.01, wrong=wrong, **options)
    assert to_fix == record.to_fix == sum(each.level is Level.FIX for each in record.findings)
    return record


class Careful(Task):
    """Goes on to the next class, as it should."""

    def apply_async(self, *args, **kwargs):
        return super().apply_async(*args, **kwargs)

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


PROJECT = """
import os
from celery import Celery
from jobtastic_signals import Jobtastic
app = Celery("proj", broker="memory://", backend="cache+memory://")
app.conf.jobtastic_store = os.environ.get("STORE", "disk://")
Jobtastic(app)
@app.task(cache_duration=60, herd_avoidance_timeout=5)
def report(): pass
"""
