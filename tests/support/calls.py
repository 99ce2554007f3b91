"""Tasks that share, and whether calls of them are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Celery, Task
from kombu.exceptions import OperationalError

from tests.support.unit_apps import (
    published,
    real,
)

HERD = {"herd_avoidance_timeout": 60}
CACHE = {"cache_duration": 60}
BOTH = {**HERD, **CACHE}


def add_tasks(app: Celery, **options: Any) -> Task:
    @app.task(name="proj.double", shared=False, **options)
    def double(n, more=0):
        return 2 * n + more

    @app.task(name="proj.total", shared=False)
    def total(numbers):
        return sum(numbers) if isinstance(numbers, list) else numbers

    return real(double)


def publishes(call: Any) -> bool:
    """Whether *call* goes to the broker under its own id."""
    result = call()
    messages = published(result.app)
    assert [message.headers["id"] for message in messages] in ([], [result.id])
    return bool(messages)


@contextmanager
def producer_of(app: Celery, publish: Callable[..., Any]) -> Iterator[Any]:
    """A producer of the app whose method is *publish*, which is given the real one."""
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish = partial(publish, producer.publish)
        try:
            yield producer
        finally:
            del producer.publish


def refuse(publish: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    raise OperationalError("no broker")
