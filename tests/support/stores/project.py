"""A small Celery project that shares through a given store, and what it is observed to do."""

import logging
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field

from celery import Celery
from kombu.simple import SimpleQueue

from jobtastic_signals import Jobtastic

__all__ = ["Project", "warnings_of_ours"]


@dataclass
class Project:
    """An app with one task, ``double``, that shares through the store at *url*."""

    url: str
    options: dict = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self):
        queue = uuid.uuid4().hex
        self.app = Celery(queue, broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(
            task_default_queue=queue, jobtastic_store=self.url, jobtastic_store_options=self.options
        )
        self.plugin = Jobtastic(self.app)

        @self.app.task(name="double", shared=False, herd_avoidance_timeout=60, cache_duration=600)
        def double(value):
            self.runs += 1
            return value * 2

        self.double = double

    def run(self, value):
        """What a run of the task in this process gives."""
        return self.double.apply((value,)).get()

    def publishes(self, value):
        """Whether a call puts a message of its own on the broker."""
        result = self.double.delay(value)
        with self.app.connection_for_read() as connection:
            queue = SimpleQueue(connection, self.app.conf.task_default_queue)
            try:
                message = queue.get_nowait()
            except queue.Empty:
                return False
            message.ack()
            return message.headers["id"] == result.id

    def shares(self, value):
        """Whether of two runs of a call the second is spared, and of the calls after them the message."""
        before = self.runs
        assert self.run(value) == self.run(value) == value * 2
        return self.runs == before + 1 and not self.publishes(value)

    def close(self):
        self.plugin.uninstall(self.app)
        self.app.close()


@contextmanager
def warnings_of_ours():
    """The texts of what this package logs from now on, as a warning or worse."""
    texts = []

    class Collect(logging.Handler):
        def emit(self, record):
            texts.append(self.format(record))

    handler, logger = Collect(logging.WARNING), logging.getLogger("jobtastic_signals")
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)
