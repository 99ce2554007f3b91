"""Waiting messages when a worker loses its connection to Redis.

A message with a countdown lies unacknowledged in the memory of a worker until it is due. When the connection
breaks, Celery drops it, since the broker will deliver it again. RabbitMQ does so at once. Redis does so after
``visibility_timeout``, an hour by default. So the worker gives its own waiting messages back as soon as it is
connected again.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps

from .. import celery_internals

__all__ = ["hold", "watch"]

# The requests that wait in this process, by the tags of their deliveries.
_held: dict[str, Any] = {}


class GiveBack(bootsteps.StartStopStep):  # type: ignore[misc]
    """A part of the consumer, which Celery starts after each connection."""

    requires: Any = frozenset({"celery.worker.consumer.tasks:Tasks"})

    def start(self, parent: Any) -> None:
        """Give back each message whose request waited when the connection broke."""
        held = dict(_held)
        _held.clear()
        for tag, request in held.items():
            if not request.acknowledged:
                celery_internals.restore_unacknowledged(parent, tag)

    def stop(self, parent: Any) -> None:
        """Let the channel give back by itself what is not acknowledged: the worker shuts down."""
        if parent.task_consumer is not None:
            celery_internals.restore_when_closing(parent.task_consumer.channel, True)


def watch(app: Celery[Any]) -> None:
    """Let the workers of *app* give back what waits; doing it twice is doing it once."""
    app.steps["consumer"].add(GiveBack)


def hold(request: Any) -> None:
    """Remember a waiting request until it is acknowledged."""
    for tag, held in list(_held.items()):
        if held.acknowledged:
            del _held[tag]
    message = request.message
    held_by = getattr(message, "delivery_tag", None)
    if isinstance(held_by, str):
        _held[held_by] = request
        celery_internals.restore_when_closing(message.channel, False)
