"""The project, in a worker that also takes messages that are for all workers."""

import json
import os

from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

from .project import create_app


def add_queues(app: Celery) -> None:
    """Add a queue that gives each message to every worker, as its callers have to know it too."""
    app.conf.task_queues = (Queue("celery"), Broadcast("everywhere"))


if "TEST_PROJECT" in os.environ:
    app = create_app(**json.loads(os.environ["TEST_PROJECT"])).app
    add_queues(app)
