"""The project that the real workers of these tests run; its configuration comes from the environment.

Each body writes a line to the journal when it runs, so that a test can count runs.
"""

import json
import os
import signal
import sys
import time

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from jobtastic_signals import Jobtastic

app = Celery("proj")
app.conf.update(json.loads(os.environ["PROJ_CONF"]))
if os.environ.get("PROJ_PLUGIN", "on") == "on":
    Jobtastic(app)

JOURNAL = os.environ["PROJ_JOURNAL"]


def note(task: Task, *what: object) -> None:
    line = json.dumps([task.name.rpartition(".")[2], task.request.id, os.getpid(), *what])
    journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, line.encode() + b"\n")
    finally:
        os.close(journal)


@app.task(bind=True, herd_avoidance_timeout=60)
def double(self, n, seconds=0.0):
    note(self, n)
    time.sleep(seconds)
    return 2 * n


@app.task(bind=True, herd_avoidance_timeout=60, cache_duration=600)
def cached(self, n, seconds=0.0):
    note(self, n)
    time.sleep(seconds)
    return [n, self.request.id]


@app.task(bind=True)
def plus(self, n, more):
    note(self, n, more)
    return n + more


@app.task(bind=True)
def total(self, numbers):
    note(self, numbers)
    return sum(numbers)
